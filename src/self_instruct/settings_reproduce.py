"""The settings of `reproduce`: which models are made and measured, and on what data; `settings` has the tree.

Knows nothing of how a row is run; `reproduce_matrix` makes cells of rows.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from self_instruct.setting_kinds import Section, runtime

SEEDS, SUPERNI, T0 = "seeds", "superni", "t0"  # what `data` of a row may name beside rows and paths
TEST = "superni's test split"  # among the faults of data: what is measured, not trained on
BASE, INSTRUCT, ENCODER_DECODER = "base", "instruct", "encoder_decoder"  # what `model` of a row may name beside models
Measurement = Literal["superni", "user_oriented"]
MEASUREMENTS: tuple[Measurement, ...] = ("superni", "user_oriented")
NAME = r"^[a-z0-9][a-z0-9+.-]{0,79}$"


class DataSettings(Section):
    """Other people's data, for the paper's comparison (`reproduce`)."""

    superni: Annotated[
        str | None,
        runtime(
            "A clone of natural-instructions: its train split is trained on, its test split measured. None: the rows and the "
            "experiment that need it are not run.",
            min_length=1,
        ),
    ] = None
    t0: Annotated[
        str | None,
        runtime("A folder of T0's data, JSON Lines of `prompt` and `completion`, a file a template. None: as above.", min_length=1),
    ] = None


class Row(Section):
    """One model of the comparison: what it is made of and what it is measured on."""

    name: Annotated[str, Field(pattern=NAME, description="Its name in the report, and its folder's below `rows`.")]
    model: Annotated[
        str,
        Field(
            min_length=1,
            description="`base` is `model.name`; `instruct` is `model.instruct`, or the embedded model itself; `encoder_decoder` "
            "is `reproduce.encoder_decoder`; else any model by its hub id or folder.",
        ),
    ] = BASE
    prompt: Annotated[
        Literal["completion", "chat"] | None,
        Field(description="How it is asked, as `model.prompt`; none is `chat` for `model: instruct`, else `completion`."),
    ] = None
    engine: Annotated[
        Literal["vllm", "transformers"] | None,
        Field(description="What completes its text; none is `transformers` for `model: encoder_decoder`, else `model.engine`."),
    ] = None
    generate: Annotated[bool, Field(description="It writes a corpus of its own.")] = False
    outputs_of: Annotated[
        str | None, Field(description="Its corpus is that of this row, with the outputs written anew by `outputs_by`.")
    ] = None
    outputs_by: Annotated[str | None, Field(description="The row, one that isn't tuned, that writes those outputs.")] = None
    data: Annotated[
        tuple[str, ...],
        Field(
            description="What it is tuned on: `seeds`, `superni`, `t0`, the name of a row (its corpus), or a path with a `/` in "
            "it. Empty: it isn't tuned."
        ),
    ] = ()
    instructions: Annotated[
        int | None, Field(ge=1, description="Tuned on so many instructions only, seeds first (`train.instructions`).")
    ] = None
    measure: Annotated[tuple[Measurement, ...], Field(description="What it is measured on.", min_length=1)] = MEASUREMENTS

    @property
    def has_corpus(self) -> bool:
        return self.generate or self.outputs_of is not None


# Method.md, "Models in the comparison" and experiment 3. Rows for `reproduce.sizes` are added to these.
STANDARD = (
    Row(name="base"),
    Row(name="t5-lm", model=ENCODER_DECODER),
    Row(name="t5-t0", model=ENCODER_DECODER, data=(T0,)),
    Row(name="t5-superni", model=ENCODER_DECODER, data=(SUPERNI,)),
    Row(name="instruct", model=INSTRUCT),
    Row(name="t0", data=(T0,)),
    Row(name="superni", data=(SUPERNI,)),
    Row(name="self-instruct", generate=True, data=(SEEDS, "self-instruct")),
    Row(name="self-instruct+superni", data=(SEEDS, "self-instruct", SUPERNI)),
    Row(name="seeds", data=(SEEDS,)),
    Row(
        name="better-outputs",
        outputs_of="self-instruct",
        outputs_by="instruct",
        data=(SEEDS, "better-outputs"),
        measure=("user_oriented",),
    ),
)


class ReproduceSettings(Section):
    """The paper's whole comparison in one command."""

    rows: Annotated[
        tuple[Row, ...], runtime("The models that are made and measured; docs/reproduce.md has a row's fields.", min_length=1)
    ] = STANDARD
    only: Annotated[
        tuple[str, ...], runtime("Run these rows alone, with what they need. Empty: all rows, and those of `sizes`.")
    ] = ()
    encoder_decoder: Annotated[
        str | None,
        runtime(
            "The model in the role of T5-LM: a hub id or a folder. `toy-seq2seq` is a small one with random weights that is made "
            "here: it shows that the path works, and nothing else. None: its rows are not run.",
            min_length=1,
        ),
    ] = None
    sizes: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        runtime(
            "Instructions, seeds among them, that further rows are tuned on (paper, Figure 7: 175, 800, 7,500 and all), of the "
            "first row that writes a corpus. The smaller sets are part of the larger ones."
        ),
    ] = (800, 7500)
    judge: Annotated[bool, runtime("Let `evaluate.judge.model` rate the answers to the user-oriented instructions.")] = False
    accelerate: Annotated[
        str | None,
        runtime("An accelerate config for the trainings, such as configs/accelerate/ddp.yaml; none is one process, or one a GPU."),
    ] = None
    hardware: Annotated[
        str | None,
        runtime("Predict time for this machine, such as `1 x H100` or `8 x A100`; none is the one that it runs on."),
    ] = None

    @model_validator(mode="after")
    def _agree(self) -> ReproduceSettings:
        names = [row.name for row in self.rows]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise _disagree("rows", "must not have two rows named '{name}'", name=name)
        known = {row.name: row for row in self.rows}
        for row in self.rows:
            _check_row(row, known)
        for row in self.rows:
            _check_cycle(row, known)
        sized = {f"size-{size}": None for size in self.sizes if any(row.generate for row in self.rows)}
        if unknown := [name for name in self.only if name not in sized and name not in names]:
            told = ", ".join([*names, *sized])
            raise _disagree("only", "must name rows; '{name}' is none of: {rows}", name=unknown[0], rows=told)
        if taken := sorted(sized.keys() & set(names)):
            raise _disagree("sizes", "must leave the row '{name}' its name", name=taken[0])
        if len(set(self.sizes)) < len(self.sizes):
            raise _disagree("sizes", "must not name a size twice")
        return self


