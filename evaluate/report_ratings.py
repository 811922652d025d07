"""The report's part on ratings: the paper's Figure 6 and Table 2 with ours beside them.

Knows the tree alone (`rating_tree.build`). Only ratings that exist are shown; of partial ones, how many of how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from self_instruct.evaluate import figures
from self_instruct.evaluate.document import Block, Details, Heading, Notice, Span, Spans, Strong, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.rating_results import PEOPLE
from self_instruct.evaluate.report_numbers import NOT_RUN, VERDICT_TASKS, shown, shown_difference
from self_instruct.evaluate.report_pairs import Pairs
from self_instruct.records import LEVELS

Tree = Mapping[str, Any]
HOW = "./launch.sh evaluate rate RUN"


def figure_6(ratings: Tree, theirs: Tree, pairs: Pairs | None = None) -> list[Block]:
    """People's and judges' levels of every model, beside the paper's; of many models the `pairs` that matter, others in details."""
    rated = [(row["model"], *row["counts"]) for row in theirs["figure_6"]]
    ours = [
        (_label(model, source, one, ratings), *model["counts"])
        for one in ratings["sets"]
        for source in one["sources"]
        for model in source["models"]
        if model["rated"]
    ]
    blocks: list[Block] = [Heading(level=2, text="What raters said: Figure 6")]
    if figures.available():
        lead = "Figure 6: answers to the user-oriented instructions by level" if ours else "Figure 6, the paper's models: answers"
        caption = (
            f"{lead}; the paper's were rated by people"
            if ours
            else f"{lead} to the user-oriented instructions as people rated them"
        )
        blocks.append(figures.ratings(rated, ours=ours, name="figure-6", caption=caption))
    rows: list[tuple[Spans, ...]] = [
        (
            row["model"],
            "paper",
            *(number(count) for count in row["counts"]),
            number(row["a_percent"], 1),
            number(row["a_or_b_percent"], 1),
            f"{theirs['figure_6_items']} of {theirs['figure_6_items']}",
        )
        for row in theirs["figure_6"]
    ]
    for one in ratings["sets"]:
        for source in one["sources"]:
            rows += [_row(model, source, one, ratings) for model in source["models"]]
    if not ratings["sets"]:
        rows.append(("this run", NONE, *(NOT_RUN,) * 7))
    judged = any(source["source"] != PEOPLE for one in ratings["sets"] for source in one["sources"])
    note = f"Paper: Wang et al. 2022, Figure 6. {_who(ratings)}"
    if ratings["sets"]:
        note += " Shares are of the rated answers, ours with Wilson's 95 % interval."
    if judged:
        note += " A judge is a model: its levels are no person's."
    blocks.append(
        Table(
            head=("model", "rated by", *theirs["figure_6_levels"], "A, %", "A or B, %", "rated"),
            rows=tuple(rows),
            left=2,
            caption="Figure 6 in numbers: levels of the answers",
            note=note,
        )
    )
    for one in ratings["sets"]:
        blocks += _comparisons(one, pairs)
    return blocks


def _who(ratings: Tree) -> str:
    told: list[str] = []
    names: set[str] = set()
    for one in ratings["sets"]:
        people = [rater for rater in one["raters"] if rater["kind"] == "person"]
        if people:
            which = f"{one['title']}: " if len(ratings["sets"]) > 1 else ""
            counts = ", ".join(f"{rater['rater']} {number(rater['rated'])}" for rater in people)
            told.append(f"{which}{counts} of {number(one['answers'])} answers")
            names |= {rater["rater"] for rater in people}
    if not told:
        return f"Nobody has rated this run's answers ({HOW}); their ROUGE-L above is a proxy."
    several = " Where several people rated an answer, their median counts, the worse of two." if len(names) > 1 else ""
    return f"Rated by people: {'; '.join(told)}.{several}"


def _label(model: Tree, source: Tree, one: Tree, ratings: Tree) -> str:
    """A bar's name, short: judges by their places where there are several, and how many of how many where not all are rated."""
    judges = [other["source"] for other in one["sources"] if other["source"] != PEOPLE]
    label = str(model["model"])
    if source["source"] != PEOPLE:
        label += ", judged" + (f" by judge {judges.index(source['source']) + 1}" if len(judges) > 1 else "")
    if len(ratings["sets"]) > 1:
        label += f", {one['title']}"
    return label if model["rated"] == model["of"] else f"{label} ({model['rated']} of {model['of']})"


def _source(source: Tree) -> str:
    return (
        f"{len(source['raters'])} {PEOPLE}"
        if source["source"] == PEOPLE and len(source["raters"]) > 1
        else ("a person" if source["source"] == PEOPLE else str(source["source"]))
    )


def _row(model: Tree, source: Tree, one: Tree, ratings: Tree) -> tuple[Spans, ...]:
    name = f"{model['model']}, {one['title']}" if len(ratings["sets"]) > 1 else model["model"]
    shares = [NONE if model[share] is None else shown(model[share], 1) for share in ("a_percent", "a_or_b_percent")]
    counts = [number(count) for count in model["counts"]] if model["rated"] else [NONE] * len(LEVELS)
    return (name, _source(source), *counts, *shares, f"{number(model['rated'])} of {number(model['of'])}")


