"""The comparison as a matrix: rows become cells, each a stage in a run folder, with its settings and what it waits for.

Pure: knows neither processes nor files, only where they will lie. Roles and rows: method.md, "Models in the comparison".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from self_instruct.settings import Settings
from self_instruct.settings_reproduce import BASE, ENCODER_DECODER, INSTRUCT, SEEDS, SUPERNI, T0, TEST, Row

Stage = Literal["generate", "train", "evaluate"]
EMBEDDED = "embedded"  # an instruct checkpoint: in its chat template it is its own vendor's version
ROLES = {
    (BASE, frozenset[str]()): "base",
    (BASE, frozenset({SEEDS})): "seeds",
    (BASE, frozenset({T0})): "t0",
    (BASE, frozenset({SUPERNI})): "superni",
    (BASE, frozenset({"corpus"})): "self_inst",
    (BASE, frozenset({"corpus", SUPERNI})): "self_inst_superni",
    (ENCODER_DECODER, frozenset[str]()): "t5_lm",
    (ENCODER_DECODER, frozenset({T0})): "t5_t0",
    (ENCODER_DECODER, frozenset({SUPERNI})): "t5_superni",
    (INSTRUCT, frozenset[str]()): "instruct",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One stage of one row. `after`: the cells whose products it reads; `overrides`: `--set`'s values by dotted key."""

    row: str
    stage: Stage
    after: tuple[str, ...]
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.row}/{self.stage}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowPlan:
    """A row with its role, and why it can't be run, if so. `same_as`: the row that stands for it."""

    row: Row
    role: str
    why: str | None
    same_as: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Rows in the report's order, cells in the order they are run: none comes before what it waits for. `wanted`: the names of the
    cells that `reproduce.only` leaves, with those that they wait for."""

    rows: tuple[RowPlan, ...]
    cells: tuple[Cell, ...]
    wanted: frozenset[str]


def build(settings: Settings, out: Path, *, seeds: int, instructions: Mapping[str, int], faults: Mapping[str, str]) -> Matrix:
    """The matrix of the settings, below the folder `out`.

    `seeds`: how many seed tasks there are. `instructions`: how many different ones, seeds among them, a row's corpus has, of those
    that are there already. `faults`: what is wrong with what rows are trained on, measured on (`TEST`) or made of, by its name.
    """
    rows = every_row(settings)
    known = {row.name: row for row in rows}
    plans: list[RowPlan] = []
    for row in rows:
        same = _same_as(row, rows, seeds, instructions)
        plans.append(RowPlan(row=row, role=role(row, known), why=_why_not(row, known, settings, faults), same_as=same))
    cells: dict[str, Cell] = {}
    for plan in plans:
        if plan.why is None and plan.same_as is None:
            if plan.row.has_corpus:
                _add(_generation(plan.row, known, settings, out), cells, known, settings, out, faults)
            for cell in _cells(plan.row, known, settings, out, faults):
                _add(cell, cells, known, settings, out, faults)
    return Matrix(rows=tuple(plans), cells=tuple(cells.values()), wanted=_wanted(plans, cells, settings.reproduce.only))


def _wanted(plans: Sequence[RowPlan], cells: Mapping[str, Cell], only: Sequence[str]) -> frozenset[str]:
    stand = {plan.row.name: plan.same_as or plan.row.name for plan in plans}
    rows = {stand[name] for name in only or stand}
    found = [name for name, cell in cells.items() if cell.row in rows]
    for name in found:  # it grows
        found += [before for before in cells[name].after if before not in found]
    return frozenset(found)


def every_row(settings: Settings) -> tuple[Row, ...]:
    """The rows of `reproduce.rows`, and one for each of `reproduce.sizes`, of the first row that writes a corpus."""
    rows = settings.reproduce.rows
    own = next((row for row in rows if row.generate), None)
    sized = [
        Row(
            name=f"size-{size}",
            model=own.model,
            prompt=own.prompt,
            engine=own.engine,
            data=(SEEDS, own.name),
            instructions=size,
            measure=("user_oriented",),
        )
        for size in settings.reproduce.sizes
        if own is not None
    ]
    return (*rows, *sized)


def role(row: Row, known: Mapping[str, Row]) -> str:
    """Which of the paper's models a row stands for; `size` and `outputs` are experiment 3's, `other` has no counterpart."""
    if row.instructions is not None:
        return "size"
    sources = [source for source in row.data if source != SEEDS] or list(row.data)
    own = corpora(row, known)
    if any(known[source].outputs_of for source in own):
        return "outputs"
    if chat(row) != (row.model == INSTRUCT) or any(known[source].model != row.model for source in own):
        return "other"  # asked otherwise than its role is, or tuned on another model's corpus
    if SEEDS in row.data and not own and sources != [SEEDS]:
        return "other"  # the paper's T0 and SuperNI rows have no seeds
    kinds = frozenset("corpus" if source in own else source for source in sources)
    return ROLES.get((row.model, kinds), "other")


def corpora(row: Row, known: Mapping[str, Row]) -> list[str]:
    """The rows whose corpora a row is tuned on."""
    return [source for source in row.data if source in known and source not in (SEEDS, SUPERNI, T0)]


def _same_as(row: Row, rows: Sequence[Row], seeds: int, instructions: Mapping[str, int]) -> str | None:
    """The row that a size comes down to: the seeds alone, or, where there are no more instructions, all of them."""
    if row.instructions is None:
        return None
    own = [source for source in row.data if source != SEEDS]
    if row.instructions == seeds and SEEDS in row.data:
        data: tuple[str, ...] = (SEEDS,)
    elif len(own) == 1 and row.instructions >= instructions.get(own[0], row.instructions + 1):
        data = row.data
    else:
        return None
    same = (row.model, row.prompt, row.engine, frozenset(data), None)
    return next(
        (
            one.name
            for one in rows
            if (one.model, one.prompt, one.engine, frozenset(one.data), one.instructions) == same
            and set(row.measure) <= set(one.measure)
        ),
        None,
    )


def _why_not(row: Row, known: Mapping[str, Row], settings: Settings, faults: Mapping[str, str]) -> str | None:
    """Why a row can't be run: a model or data that aren't named, or no measurement left."""
    for needed in (row, *(known[name] for name in (row.outputs_of, row.outputs_by) if name)):
        if _model(needed, settings) is None:
            return "model.instruct isn't set" if needed.model == INSTRUCT else "reproduce.encoder_decoder isn't set"
        if needed.model in faults:
            return faults[needed.model]
    for source in row.data:
        if source in faults:
            return faults[source]
        if source in (SUPERNI, T0) and getattr(settings.data, source) is None:
            return f"data.{source} isn't set"
    if _measured(row, settings, faults):
        return None
    missing = {SUPERNI: "data.superni isn't set", "user_oriented": "evaluate.user_oriented is empty"}
    return faults.get(TEST) if row.measure == (SUPERNI,) and TEST in faults else ", ".join(missing[name] for name in row.measure)


def _measured(row: Row, settings: Settings, faults: Mapping[str, str]) -> list[str]:
    """The measurements of a row that there are data for."""
    there = {
        SUPERNI: settings.data.superni is not None and TEST not in faults,
        "user_oriented": bool(settings.evaluate.user_oriented),
    }
    return [name for name in row.measure if there[name]]


def _model(row: Row, settings: Settings) -> dict[str, Any] | None:
    """The settings of a row's model, as far as they aren't the config's own; None where it isn't named."""
    found: dict[str, Any] = {}
    if row.model == INSTRUCT:
        named = settings.model.instruct or (EMBEDDED if settings.model.name == EMBEDDED else None)
    else:
        named = settings.reproduce.encoder_decoder if row.model == ENCODER_DECODER else row.model
    if named is None:
        return None
    if row.model != BASE and named != settings.model.name:
        found |= {"model.name": named, "model.revision": None}
    if chat(row):
        found["model.prompt"] = "chat"
    engine = row.engine or ("transformers" if row.model == ENCODER_DECODER else None)
    if engine is not None and settings.model.engine != "scripted":
        found["model.engine"] = engine
    return found


def chat(row: Row) -> bool:
    return row.prompt == "chat" or (row.prompt is None and row.model == INSTRUCT)


def tuned(row: Row) -> bool:
    return bool(row.data)


def corpus(out: Path, row: str) -> str:
    """Where a row's corpus lies."""
    return str(out / "rows" / row / "generate" / "corpus")


