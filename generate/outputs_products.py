"""What a run with `generate.outputs_of` writes at its end: the corpus with its card, the exports, the counts.

Knows neither argv nor how an engine is started. All of it derives from the run's folder, and is written aside first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from self_instruct import corpus, rundir
from self_instruct.engine import Engine
from self_instruct.errors import RunFolderError
from self_instruct.generate import card, export, inputs, outputs, products, session, yields
from self_instruct.generate.outputs import Anew, Given
from self_instruct.models import Model
from self_instruct.runlog import log

NAME = "outputs_of"  # of the input; also what ended the run: that corpus did


def finish(
    folder: rundir.StageFolder,
    given: Given,
    model: Model,
    ask: Callable[[], tuple[outputs.Prompted, ...]],
    start: Callable[[], Awaitable[Engine]],
) -> None:
    """Run to the end in the open folder of the stage, write the products, and close its manifest.

    `ask` makes the prompts, where the folder doesn't have them yet; for `start` and what is raised see `outputs.run`.
    """
    stage, place = folder.path, Path(str(given.settings.generate.outputs_of))
    inputs.keep(stage, {f"{NAME}/data": place / "data"}, given.context)
    asked = outputs.keep(stage, given.source, ask)
    anew, records = asyncio.run(outputs.run(stage, given, asked, start, model.revision))
    facts = summarize(stage, given, anew, model.reference, records)
    with written(stage, given, anew, facts, folder.manifest["inputs"]) as aside:
        places = products.install(aside, stage)
    folder.finish(places | {name: stage / truth for name, truth in outputs.TRUTH.items()}, **facts)
    log.info("generate: rejected: %s", yields.sentence(facts["rejected"]))
    log.info("generate: %d of %d rows with a new output, corpus in %s", facts["instances"], facts["rows"], stage / "corpus")


def summarize(stage: Path, given: Given, anew: Anew, model: str, records: Iterable[session.Record]) -> dict[str, Any]:
    """The run's counts for the manifest; `accepted` are the instructions that still have a row. What only bootstrapping has
    (requests, candidates, novelty) isn't told. Raises RunFolderError where no session asked for something."""
    listed = list(records)
    if not session.starts(stage):
        raise RunFolderError(f"{stage / session.SESSIONS}: no session in it", hint="restore the file from a copy of the run folder")
    sessions = session.work(listed)
    seconds, output = (sum(row[name] for row in sessions) for name in ("seconds", "output_tokens"))
    kept = {row["instruction_id"] for row in anew.rows}
    return {
        "model": model,
        "rows": len(given.source.train),
        "prompts": len(listed),
        "accepted": len(kept),
        "classification": sum(bool(given.source.instructions[identity]["is_classification"]) for identity in kept),
        "instances": len(anew.rows),
        "empty_inputs": sum(not row["input"] for row in anew.rows),
        "rejected": yields.by_rule(anew.rejections),
        "prompt_tokens": sum(row["prompt_tokens"] for row in sessions),
        "output_tokens": output,
        "output_tokens_per_s": round(output / seconds, 1) if seconds else None,
        "seconds": round(seconds, 3),
        "sessions": sessions,
        "stopped_by": NAME,
    }


@contextlib.contextmanager
def written(stage: Path, given: Given, anew: Anew, facts: Mapping[str, Any], hashes: Mapping[str, str]) -> Iterator[Path]:
    """A folder inside `stage` that holds corpus and exports; what `products.install` didn't take is gone in the end.

    `facts`: see `summarize`; `hashes` are those of the stage's inputs.
    """
    kinds = given.settings.generate.exports
    with products.folder_aside(stage) as aside:
        (aside / "corpus").mkdir()
        corpus.write(aside / "corpus", _tables(given, anew), _card(given, facts, _made(stage, given, facts, hashes)))
        if kinds:
            export.write_exports(aside / "exports", anew.rows, kinds)
        yield aside


def again(stage: Path, settings_values: Mapping[str, Any]) -> Given:
    """What a run was given, from its folder alone; see `inputs.kept`."""
    settings = inputs.kept_settings(stage, settings_values)
    source = outputs.load(inputs.kept_place(stage, NAME, "data"))
    return Given(settings=settings, source=source, context=inputs.kept_context(stage))


def _tables(given: Given, anew: Anew) -> dict[str, list[outputs.Row]]:
    source, kept = given.source, {row["instruction_id"] for row in anew.rows}
    return {
        "train": list(anew.rows),
        "instructions": [row for identity, row in source.instructions.items() if identity in kept],
        "instances": [source.instances[row["id"]] | {"output": row["output"]} for row in anew.rows],
        "rejected": [export.rejection_row(rejection) for rejection in anew.rejections],
    }


def _made(stage: Path, given: Given, facts: Mapping[str, Any], hashes: Mapping[str, str]) -> card.Made:
    starts = session.starts(stage)
    return card.Made(settings=given.settings, inputs=hashes, seeds=0, shown=0, starts=starts, sessions=facts["sessions"])


def _card(given: Given, facts: Mapping[str, Any], made: card.Made) -> str:
    """The card without its YAML head, in Markdown."""
    model, author = given.settings.model, card.author_of(given.settings)
    rows, kept = facts["rows"], facts["instances"]
    counts = [
        ("rows of the other corpus", rows, ""),
        ("different prompts answered", facts["prompts"], ""),
        ("instances (rows of `train`)", kept, card.percent(kept, rows)),
        ("of these without input", facts["empty_inputs"], card.percent(facts["empty_inputs"], kept)),
        ("instructions", facts["accepted"], ""),
        ("of these classification", facts["classification"], card.percent(facts["classification"], facts["accepted"])),
        *(
            (f"dropped by `{rule}`", count, card.percent(count, rows))
            for rule, count in facts["rejected"].get(outputs.STEP, {}).items()
        ),
    ]
    said = "What was dropped is in the config `rejected`, each row with its rule." if kept < rows else "No row was dropped."
    facts_of_model = [
        ("model of the outputs", author),
        ("revision", card.revision_of(made)),
        ("model fingerprint", f"`{made.inputs.get('model', '')}`"),
        ("corpus of the instructions and inputs, SHA-256 of its `data`", f"`{made.inputs.get(NAME, '')}`"),
        ("asked", "in its chat template" if model.prompt == "chat" else "by plain completion, in the form of evaluation"),
        ("new tokens at most", given.limit),
        ("longest prompt plus output, tokens", given.context),
        *card.package_rows(made),
    ]
    about = (
        "Made by self-instruct (Wang et al. 2022, arXiv 2212.10560, section 5.5): instructions, inputs and labels are those of "
        "another corpus; the model wrote the outputs anew, greedily, up to end-of-text. Ids are those of that corpus. Every number "
        "here is of this run."
    )
    unchecked = (
        "Nobody has checked these rows: an output may be wrong, and nothing here says how often. The instructions and inputs have "
        "the limits that the other corpus's card tells."
    )
    return (
        "\n\n".join(
            [
                f"# Instruction data with outputs that {author} wrote",
                card.wrapped(about),
                "\n".join(["## Counts", "", *card.table(("what", "count", "share"), counts), "", said]),
                "\n".join(["## Made by", "", *card.table(("what", "value"), facts_of_model)]),
                "\n".join(["## Limitations", "", card.wrapped(unchecked)]),
                card.time_section(made),
            ]
        )
        + "\n"
    )
