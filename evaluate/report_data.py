"""The report's part on data: the paper's Tables 1 and 2 and Figures 3 to 7 with ours beside them, and contamination.

Knows the stored statistics (`corpus_statistics.measure`, `overlap.measure`), not how they are made. What wasn't run is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from self_instruct.evaluate import figures, paper
from self_instruct.evaluate.document import Block, Bullets, Code, Heading, Notice, Paragraph, Spans, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.report_numbers import NOT_RUN

LENGTH_NAMES = {"instruction": "instruction", "input": "non-empty input", "output": "output"}
Corpora = Sequence[tuple[str, Mapping[str, Any]]]  # each corpus' name and its statistics


def share(one: Mapping[str, Any] | None) -> str:
    """A share with its interval, in percent."""
    if one is None:
        return NONE
    value = f"{100 * one['value']:.1f} %"
    return value if one["low"] is None else f"{value} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def data(corpora: Corpora) -> list[Block]:
    """Tables 1 and 2, Figures 3 to 5."""
    blocks: list[Block] = [Heading(level=2, text="The instruction data: Tables 1 and 2, Figures 3 to 5")]
    if not corpora:
        blocks.append(Paragraph(text="Not run: no finished generate stage in the run folder. The paper's numbers stand alone."))
    blocks += [_table_1(corpora), _table_2()]
    for name, one in corpora:
        blocks += _figures(name, one, several=len(corpora) > 1)
    return blocks


def _table_1(corpora: Corpora) -> Table:
    counts = [one["counts"] for _, one in corpora]

    def row(what: str, theirs: Spans, ours: Sequence[Spans]) -> tuple[Spans, ...]:
        return (what, theirs, *(ours or [NOT_RUN]))

    def counted(name: str) -> list[Spans]:
        return [number(one[name]) for one in counts]

    def part(value: float, whole: float) -> str:
        return f"{100 * value / whole:.1f} %"

    rows = [
        row("instructions", number(paper.INSTRUCTIONS), counted("instructions")),
        row("classification instructions", number(paper.CLASSIFICATION), counted("classification")),
        row(
            "their share",
            part(paper.CLASSIFICATION, paper.INSTRUCTIONS),
            [share(one["shares"].get("classification")) for _, one in corpora],
        ),
        row(
            "other instructions",
            number(paper.INSTRUCTIONS - paper.CLASSIFICATION),
            [NONE if one["classification"] is None else number(one["labelled"] - one["classification"]) for one in counts],
        ),
        row("instances", number(paper.INSTANCES), counted("instances")),
        row("with an empty input", number(paper.EMPTY_INPUTS), counted("empty_inputs")),
        row(
            "their share",
            part(paper.EMPTY_INPUTS, paper.INSTANCES),
            [share(one["shares"].get("empty_inputs")) for _, one in corpora],
        ),
        row("repeated instructions", NONE, counted("repeated_instructions")),
        row("instructions without an instance", NONE, counted("without_instance")),
    ]
    for name, words in paper.MEAN_WORDS.items():
        means: list[Spans] = [number(one["lengths"][name]["mean"], 1) if name in one["lengths"] else NONE for _, one in corpora]
        rows.append(row(f"mean words, {LENGTH_NAMES[name]}", number(words, 1), means))
    return Table(
        head=("", "paper (GPT3)", *(tuple(name for name, _ in corpora) or ("this run",))),
        rows=tuple(rows),
        caption="Table 1: statistics of the generated data",
        note="Paper: Wang et al. 2022, Table 1; its shares follow from its counts. Shares of ours with Wilson's 95 % interval.",
    )


def _table_2() -> Table:
    return Table(
        head=("question", "paper (GPT3), yes", "this run"),
        rows=tuple((question, f"{percent} %", NOT_RUN) for question, percent in paper.TABLE_2),
        caption="Table 2: people's review of the data",
        note=f"Paper: {paper.QUALITY_SAMPLE} instructions, one instance each. Such a review of this run's data wasn't made.",
    )


def _figures(name: str, one: Mapping[str, Any], *, several: bool) -> list[Block]:
    blocks: list[Block] = [Heading(level=3, text=f"Corpus {name}")] if several else []
    suffix = f"-{name}" if several else ""
    drawn = figures.available()
    if not drawn:
        blocks.append(Paragraph(text="No plots: matplotlib isn't installed (extra report)."))
    blocks += _verbs(one.get("verb_noun"), drawn, suffix)
    if (nearest := one.get("nearest_seed")) is None:
        blocks.append(Paragraph(text="Figure 4, nearest seeds: not run, no seeds were given."))
    else:
        if drawn:
            blocks.append(figures.nearest_seed(nearest["edges"], nearest["counts"], nearest["mean"], name=f"figure-4{suffix}"))
        blocks.append(
            Paragraph(
                text=f"ROUGE-L of each instruction with the nearest of {number(nearest['seeds'])} seeds: mean "
                f"{nearest['mean']:.3f}, median {nearest['median']:.3f}; equal to a seed: {number(nearest['equal'])}. "
                "The paper shows a histogram without numbers."
            )
        )
    if one["lengths"]:
        if drawn:
            blocks.append(figures.lengths(one["lengths"], paper.MEAN_WORDS, name=f"figure-5{suffix}"))
        blocks.append(_lengths(one["lengths"]))
    return blocks


def _verbs(found: Mapping[str, Any] | None, drawn: bool, suffix: str) -> list[Block]:
    if found is None:
        return [
            Paragraph(text="Figure 3, verbs and nouns: not run, spaCy and its small English model aren't installed (extra report).")
        ]
    blocks: list[Block] = []
    if drawn and found["corrected"]["top"]:
        blocks.append(
            figures.sunburst(
                found["corrected"]["top"],
                name=f"figure-3{suffix}",
                caption="Figure 3: the most frequent root verbs and their direct objects, corrected search",
            )
        )
    ways = (("authors", "this run, the authors' search"), ("corrected", "this run, corrected search"))
    rows: list[tuple[Spans, ...]] = [
        (
            "instructions with a verb and its noun object",
            f"{paper.VERB_NOUN_PAIRS:,} of {paper.INSTRUCTIONS:,}",
            *(f"{number(found[way]['pairs'])} of {number(found[way]['of'])}" for way, _ in ways),
        ),
        (
            "their share",
            f"{100 * paper.VERB_NOUN_PAIRS / paper.INSTRUCTIONS:.1f} %",
            *(share(found[way]["share"]) for way, _ in ways),
        ),
        (
            "share of the top 20 verbs with their top 4 nouns",
            f"{100 * paper.TOP_SHARE:.0f} %",
            *(share(found[way]["top_share"]) for way, _ in ways),
        ),
        ("different verbs", NONE, *(number(found[way]["verbs"]) for way, _ in ways)),
    ]
    blocks.append(
        Table(
            head=("", "paper (GPT3)", *(label for _, label in ways)),
            rows=tuple(rows),
            caption="Verb and noun: how instructions begin",
            note=f"Parsed with {found['parser']}; the paper used another parser. The authors' search: as they released it. "
            "Corrected: the first sentence's root if it is a verb, else the nearest verb; its own direct object. Shares are of all "
            "instructions.",
        )
    )
    if found["corrected"]["top"]:
        verbs = tuple(
            (row["verb"], number(row["count"]), ", ".join(f"{noun} {number(count)}" for noun, count in row["nouns"]))
            for row in found["corrected"]["top"]
        )
        blocks.append(Table(head=("verb", "with an object", "its nouns"), rows=verbs, caption="Figure 3 in numbers"))
    return blocks


def _lengths(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            LENGTH_NAMES[name],
            number(one["texts"]),
            number(one["mean"], 1),
            number(paper.MEAN_WORDS[name], 1),
            *(number(one[key], 1) for key in ("median", "p10", "p90")),
            number(one["longest"]),
        )
        for name, one in found.items()
    )
    head = ("length in words", "texts", "mean", "paper's mean", "median", "10th percentile", "90th percentile", "longest")
    return Table(head=head, rows=rows, caption="Figure 5 in numbers: words, separated by white space")


def people() -> list[Block]:
    """Figures 6 and 7: what the paper had people rate."""
    blocks: list[Block] = [Heading(level=2, text="What people said: Figures 6 and 7")]
    rows = tuple((name, *(number(count) for count in counts)) for name, counts, _ in paper.FIGURE_6)
    if figures.available():
        blocks.append(figures.ratings([(name, *counts) for name, counts, _ in paper.FIGURE_6], name="figure-6"))
    blocks += [
        Table(
            head=("model", *paper.LEVELS),
            rows=(*rows, ("this run", *(NOT_RUN,) * 4)),
            caption=f"Figure 6 in numbers: ratings of {paper.RATED} answers by people",
            note="Paper: Wang et al. 2022, Figure 6. Nobody has rated this run's answers; the ROUGE-L above is a proxy.",
        )
    ]
    if figures.available():
        blocks.append(figures.data_size(paper.FIGURE_7, ("outputs by a stronger model", paper.FIGURE_7_STRONGER), name="figure-7"))
    sizes: list[tuple[Spans, ...]] = [(number(size), f"{percent:.1f} %", NOT_RUN) for size, percent in paper.FIGURE_7]
    sizes.append((f"{number(paper.FIGURE_7[-1][0])}, outputs by a stronger model", f"{paper.FIGURE_7_STRONGER:.1f} %", NOT_RUN))
    blocks.append(
        Table(
            head=("instructions trained on", "paper, rated A", "this run"),
            rows=tuple(sizes),
            caption="Figure 7 in numbers: size and quality of the data",
            note="Paper: Wang et al. 2022, Figure 7.",
        )
    )
    return blocks


def contamination(found: Sequence[tuple[str, Sequence[Mapping[str, Any]] | None]]) -> list[Block]:
    """Training data against each evaluation set, by run."""
    blocks: list[Block] = [Heading(level=2, text="Contamination: training data against the evaluation sets")]
    rows: list[tuple[Spans, ...]] = []
    examples: list[Spans] = []
    for run, sets in found:
        if sets is None:
            blocks.append(Paragraph(text=f"{run}: not measured; the training data isn't known or isn't there any more."))
            continue
        for one in sets:
            rows.append(
                (
                    run,
                    one["set"],
                    number(one["rows"]),
                    number(one["overlapping_rows"]),
                    share(one["share"]),
                    *(number(one[name]) for name in ("equal", "thirteen_words", "rouge_l")),
                    number(one["highest"], 3),
                    f"{number(one['items_touched'])} of {number(one['items'])}",
                )
            )
            examples += [
                (Code(shown["row"]), f": {shown['text']} (", Code(shown["item"]), f": {shown['detail']})")
                for shown in one["examples"]
            ]
    if rows:
        blocks.append(
            Table(
                head=(
                    "run",
                    "set",
                    "training rows",
                    "overlap",
                    "share",
                    "equal text",
                    "13 words",
                    "ROUGE-L 0.7",
                    "highest",
                    "items touched",
                ),
                rows=tuple(rows),
                left=2,
                caption="Training rows whose instruction or input overlaps an evaluation item's",
                note="Equal text, 13 words in a row, or a ROUGE-L F1 of 0.7 or more with an instruction or input; a row may count "
                "in several columns. Outputs aren't compared.",
            )
        )
        if any(row[3] != "0" for row in rows):
            blocks.append(Notice(kind="warning", text="Rows of the training data overlap items that the model was measured on."))
        if examples:
            blocks += [Paragraph(text="Examples:"), Bullets(items=tuple(examples))]
    return blocks