def _cells(row: Row, known: Mapping[str, Row], settings: Settings, out: Path, faults: Mapping[str, str]) -> list[Cell]:
    """A row's training, if it is tuned, and its evaluation; `_add` finds the corpora that they wait for."""
    model = _model(row, settings) or {}
    found: list[Cell] = []
    measured = _measured(row, settings, faults)
    asked: dict[str, Any] = {
        "evaluate.adapters": None if tuned(row) else (),
        "evaluate.superni.folder": settings.data.superni if SUPERNI in measured else None,
        "evaluate.user_oriented": settings.evaluate.user_oriented if "user_oriented" in measured else (),
    }
    if tuned(row):
        sources = [source for source in row.data if source != SEEDS]
        own = corpora(row, known)
        places = {SUPERNI: settings.data.superni, T0: settings.data.t0} | {name: corpus(out, name) for name in own}
        trained: dict[str, Any] = {
            "train.data": tuple(places.get(source, source) for source in sources),
            "train.include_seeds": SEEDS in row.data,
            "train.instructions": row.instructions,
        }
        if len(sources) != len(settings.train.weights):
            trained["train.weights"] = ()
        if chat(row):
            trained["train.template"] = "chat"
        after = tuple(f"{source}/generate" for source in own)
        found.append(Cell(row=row.name, stage="train", after=after, overrides=model | trained))
        if settings.train.method == "full":
            whole = {"model.name": str(out / "rows" / row.name / "train" / "model"), "model.revision": None}
            asked |= whole | {"evaluate.adapters": ()}
    after = (f"{row.name}/train",) if tuned(row) else ()
    found.append(Cell(row=row.name, stage="evaluate", after=after, overrides=model | asked))
    return found


def _generation(row: Row, known: Mapping[str, Row], settings: Settings, out: Path) -> Cell:
    """The cell that writes a row's corpus: by the row's own model, or the outputs by another's."""
    if row.outputs_of is None or row.outputs_by is None:
        return Cell(row=row.name, stage="generate", after=(), overrides=_model(row, settings) or {})
    model = _model(known[row.outputs_by], settings) or {}
    place = {"generate.outputs_of": corpus(out, row.outputs_of)}
    return Cell(row=row.name, stage="generate", after=(f"{row.outputs_of}/generate",), overrides=model | place)


def _add(
    cell: Cell, cells: dict[str, Cell], known: Mapping[str, Row], settings: Settings, out: Path, faults: Mapping[str, str]
) -> None:
    """Put a cell behind those that it waits for, which are made where they aren't there yet."""
    for name in cell.after:
        row, _, stage = name.rpartition("/")
        if name not in cells and stage == "generate":
            _add(_generation(known[row], known, settings, out), cells, known, settings, out, faults)
    if cell.name not in cells:
        cells[cell.name] = cell


def flags(cell: Cell) -> list[str]:
    """The overrides as command line flags. A value is JSON, which YAML reads alike."""
    return [word for name, value in cell.overrides.items() for word in ("--set", f"{name}={json.dumps(value)}")]
