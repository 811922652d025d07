"""A comparison's folder (`reproduce`): its `matrix.json`, and its measured rows as stored runs whose models have the rows' names.

Knows neither reports nor how rows are run. A row whose results can't be read fails; the others stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.errors import DataError, RunFolderError, SelfInstructError
from self_instruct.evaluate import joined, predict, roles, store
from self_instruct.evaluate.finished import finished_manifest

FILE = "matrix.json"
FORMAT = 1
MEASURED, NOT_RUN, FAILED = "measured", "not run", "failed"
HINT = "run the same reproduce command again: what is finished stays, and the file is written anew"
LATER = {roles.INSTRUCT: 2, roles.SELF_INST: 4, roles.SELF_INST_SUPERNI: 5}  # so that differences are theirs less the others'


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of the comparison. `contender`: which model of the run folder `run` (relative to the comparison's) it is.

    `why` is a phrase where the `state` isn't `measured`. `same_as`: the row whose numbers are also this one's. `against`: the
    measured row of the model that it was tuned from, or of which it is the vendor's instruct version.
    """

    row: str
    role: str
    measure: tuple[str, ...]
    model: str
    prompt: str
    data: tuple[str, ...]
    instructions: int | None
    outputs_by: str | None
    state: str
    why: str | None
    same_as: str | None
    run: str
    contender: str
    against: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """`rows` in the report's order; `runs` are the measured rows', the base first, self-instruct's last, each with the one
    model that has its row's name; a base without a row of its own stands in the run of the first row tuned from it."""

    place: Path
    name: str
    rows: tuple[Row, ...]
    cells: tuple[Mapping[str, Any], ...]
    runs: tuple[store.StoredRun, ...]

    def row(self, name: str) -> Row | None:
        """The row of a name."""
        return next((row for row in self.rows if row.row == name), None)

    def run(self, name: str) -> store.StoredRun | None:
        """The run that a measured row's numbers are from."""
        row = self.row(name)
        if row is None or row.state != MEASURED:
            return None
        return next((run for run in self.runs if (row.same_as or name) in run.models), None)


def is_matrix(path: Path) -> bool:
    """Whether a folder is a comparison's, not a run's."""
    return (path / FILE).is_file()


def runs(places: Sequence[Path]) -> tuple[store.StoredRun, ...]:
    """The stored runs of the folders that a command line names: several runs, or the measured rows of one comparison.

    Raises DataError for a comparison among others or one of which nothing was measured, and what `store.read` raises.
    """
    if not any(map(is_matrix, places)):
        return tuple(store.read(place) for place in places)
    if len(places) > 1:
        named = next(place for place in places if is_matrix(place))
        raise DataError(
            f"{named}: a comparison's folder among {len(places)} run folders",
            hint=f"name it alone, or one of its rows: {named / 'rows'}/ROW",
        )
    return read(places[0]).runs


def read(place: Path) -> Matrix:
    """A comparison's folder. Raises DataError where its `matrix.json` is damaged or of another format, or nothing was measured."""
    name, rows, cells = _tree(place / FILE)
    found, taken = _Read(place), []
    for row in rows:
        taken.append(found.measured(row) if _has_results(row, rows) else row)
    if not found.runs:
        told = "; ".join(f"{row.row}: {row.why}" for row in taken if row.why)
        raise DataError(f"{place}: none of its rows is measured: {told or 'it has none'}", hint=HINT)
    done = list(found.with_bases([_follow(row, taken) for row in taken]))
    done = [replace(row, against=_base(row, done)) for row in done]
    return Matrix(place=place, name=name, rows=tuple(done), cells=cells, runs=tuple(_ordered(done, found.runs)))


def _tree(path: Path) -> tuple[str, list[Row], tuple[Mapping[str, Any], ...]]:
    try:
        tree = rundir.read_json(path)
    except RunFolderError as error:
        raise DataError(error.message, hint=HINT) from None
    if tree.get("format") != FORMAT:
        raise DataError(
            f"{path}: of format {tree.get('format')!r}, this version reads {FORMAT}",
            hint="run the same reproduce command again with this version",
        )
    try:
        rows = [Row(**one | {"measure": tuple(one["measure"]), "data": tuple(one["data"])}) for one in tree["rows"]]
        names = [row.row for row in rows]
        if unknown := [row for row in rows if row.state not in (MEASURED, NOT_RUN, FAILED)]:
            raise ValueError(f"row {unknown[0].row}: state {unknown[0].state!r}")
        if unknown := [row for row in rows if row.role not in roles.TITLES]:
            raise ValueError(f"row {unknown[0].row}: role {unknown[0].role!r}")
        if len(set(names)) < len(names):
            raise ValueError("two rows of one name")
        cells = tuple(
            {key: cell[key] for key in ("cell", "row", "stage", "after", "state", "why", "fingerprint")} for cell in tree["cells"]
        )
        return str(tree["name"]), rows, cells
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged: {type(error).__name__}: {error}", hint=HINT) from None


