"""The report's part on a comparison: every row with its numbers, and for every cell where they come from.

Knows the tree alone (`report_matrix_tree.build`), nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from self_instruct.evaluate import figures, figures_matrix, roles
from self_instruct.evaluate.document import Block, Code, Details, Heading, Notice, Paragraph, Spans, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.matrix import MEASURED
from self_instruct.evaluate.report_matrix_tree import measured
from self_instruct.evaluate.report_numbers import estimate, shown, shown_difference, title
from self_instruct.evaluate.report_pairs import Pairs

Tree = Mapping[str, Any]
RANDOM = "random weights: shows the path, not a result"
HASH = 8  # hex digits of a fingerprint that are shown in a table


def summary(tree: Tree) -> list[Block]:
    """Every row of the comparison: what it is, and its numbers, or why it has none."""
    matrix, suites, label = tree["matrix"], tree["suites"], Pairs(tree).label
    raters = list(dict.fromkeys((rated["set"], rated["source"]) for row in matrix["rows"] for rated in row["rated"]))
    sets = {name for name, _ in raters}
    head = ["row", "what it is, and what it is trained on"]
    head += [word for one in suites for word in (f"{title(one)}, ROUGE-L", f"{title(one)}, difference")]
    head += [f"rated A, % ({source}{f', {name}' if len(sets) > 1 else ''})" for name, source in raters]
    blocks: list[Block] = [
        Heading(level=2, text="The comparison: every row"),
        Paragraph(text=f"Models: {_models(tree)}."),
        Table(
            head=tuple(head),
            rows=tuple(_row(row, suites, raters) for row in matrix["rows"]),
            left=2,
            caption="Every row of the comparison",
            note=f"ROUGE-L times 100 with 95 % intervals, and its paired difference in points{_bases(matrix)}. "
            + ("Rated A: percent of the rated answers, Wilson's interval. " if raters else "")
            + "In brackets the rows trained on, by source. A dash: not measured on that set.",
        ),
    ]
    if any(row["random"] for row in matrix["rows"]):
        names = ", ".join(row["row"] for row in matrix["rows"] if row["random"])
        blocks.append(Notice(kind="warning", text=f"{names}: {RANDOM}."))
    if figures.available():
        for one in suites:
            given = [
                (label(row["row"]), estimate(row["suites"][one["name"]]["rouge_l"]))
                for row in measured(matrix)
                if one["name"] in row["suites"] and not row["same_as"]
            ]
            caption = f"ROUGE-L of every row, {title(one)}"
            blocks.append(figures_matrix.forest(given, name=f"rows-{one['name']}", caption=caption))
    return blocks


def _row(row: Tree, suites: list[Tree], raters: list[tuple[str, str]]) -> tuple[Spans, ...]:
    what = roles.TITLES[row["role"]] + (f" ({told})" if (told := trained_on(row)) else "")
    if row["state"] != MEASURED:
        asked = [row["state"] if one["kind"] in row["measure"] else NONE for one in suites for _ in range(2)]
        return (row["row"], f"{what}; {row['state']}: {row['why']}", *asked, *[row["state"]] * len(raters))
    cells: list[Spans] = [row["row"], what + (f"; {RANDOM}" if row["random"] else "")]
    for one in suites:
        found = row["suites"].get(one["name"])
        cells.append(shown(found["rouge_l"]) if found else NONE)
        cells.append(shown_difference(found["difference"]) if found and found["difference"] else NONE)
    rated = {(one["set"], one["source"]): one for one in row["rated"]}
    return (*cells, *(_rated(rated.get(who)) for who in raters))


def _models(tree: Tree) -> str:
    """Which models the rows are, or are tuned from."""
    found: dict[str, list[str]] = {}
    for name, one in tree["models"].items():
        found.setdefault(one["title"], []).append(name)
    return "; ".join(f"{name} ({', '.join(rows)})" for name, rows in found.items())


def _bases(matrix: Tree) -> str:
    """From which rows the differences are."""
    found: dict[str, list[str]] = {}
    for row in matrix["rows"]:
        if row["against"]:
            found.setdefault(row["against"], []).append(row["row"])
    told = [f" from {base}" + (f" ({', '.join(names)})" if len(found) > 1 else "") for base, names in found.items()]
    return ",".join(told)


def _rated(one: Tree | None) -> str:
    if one is None:
        return NONE
    told = shown(one["a_percent"], 1)
    return told if one["rated"] == one["of"] else f"{told}, {number(one['rated'])} of {number(one['of'])} rated"


def trained_on(row: Tree) -> str:
    """What a row is tuned on, with how many rows where that is known; the row that it is the same as; nothing if it isn't tuned."""
    if row["same_as"]:
        return f"the same as {row['same_as']}"
    told = ", ".join(f"{one['name']} {number(one['rows'])}" for one in row["trained_on"]) or ", ".join(row["data"])
    if row["outputs_by"]:
        told += f", outputs by {row['outputs_by']}"
        told += f" for {number(row['outputs_kept'])} of {number(row['outputs_of'])} instances" if row["outputs_of"] else ""
    return told + (f"; {number(row['instructions'])} different instructions" if row["instructions"] is not None else "")


def cells(matrix: Tree) -> list[Block]:
    """For every cell its state, model, seed, machine and time; versions and hashes of data in details."""
    rows: list[tuple[Spans, ...]] = []
    details: list[Block] = []
    for cell in matrix["cells"]:
        run = cell["run"]
        if run is None:
            rows.append((cell["cell"], cell["state"] + (f": {cell['why']}" if cell["why"] else ""), *[NONE] * 6))
            continue
        rows.append(
            (
                cell["cell"],
                cell["state"],
                Code(str(run["model"])),
                run["revision"] or NONE,
                _short(run["model_fingerprint"]),
                _short(cell["fingerprint"]),
                number(run["seed"]),
                number(run["seconds"], 1),
            )
        )
        told: list[tuple[Spans, ...]] = [
            ("model", Code(run["model_fingerprint"] or NONE)),
            ("config", Code(cell["fingerprint"] or NONE)),
            ("manifest", Code(run["manifest"])),
            *((f"hash of {name}", Code(digest)) for name, digest in run["inputs"].items()),
            ("engine", run["engine"] or NONE),
            ("versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items())),
            ("code", f"commit {run['commit']}" if run["commit"] else "an installed package"),
            ("machine", ", ".join(run["hardware"])),
            ("determinism", run["determinism"]),
            ("after", ", ".join(cell["after"]) or NONE),
        ]
        details.append(Details(summary=cell["cell"], blocks=(Table(head=("what", "value"), rows=tuple(told), left=2),)))
    head = (
        "cell",
        "state",
        "model",
        "revision",
        "model's hash",
        "config's hash",
        "seed",
        "seconds",
    )
    return [
        Heading(level=2, text="Where every number comes from: the cells"),
        Paragraph(
            text="A cell is one stage of one row. Determinism: given the completions, all else follows from the seed (logical); a "
            "real engine may answer differently in rare near-ties. Seconds of an evaluate cell are without the answers "
            "that it took from other runs (evaluate.cache); the provenance below counts them."
        ),
        Table(head=head, rows=tuple(rows), left=6, caption="The cells of the comparison"),
        *([Details(summary="Machine, versions and hashes of every cell", blocks=tuple(details))] if details else []),
    ]


def _short(digest: str | None) -> Spans:
    return Code(digest[:HASH]) if digest else NONE
