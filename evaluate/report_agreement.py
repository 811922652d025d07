"""The report's part on raters: how far people agree with one another and with judges, and what a judge is like.

Knows the tree alone (`rating_tree.build`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from self_instruct.evaluate.document import Block, Details, Heading, Paragraph, Spans, Table
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
    if len(rows) == 1:
        why = "Fewer than two raters have rated the same answers: nothing to compare."
        return [*blocks, Paragraph(text=why), *_judges(ratings)]
    blocks.append(
        Table(
            head=("raters", "kind", "answers", "same level, %", "kappa", "kappa, quadratic", "kappa, A or B", "Spearman"),
            rows=tuple(rows),
            left=2,
            caption="Agreement on the levels of the same answers",
            note="Kappa: Cohen's, on the four levels, with quadratic weights, and of A or B against C or D. [95 % interval] by a "
            "bootstrap over the instructions. Paper: Wang et al. 2022, two of its authors.",
        )
    )
    for one in ratings["sets"]:
        if alpha := one["alpha"]:
            missing = ", some answers rated by some of them only" if alpha["missing"] else ""
            blocks.append(
                Paragraph(
                    text=f"{one['title']}: Krippendorff's alpha (ordinal) of {alpha['raters']} people on "
                    f"{number(alpha['answers'])} answers{missing}: {maybe(alpha['value'], 3)}."
                )
            )
    blocks += _judges(ratings)
    return [*blocks, Details(summary="Confusion matrices", blocks=tuple(details))]


def _theirs(theirs: Tree, name: str) -> str:
    value = theirs["agreement"].get(name)
    return NONE if value is None else f"{value:.2f}"


def _confusion(title: str, pair: Tree) -> Table:
    return Table(
        head=(f"{pair['first']} \\ {pair['second']}", *LEVELS),
        rows=tuple((level, *(number(count) for count in row)) for level, row in zip(LEVELS, pair["confusion"], strict=True)),
        caption=f"{title}: answers by both levels",
    )
