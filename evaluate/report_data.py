"""The report's part on data: the paper's Tables 1 and 2 and Figures 3 to 5 with ours beside them, and contamination.

Knows the stored statistics (`corpus_statistics.measure`, `overlap.measure`), not how they are made. What wasn't run is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from self_instruct.evaluate import figures, report_ratings
from self_instruct.evaluate.document import Block, Bullets, Code, Heading, Notice, Paragraph, Spans, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.report_numbers import NOT_RUN

LENGTH_NAMES = {"instruction": "instruction", "input": "non-empty input", "output": "output"}
BLIND = 0.2  # the share of instructions without a-z and 0-9 from which on their statistics are doubtful
Corpora = Sequence[tuple[str, Mapping[str, Any]]]  # each corpus' name and its statistics
Paper = Mapping[str, Any]  # `paper.tree`


def share(one: Mapping[str, Any] | None) -> str:
    """A share with its interval, in percent."""
    if one is None:
        return NONE
    value = f"{100 * one['value']:.1f} %"
    return value if one["low"] is None else f"{value} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def data(corpora: Corpora, theirs: Paper, ours: str = "this run", ratings: Mapping[str, Any] | None = None) -> list[Block]:
    """Tables 1 and 2, Figures 3 to 5; `ours` is what the measured data are called, `ratings` what people said of them."""
    blocks: list[Block] = [Heading(level=2, text="The instruction data: Tables 1 and 2, Figures 3 to 5")]
    if not corpora:
        blocks.append(
            Paragraph(text="Not run: no statistics of a corpus are stored, as the run folder has no finished generate stage.")
        )
    blocks += [_table_1(corpora, theirs["table_1"], ours), *report_ratings.table_2(ratings, theirs, ours)]
    for name, one in corpora:
        blocks += _figures(name, one, theirs, ours, several=len(corpora) > 1)
    if not corpora:
        blocks += [_verb_table(None, theirs, ours), Paragraph(text="Figure 4, nearest seeds: not run.")]
        rows = tuple((LENGTH_NAMES[name], number(words, 1), NOT_RUN) for name, words in theirs["table_1"]["mean_words"].items())
        head = ("mean length in words", "paper (GPT3)", ours)
        blocks.append(Table(head=head, rows=rows, caption="Figure 5 in numbers: not run"))
    return blocks


def _table_1(corpora: Corpora, theirs: Paper, ours: str) -> Table:
    counts = [one["counts"] for _, one in corpora]

    def row(what: str, paper: Spans, found: Sequence[Spans]) -> tuple[Spans, ...]:
        return (what, paper, *(found or [NOT_RUN]))

    def counted(name: str) -> list[Spans]:
        return [number(one[name]) for one in counts]

    def shares(name: str) -> list[Spans]:
        return [share(one["shares"].get(name)) for _, one in corpora]

    others: list[Spans] = [
        NONE if one["classification"] is None else number(one["labelled"] - one["classification"]) for one in counts
    ]
    rows = [row("instructions", number(theirs["instructions"]), counted("instructions"))]
    if any(one["labelled"] < one["instructions"] for one in counts):
        rows.append(row("of them known to be classification or not", number(theirs["instructions"]), counted("labelled")))
    rows += [
        row("classification instructions", number(theirs["classification"]), counted("classification")),
        row("their share", f"{theirs['classification_percent']} %", shares("classification")),
        row("other instructions", number(theirs["other"]), others),
        row("instances", number(theirs["instances"]), counted("instances")),
        row("with an empty input", number(theirs["empty_inputs"]), counted("empty_inputs")),
        row("their share", f"{theirs['empty_inputs_percent']} %", shares("empty_inputs")),
        row("repeated instructions", NONE, counted("repeated_instructions")),
        row("repeated instances", NONE, counted("repeated_instances")),
        row("instructions without an instance", NONE, counted("without_instance")),
    ]
    for name, words in theirs["mean_words"].items():
        means: list[Spans] = [number(one["lengths"][name]["mean"], 1) if name in one["lengths"] else NONE for _, one in corpora]
        rows.append(row(f"mean words, {LENGTH_NAMES[name]}", number(words, 1), means))
    return Table(
        head=("", "paper (GPT3)", *(tuple(name for name, _ in corpora) or (ours,))),
        rows=tuple(rows),
        caption="Table 1: statistics of the generated data",
        note="Paper: Wang et al. 2022, Table 1; its shares follow from its counts. Shares of ours with Wilson's 95 % interval.",
    )


def _figures(name: str, one: Mapping[str, Any], theirs: Paper, ours: str, *, several: bool) -> list[Block]:
    blocks: list[Block] = [Heading(level=3, text=f"Corpus {name}")] if several else []
    suffix = f"-{name}" if several else ""
    drawn = figures.available()
    if not drawn:
        blocks.append(Paragraph(text="No plots: matplotlib isn't installed (extra report)."))
    if one["counts"]["without_letters"] > BLIND * one["counts"]["instructions"]:
        blocks.append(
            Notice(
                kind="warning",
                text=f"{number(one['counts']['without_letters'])} of {number(one['counts']['instructions'])} instructions have no "
                "a-z or 0-9, which is all that ROUGE-L sees, and the parser is for English: verbs, nouns and nearest seeds say "
                "nothing of them.",
            )
        )
    found = one["verb_noun"]
    if found is None:
        blocks.append(
            Paragraph(text="Figure 3, verbs and nouns: not run, spaCy and its small English model aren't installed (extra report).")
        )
    elif drawn and found["corrected"]["top"]:
        blocks.append(
            figures.sunburst(
                found["corrected"]["top"],
                name=f"figure-3{suffix}",
                caption="Figure 3: the most frequent root verbs and their direct objects, corrected search",
            )
        )
    blocks.append(_verb_table(found, theirs, ours))
    if found is not None and found["corrected"]["top"]:
        verbs = tuple(
            (row["verb"], number(row["count"]), ", ".join(f"{noun} {number(count)}" for noun, count in row["nouns"]))
            for row in found["corrected"]["top"]
        )
        blocks.append(Table(head=("verb", "with an object", "its nouns"), rows=verbs, caption="Figure 3 in numbers"))
    if (nearest := one["nearest_seed"]) is None:
        blocks.append(Paragraph(text="Figure 4, nearest seeds: not run, no seeds were given."))
    else:
        if drawn:
            blocks.append(figures.nearest_seed(nearest["edges"], nearest["counts"], nearest["mean"], name=f"figure-4{suffix}"))
        blocks.append(
            Paragraph(
                text=(
                    f"ROUGE-L of each instruction with the nearest of {number(nearest['seeds'])} seeds (",
                    Code(nearest["source"]),
                    f"): mean {nearest['mean']:.3f}, median {nearest['median']:.3f}; equal to a seed: {number(nearest['equal'])}. "
                    "The paper shows a histogram without numbers.",
                )
            )
        )
    if one["lengths"]:
        if drawn:
            blocks.append(figures.lengths(one["lengths"], theirs["table_1"]["mean_words"], name=f"figure-5{suffix}"))
        blocks.append(_lengths(one["lengths"], theirs["table_1"]["mean_words"]))
    return blocks


def _verb_table(found: Mapping[str, Any] | None, theirs: Paper, ours: str) -> Table:
    paper = theirs["figure_3"]
    ways = (("authors", f"{ours}, the authors' search"), ("corrected", f"{ours}, corrected search"))

    def each(shown: Callable[[Mapping[str, Any]], str]) -> tuple[str, ...]:
        return tuple(shown(found[way]) if found else NOT_RUN for way, _ in ways)

    rows: list[tuple[Spans, ...]] = [
        (
            "instructions with a verb and its noun object",
            f"{number(paper['pairs'])} of {number(theirs['table_1']['instructions'])}",
            *each(lambda way: f"{number(way['pairs'])} of {number(way['of'])}"),
        ),
        ("their share", f"{paper['share_percent']} %", *each(lambda way: share(way["share"]))),
        (
            "share of the top 20 verbs with their top 4 nouns",
            f"{paper['top_share_percent']} %",
            *each(lambda way: share(way["top_share"])),
        ),
        ("different verbs", NONE, *each(lambda way: number(way["verbs"]))),
    ]
    parser = f"Parsed with {found['parser']}; the paper used another parser. " if found else ""
    return Table(
        head=("", "paper (GPT3)", *(label for _, label in ways)),
        rows=tuple(rows),
        caption="Verb and noun: how instructions begin",
        note=f"{parser}The authors' search: as they released it. Corrected: the first sentence's root if it is a verb, else the "
        "nearest verb; its own direct object. Shares are of all instructions.",
    )


def _lengths(found: Mapping[str, Any], means: Mapping[str, float]) -> Table:
    rows = tuple(
        (
            LENGTH_NAMES[name],
            number(one["texts"]),
            number(one["mean"], 1),
            number(means[name], 1),
            *(number(one[key], 1) for key in ("median", "p10", "p90")),
            number(one["longest"]),
        )
        for name, one in found.items()
    )
    head = ("length in words", "texts", "mean", "paper's mean", "median", "10th percentile", "90th percentile", "longest")
    return Table(head=head, rows=rows, caption="Figure 5 in numbers: words, separated by white space")


def contamination(found: Sequence[tuple[str, Sequence[Mapping[str, Any]] | None]]) -> list[Block]:
    """What each tuned model was trained on, against each evaluation set, by run."""
    blocks: list[Block] = [Heading(level=2, text="Contamination: training data against the evaluation sets")]
    several = len(found) > 1
    rows: list[tuple[Spans, ...]] = []
    examples: list[Spans] = []
    if not found:
        blocks.append(Paragraph(text="Not measured: no tuned model."))
    for run, sets in found:
        lead = f"{run}: " if several else ""
        if not sets:
            blocks.append(Paragraph(text=f"{lead}Not measured: no tuned model."))
        for one in sets or ():
            name = f"{run}/{one['model']}" if several and run != one["model"] else one["model"]
            if one["why_not"] is not None:
                blocks.append(Notice(kind="warning", text=f"{name}: not measured: {one['why_not']}."))
                continue
            rows.append(
                (
                    name,
                    one["set"],
                    number(one["rows"]),
                    number(one["overlapping_rows"]),
                    share(one["share"]),
                    *(number(one[way]) for way in ("equal", "thirteen_words", "rouge_l")),
                    number(one["highest"], 3),
                    f"{number(one['items_touched'])} of {number(one['items'])}",
                )
            )
            examples += [
                (Code(shown["row"]), f": {shown['text']} (", Code(shown["item"]), f": {shown['detail']})")
                for shown in one["examples"]
            ]
    if rows:
        head = ("model", "set", "rows", "overlap", "share", "equal text", "13 words", "ROUGE-L 0.7", "highest", "items touched")
        blocks.append(
            Table(
                head=head,
                rows=tuple(rows),
                left=2,
                caption="Training rows whose instruction or input overlaps an evaluation item's",
                note="Equal text, 13 words in a row, or a ROUGE-L F1 of 0.7 or more with an instruction or input; a row may count "
                "in several columns. Outputs aren't compared. What the training read of its sources counts, also what it held "
                "out, dropped or left out.",
            )
        )
        if any(row[3] != "0" for row in rows):
            blocks.append(Notice(kind="warning", text="Rows of the training data overlap items that the model was measured on."))
        if examples:
            blocks += [Paragraph(text="Examples:"), Bullets(items=tuple(examples))]
    return blocks
