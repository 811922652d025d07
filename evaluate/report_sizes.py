"""The report's part on the size and the quality of the data: the paper's Figure 7 with ours beside it.

Knows the tree alone. What raters said is the paper's measure; ROUGE-L on the same instructions is shown beside it, as a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from self_instruct.evaluate import figures, figures_matrix, roles
from self_instruct.evaluate.document import Block, Heading, Paragraph, Spans, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.intervals import Estimate
from self_instruct.evaluate.matrix import MEASURED
from self_instruct.evaluate.rating_results import PEOPLE
from self_instruct.evaluate.report_numbers import NOT_RUN, estimate, shown, title

Tree = Mapping[str, Any]
PROXY = "user_oriented"  # the kind of set whose answers people rate
SIZES = (roles.SEEDS, roles.SIZE, roles.SELF_INST)
STRONGER = "outputs by a stronger model"


def figure_7(theirs: Tree, tree: Tree | None = None) -> list[Block]:
    """Figure 7: what the size and the quality of the data did to people's ratings; `tree` is a comparison's report."""
    blocks: list[Block] = [Heading(level=2, text="Size and quality of the data: Figure 7")]
    paper_sizes = [(row["instructions"], row["percent"]) for row in theirs["figure_7"]]
    stronger = theirs["figure_7_stronger_percent"]
    rows = _rows(tree["matrix"]) if tree else []
    raters = list(dict.fromkeys((rated["set"], rated["source"]) for row in rows for rated in row["rated"]))
    raters.sort(key=lambda one: one[1] != PEOPLE)
    ours, star = _points(rows, lambda row: _rated(row, raters[0]) if raters else None)
    if figures.available():
        said = raters[0][1] if raters and (ours or star) else None
        blocks.append(
            figures.data_size(
                paper_sizes,
                (STRONGER, stronger),
                ours,
                (star[0], star[2]) if star else None,
                name="figure-7",
                ours_rated_by=said,
            )
        )
    told: list[tuple[Spans, ...]] = [(number(size), f"{percent:.1f} %", NOT_RUN) for size, percent in paper_sizes]
    told.append((f"{number(paper_sizes[-1][0])}, {STRONGER}", f"{stronger:.1f} %", NOT_RUN))
    if not tree:
        blocks.append(
            Table(
                head=("instructions trained on", "paper, rated A", "this run"),
                rows=tuple(told),
                caption="Figure 7 in numbers: size and quality of the data",
                note="Paper: Wang et al. 2022, Figure 7.",
            )
        )
        return blocks
    blocks.append(
        Table(
            head=("instructions trained on", "paper, rated A"),
            rows=tuple(row[:2] for row in told),
            caption="Figure 7 in numbers: the paper's",
            note="Paper: Wang et al. 2022, Figure 7.",
        )
    )
    return blocks + _ours(tree, rows, raters)


def _ours(tree: Tree, rows: Sequence[Tree], raters: Sequence[tuple[str, str]]) -> list[Block]:
    """Our rows in numbers, and ROUGE-L by the number of instructions."""
    suites = [one for one in tree["suites"] if one["kind"] == PROXY]
    if not any(row["role"] != roles.SELF_INST for row in rows):
        return [Paragraph(text="Not run: no row is tuned on the seeds alone, on fewer instructions or on other outputs.")]
    head = ("row", "what it is", "instructions", *(f"rated A, % ({source})" for _, source in raters or [("", PEOPLE)]))
    table: list[tuple[Spans, ...]] = []
    for row in rows:
        if row["state"] != MEASURED:
            values = [row["state"]] * (len(raters or [0]) + len(suites))
            table.append((row["row"], f"{row['state']}: {row['why']}", number(row["instructions_asked"]), *values))
            continue
        given = [_rated(row, one) for one in raters] or [None]
        table.append(
            (
                row["row"],
                _what(row, rows),
                number(row["instructions"]),
                *(_told(one, 1) if one else "not rated" for one in given),
                *(_told(one, 2) if (one := _score(row, suite["name"])) else NONE for suite in suites),
            )
        )
    blocks: list[Block] = [
        Table(
            head=(*head, *(f"{title(one)}, ROUGE-L" for one in suites)),
            rows=tuple(table),
            left=2,
            caption="Figure 7 in numbers: our rows",
            note="Instructions: different ones trained on, seeds among them; smaller sets are parts of larger ones. Rated A with "
            "Wilson's 95 % interval, ROUGE-L with a bootstrap's. ROUGE-L is a proxy for people's ratings.",
        )
    ]
    for suite in suites if figures.available() else []:
        points, star = _points(rows, lambda row, name=suite["name"]: _score(row, name))
        if points:
            caption = f"ROUGE-L by the number of instructions trained on, {title(suite)}: a proxy for Figure 7"
            blocks.append(
                figures_matrix.sizes(points, star, name=f"sizes-{suite['name']}", caption=caption, unit="ROUGE-L (points)")
            )
    return blocks


def _rows(matrix: Tree) -> list[Tree]:
    """The rows of experiment 3, by their number of instructions, the other model's outputs last; unmeasured ones as asked for."""
    found = [row for row in matrix["rows"] if row["role"] in (*SIZES, roles.OUTPUTS)]
    known = [row["instructions"] or row["instructions_asked"] or 0 for row in found]
    whole = max(known, default=0)

    def place(row: Tree) -> tuple[int, int, int]:
        count = row["instructions_asked"] or row["instructions"] or (0 if row["role"] == roles.SEEDS else whole + 1)
        return int(row["role"] == roles.OUTPUTS), int(row["role"] == roles.SELF_INST), count

    return sorted(found, key=place)


def _what(row: Tree, rows: Sequence[Tree]) -> str:
    if row["role"] == roles.OUTPUTS:
        if not row["outputs_by"]:
            return roles.TITLES[roles.OUTPUTS]
        kept = f", for {number(row['outputs_kept'])} of {number(row['outputs_of'])} instances" if row["outputs_of"] else ""
        return f"outputs by {row['outputs_by']}{kept}"
    if row["role"] != roles.SIZE:
        return "the seeds alone" if row["role"] == roles.SEEDS else "all instructions"
    asked, found = row["instructions_asked"], row["instructions"]
    if row["same_as"] and found is not None and asked > found:
        return f"asked for {number(asked)}, clipped: the corpus has only {number(found)}; the same as {row['same_as']}"
    return f"the same as {row['same_as']}" if row["same_as"] else f"{number(asked)} asked for"


def _points(rows: Sequence[Tree], value: Any) -> tuple[list[tuple[int, Estimate]], tuple[int, str, Estimate] | None]:
    """The curve by number of instructions, each number once, and the row with other outputs."""
    curve: dict[int, Estimate] = {}
    star = None
    for row in rows:
        if row["state"] != MEASURED or row["instructions"] is None or (one := value(row)) is None:
            continue
        if row["role"] == roles.OUTPUTS:
            star = star or (row["instructions"], _what(row, rows), one)
        else:
            curve.setdefault(row["instructions"], one)
    return sorted(curve.items(), key=lambda pair: pair[0]), star


def _rated(row: Tree, who: tuple[str, str]) -> Estimate | None:
    found = next((one["a_percent"] for one in row["rated"] if (one["set"], one["source"]) == who), None)
    return found and estimate(found)


def _score(row: Tree, suite: str) -> Estimate | None:
    found = row["suites"].get(suite)
    return found and estimate(found["rouge_l"])


def _told(one: Estimate, digits: int) -> str:
    return shown({"value": one.value, "low": one.low, "high": one.high}, digits)