def _has_results(row: Row, rows: Sequence[Row]) -> bool:
    """Whether it has a run to read; another row's numbers are read there, if that row is in the matrix."""
    return row.state == MEASURED and row.same_as not in [one.row for one in rows]


class _Read:
    """The runs read so far, each with its row's model alone; `bases` are their other models."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.runs: list[store.StoredRun] = []
        self._whole: dict[str, store.StoredRun] = {}

    def measured(self, row: Row) -> Row:
        """The row, its run read; failed where that can't be."""
        try:
            run = store.read(self.place / row.run)
            if row.contender not in run.models:
                raise DataError(f"{row.run}: no model {row.contender} in its results")
            for stage in ("generate", "train"):
                finished_manifest(run.run, stage)  # the report reads them, too
            kept = named(run, {row.contender: row.row}, {row.row: row.role}, self.place)
            joined.require_same_sets([*self.runs, kept])
        except SelfInstructError as error:
            return replace(row, state=FAILED, why=error.message.replace(f"{self.place}/", ""))
        self.runs.append(kept)
        self._whole[row.row] = run
        return replace(row, same_as=None)

    def with_bases(self, rows: Sequence[Row]) -> Iterator[Row]:
        """The rows, and before the first row whose base isn't among them that base, from its run."""
        names, added = [row.row for row in rows], list(rows)
        for row in rows:
            whole = self._whole.get(row.row)
            if whole is None or row.contender == predict.BASE or predict.BASE not in whole.models or _base(row, added):
                yield row
                continue
            name = predict.BASE if predict.BASE not in names else f"{row.row}'s base"
            facts = whole.models[predict.BASE]
            base = replace(
                row, row=name, role=facts["role"], data=(), instructions=None, outputs_by=None, contender=predict.BASE, same_as=None
            )
            place = next(place for place, run in enumerate(self.runs) if row.row in run.models)
            both = {predict.BASE: name, row.contender: row.row}
            self.runs[place] = named(whole, both, {name: base.role, row.row: row.role}, self.place)
            names.append(name)
            added.append(base)
            yield base
            yield row


def named(run: store.StoredRun, names: Mapping[str, str], role_of: Mapping[str, str], keeper: Path) -> store.StoredRun:
    """A copy with the models of `names` alone, under their new names and with these roles; `keeper` has its ratings."""
    return replace(
        run,
        keeper=keeper,
        models={new: {**run.models[old], "role": role_of[new]} for old, new in names.items()},
        suites=tuple(replace(suite, answers={new: suite.answers[old] for old, new in names.items()}) for suite in run.suites),
        contamination=None
        if run.contamination is None
        else [{**one, "model": names[one["model"]]} for one in run.contamination if one["model"] in names],
    )


def _follow(row: Row, rows: Sequence[Row]) -> Row:
    """A row that another one stands for is as that one is."""
    other = next((one for one in rows if one.row == row.same_as), None)
    if other is None or row.state != MEASURED or other.state == MEASURED:
        return row
    return replace(row, state=other.state, why=other.why)


def _base(row: Row, rows: Sequence[Row]) -> str | None:
    """The measured row of the model that a row comes from."""
    if row.state != MEASURED:
        return None
    for other in rows:
        if other.state != MEASURED or other.data or other.row == row.row:
            continue
        if row.data and (other.model, other.prompt) == (row.model, row.prompt):
            return other.row
        if row.role == roles.INSTRUCT and other.role == roles.BASE:
            return other.row
    return None


def _ordered(rows: Sequence[Row], found: Sequence[store.StoredRun]) -> list[store.StoredRun]:
    """First self-instruct's base, then what isn't tuned (instruct versions last), then what is (self-instruct's last)."""
    own = next((row for row in rows if row.role == roles.SELF_INST and row.against), None)
    first = own.against if own else next((row.row for row in rows if row.role == roles.BASE), None)
    of = {row.row: row for row in rows}

    def rank(run: store.StoredRun) -> int:
        if first in run.models:
            return 0
        name = list(run.models)[-1]
        return LATER.get(of[name].role, 3 if of[name].data else 1)

    return sorted(found, key=rank)