def verdicts(ratings: Tree, pairs: Pairs | None = None) -> list[Block]:
    """What users want to know first: do people find a model's answers better than the base's? `pairs`: of a whole report."""
    return [
        _verdict(one, source, pair)
        for one in ratings["sets"]
        for source in one["sources"]
        if source["source"] == PEOPLE
        for pair in source["comparisons"]
        if (pairs.judged(source, pair) if pairs else pair["base"] == source["models"][0]["model"])
    ]


def _verdict(one: Tree, source: Tree, pair: Tree) -> Notice:
    change = pair["net_points"]
    lead: tuple[Span, ...] = (
        Strong(one["title"]),
        f", rated by {_source(source)}: {pair['model']} better than {pair['base']} on {number(pair['better'])}, as good on "
        f"{number(pair['same'])}, worse on {number(pair['worse'])} of {number(pair['subjects'])} instructions: ",
        Strong(shown_difference(change)),
        f" points; A or B: {shown_difference(pair['a_or_b_points'])}. ",
    )
    if pair["subjects"] < VERDICT_TASKS:
        return Notice(kind="neutral", text=(*lead, f"{number(pair['subjects'])} instructions are too few for a verdict."))
    if change["low"] is None or change["low"] <= 0 <= change["high"]:
        why = "It is the same in every draw" if change["low"] is None else "The interval includes 0"
        return Notice(kind="neutral", text=(*lead, f"{why}: undecided."))
    return Notice(kind="good" if change["low"] > 0 else "bad", text=(*lead, "The interval leaves out 0."))


def _comparisons(one: Tree, pairs: Pairs | None) -> list[Block]:
    found = [(source, pair) for source in one["sources"] for pair in source["comparisons"]]
    main = [(source, pair) for source, pair in found if pairs is None or pairs.matters(source, pair)]
    others = [both for both in found if both not in main]
    if not found:
        return []
    blocks: list[Block] = [_pairs_table(one, main)]
    if others:
        blocks.append(Details(summary=f"All other pairs: {len(others)}", blocks=(_pairs_table(one, others),)))
    return blocks


def _pairs_table(one: Tree, pairs: Sequence[tuple[Tree, Tree]]) -> Table:
    rows = [
        (
            pair["model"],
            pair["base"],
            _source(source),
            *(number(pair[name]) for name in ("better", "same", "worse", "subjects")),
            shown_difference(pair["net_points"]),
            shown_difference(pair["a_or_b_points"]),
        )
        for source, pair in pairs
    ]
    return Table(
        head=("model", "against", "rated by", "better", "same level", "worse", "instructions", "net, points", "A or B, points"),
        rows=tuple(rows),
        left=3,
        caption=f"{one['title']}: levels of two models' answers to the same instruction",
        note="Instructions of which both answers are rated. The share of better ones less that of worse ones, and the "
        "difference of the shares of A or B; [95 % interval] by a bootstrap over the instructions.",
    )


def table_2(ratings: Tree | None, theirs: Tree, ours: str) -> list[Block]:
    """The data quality review, beside the paper's."""
    reviews = ratings["reviews"] if ratings else []
    names = ("instruction", "input", "output", "all")
    rows: list[tuple[Spans, ...]] = []
    for name, row in zip(names, theirs["table_2"], strict=True):
        told = [_yes(one["yes"][name]) for one in reviews] or [NOT_RUN]
        rows.append((row["question"], f"{row['percent']} %", *told))
    if any(sum(one["formats"].values()) for one in reviews):
        told = [", ".join(f"{what} {number(count)}" for what, count in one["formats"].items()) for one in reviews]
        rows.append(("Is the instance in the right format?", NONE, *told))
    who = "; ".join(
        f"{one['run']}: {number(one['reviewed'])} of {number(one['instances'])} instructions by {', '.join(one['reviewers'])}"
        for one in reviews
    )
    note = f"Paper: {theirs['table_2_sample']} instructions, one instance each. "
    note += f"Ours: {who}; shares with Wilson's 95 % interval." if reviews else f"Nobody has reviewed these data ({HOW})."
    blocks: list[Block] = [
        Table(
            head=("question", "paper (GPT3), yes", *([one["run"] for one in reviews] if len(reviews) > 1 else [ours])),
            rows=tuple(rows),
            caption="Table 2: people's review of the data",
            note=note,
        )
    ]
    pairs = [(one["run"], pair) for one in reviews for pair in one["pairs"]]
    if pairs:
        blocks.append(
            Table(
                head=("question", "reviewers", "corpus", "instances", "same answer, %", "Cohen's kappa"),
                rows=tuple(
                    (
                        pair["question"],
                        f"{pair['first']} and {pair['second']}",
                        run,
                        number(pair["instances"]),
                        maybe(pair["same_percent"], 1),
                        maybe(pair["kappa"], 2),
                    )
                    for run, pair in pairs
                ),
                left=3,
                caption="How far reviewers agree",
            )
        )
    return blocks


def _yes(one: Tree) -> str:
    if one["percent"] is None:
        return NONE
    share = one["percent"]
    return f"{share['value']:.1f} % [{share['low']:.1f}, {share['high']:.1f}], {number(one['yes'])} of {number(one['of'])}"


def maybe(one: Tree | None, digits: int) -> str:
    """An estimate with its interval, a dash where there is none."""
    return NONE if one is None else shown(one, digits)