def _check_row(row: Row, known: dict[str, Row]) -> None:
    """Raises where a row refers to what isn't there or contradicts itself."""
    rows = ", ".join(known)
    named = (BASE, INSTRUCT, ENCODER_DECODER)
    if row.model not in named and (close := difflib.get_close_matches(row.model, named, n=1, cutoff=0.85)):
        raise _disagree(
            "rows", "must be mended: the model of '{row}' is '{name}'; did you mean '{close}'? A folder of that name is './{name}'",
            row=row.name, name=row.model, close=close[0],
        )  # fmt: skip
    for field, values in (("data", row.data), ("measure", row.measure)):
        if len(set(values)) < len(values):
            raise _disagree("rows", "must be mended: `{field}` of '{row}' names something twice", field=field, row=row.name)
    for source in row.data:
        if source in (SEEDS, SUPERNI, T0) or "/" in source:
            continue
        if source not in known:
            raise _disagree(
                "rows", "must be mended: '{row}' is tuned on '{name}', no row among {rows}", row=row.name, name=source, rows=rows
            )
        if not known[source].has_corpus:
            raise _disagree(
                "rows", "must be mended: '{row}' is tuned on '{name}', which writes no corpus", row=row.name, name=source
            )
    if row.has_corpus and row.name in (SEEDS, SUPERNI, T0):
        raise _disagree("rows", "must be mended: '{row}' writes a corpus, and its name means other data", row=row.name)
    if row.generate and row.outputs_of:
        raise _disagree("rows", "must be mended: '{row}' has both `generate` and `outputs_of`", row=row.name)
    if (row.outputs_of is None) != (row.outputs_by is None):
        raise _disagree("rows", "must be mended: '{row}' needs both `outputs_of` and `outputs_by`, or none", row=row.name)
    if row.instructions is not None and not row.data:
        raise _disagree("rows", "must be mended: '{row}' has `instructions`, but no `data`", row=row.name)
    for field, other in (("outputs_of", row.outputs_of), ("outputs_by", row.outputs_by)):
        if other is not None and other not in known:
            raise _disagree(
                "rows", "must be mended: `{field}` of '{row}' is '{name}', no row among {rows}",
                field=field, row=row.name, name=other, rows=rows,
            )  # fmt: skip
    if row.outputs_of is not None and not known[row.outputs_of].has_corpus:
        raise _disagree(
            "rows", "must be mended: '{row}' has outputs of '{name}', which writes no corpus", row=row.name, name=row.outputs_of
        )
    if row.outputs_by is not None and known[row.outputs_by].data:
        raise _disagree(
            "rows", "must be mended: '{row}' has outputs by '{name}', which is tuned", row=row.name, name=row.outputs_by
        )


def _check_cycle(row: Row, known: dict[str, Row]) -> None:
    path, here = [row.name], row
    while here.outputs_of is not None:
        here = known[here.outputs_of]
        path.append(here.name)
        if path.count(here.name) > 1:
            raise _disagree("rows", "must not go in a circle: the outputs of {path}", path=" of ".join(path))


def _disagree(key: str, message: str, **named: str) -> PydanticCustomError:
    return PydanticCustomError("disagree", message, {"key": f"reproduce.{key}", **named})
