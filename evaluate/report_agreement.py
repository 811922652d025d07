"""The report's part on raters: how far people agree with one another and with judges, and what a judge is like.

Knows the tree alone (`rating_tree.build`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from self_instruct.evaluate.document import Block, Details, Heading, Notice, Paragraph, Spans, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.report_ratings import maybe
from self_instruct.records import LEVELS

Tree = Mapping[str, Any]
STATISTICS = ("kappa", "weighted", "binary", "spearman")


def agreement(ratings: Tree, theirs: Tree) -> list[Block]:
    """How far people agree with one another and with judges, beside the paper's two raters; what judges are like."""
    rows: list[tuple[Spans, ...]] = [
        ("the paper's two raters", "people", NONE, NONE, *(_theirs(theirs, name) for name in STATISTICS)),
    ]
    details: list[Block] = []
    blocks: list[Block] = [Heading(level=2, text="How far raters agree")]
    for one in ratings["sets"]:
        several = f", {one['title']}" if len(ratings["sets"]) > 1 else ""
        for pair in one["pairs"]:
            title = f"{pair['first']} and {pair['second']}{several}"
            values = [maybe(pair[name], 2) for name in STATISTICS]
            rows.append((title, pair["kind"], number(pair["answers"]), maybe(pair["same_percent"], 1), *values))
            details.append(_confusion(title, pair))
            details += [Paragraph(text=f"{title}: {why}.") for why in pair["undefined"]]
    told = [f"{number(count)} {what}" for what, count in ratings["elsewhere"].items() if count]
    if told:
        text = f"{' and '.join(told)} are about texts that aren't in these runs (any more), and don't count here."
        blocks.append(Notice(kind="warning", text=text))
    if len(rows) == 1:
        why = "Fewer than two raters have rated the same answers: nothing to compare."
        return [*blocks, Paragraph(text=why), *_judges(ratings), *_lengths(ratings)]
    blocks.append(
        Table(
            head=("raters", "kind", "answers", "same level, %", "kappa", "kappa, quadratic", "kappa, A or B", "Spearman"),
            rows=tuple(rows),
            left=2,
            caption="Agreement on the levels of the same answers",
            note="Kappa: Cohen's, on the four levels, with quadratic weights, and of A or B against C or D. [95 % interval] by a "
            "bootstrap over the instructions. Paper: Wang et al. 2022, section 5.4 and its appendix.",
        )
    )
    for one in ratings["sets"]:
        if alpha := one["alpha"]:
            missing = ", some answers rated by some of them only" if alpha["missing"] else ""
            why = f" ({alpha['undefined']})" if alpha["undefined"] else ""
            blocks.append(
                Paragraph(
                    text=f"{one['title']}: Krippendorff's alpha (ordinal) of {alpha['raters']} people on "
                    f"{number(alpha['answers'])} answers{missing}: {maybe(alpha['value'], 3)}{why}."
                )
            )
    blocks += [*_judges(ratings), *_lengths(ratings)]
    return [*blocks, Details(summary="Confusion matrices", blocks=tuple(details))]


def _judges(ratings: Tree) -> list[Block]:
    """What each judge is like: how sure of itself, whether it favours length, what it cost."""
    judges = [(one, judge) for one in ratings["sets"] for judge in one["judges"]]
    if not judges:
        return []
    blocks: list[Block] = [Heading(level=3, text="The judges")]
    agreed = {
        (one["name"], name)
        for one in ratings["sets"]
        for pair in one["pairs"]
        if pair["kind"] == "people and judge" and pair["answers"]
        for name in (pair["first"], pair["second"])
    }
    for one, judge in judges:
        if judge["scripted"]:
            text = f"{judge['judge']} is the scripted engine, a fake for tests: its levels say nothing."
            blocks.append(Notice(kind="warning", text=text))
        if judge["warning"]:
            blocks.append(Notice(kind="warning", text=f"{judge['judge']}: {judge['warning']}."))
        if (one["name"], judge["judge"]) not in agreed:
            text = f"{judge['judge']}: nobody has rated the same answers, so what its levels are worth isn't known."
            blocks.append(Notice(kind="warning", text=text))
    several = len(ratings["sets"]) > 1
    rows = tuple(
        (
            f"{judge['judge']}, {one['title']}" if several else judge["judge"],
            f"{number(judge['answers'])} of {number(judge['of'])}",
            f"{judge['form']}, {', '.join(judge['orders'])}",
            maybe(judge["unanimous_percent"], 1),
            number(judge["pairwise_percent"], 1),
            number(judge["alpha"], 2),
            maybe(judge["tied_percent"], 1),
            maybe(judge["same_level_percent"], 1),
            number(judge["cut"]),
        )
        for one, judge in judges
    )
    head = ("judge", "answers", "asked by, orders", "all orders agree, %", "pairs of orders, %", "alpha", "votes tied, %")
    blocks.append(
        Table(
            head=(*head, "models tied, %", "cut"),
            rows=rows,
            left=3,
            caption="Judges and themselves",
            note="Each answer is asked about in each order of the levels; the majority counts, a tie of votes is decided by the "
            "mean probability. Models tied: of two different answers to one instruction, those that got the same level. Cut: "
            "answers too long for the judge's context.",
        )
    )
    blocks.append(
        Table(
            head=("judge", "requests' answers, tokens", "prefix cache hits, %", "seconds, all sessions"),
            rows=tuple(
                (judge["judge"], number(judge["output_tokens"]), number(judge["hit_rate_percent"], 1), number(judge["seconds"], 1))
                for judge in {judge["judge"]: judge for _, judge in judges}.values()
            ),
            caption="What judging took",
        )
    )
    return blocks


def _lengths(ratings: Tree) -> list[Block]:
    """Whether raters, people and judges, give longer answers better levels."""
    rows = tuple(
        (
            f"{rater['rater']}, {one['title']}" if len(ratings["sets"]) > 1 else rater["rater"],
            number(rater["longer"]["answers"]),
            number(rater["longer"]["spearman"], 2),
            number(rater["longer"]["pairs"]),
            maybe(rater["longer"]["longer_better_percent"], 1),
        )
        for one in ratings["sets"]
        for rater in one["raters"]
    )
    if not rows:
        return []
    return [
        Table(
            head=("rater", "answers", "Spearman, words and level", "pairs", "longer one better, %"),
            rows=rows,
            caption="Length and level",
            note="Pairs: answers to one instruction that differ in level and in words; 50 % is no preference. Longer answers may "
            "well be better.",
        )
    ]


def _theirs(theirs: Tree, name: str) -> str:
    value = theirs["agreement"].get(name)
    return NONE if value is None else f"{value:.2f}"


def _confusion(title: str, pair: Tree) -> Table:
    return Table(
        head=(f"{pair['first']} \\ {pair['second']}", *LEVELS),
        rows=tuple((level, *(number(count) for count in row)) for level, row in zip(LEVELS, pair["confusion"], strict=True)),
        caption=f"{title}: answers by both levels",
    )
