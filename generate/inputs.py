"""What a run reads besides its settings, and the copy of it that stays beside the journal, so that a replay needs nothing else.

Knows no engine and no prompt.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.errors import ConfigError, RunFolderError
from self_instruct.generate import prompts
from self_instruct.generate.pool import shown_seeds
from self_instruct.loading import from_values, shipped
from self_instruct.records import EvalItem, SeedTask
from self_instruct.seedbank import load_evaluation, load_seeds, seed_file, user_oriented_file
from self_instruct.settings import Settings, reads

KEPT = Path("journal") / "inputs"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that shapes a run, given the completions. `context` is the longest prompt plus answer, in tokens; `evaluation`:
    the tasks that nothing generated may overlap."""

    settings: Settings
    seeds: tuple[SeedTask, ...]
    demonstrations: prompts.Demonstrations
    evaluation: tuple[EvalItem, ...]
    context: int


def sources(settings: Settings) -> dict[str, Path]:
    """The files and folders that a run reads, by the name that their hash has in config.json."""
    demonstrations = settings.generate.demonstrations
    return {
        "seeds": seed_file(settings.generate.seeds),
        "demonstrations": Path(demonstrations) if demonstrations else shipped("seeds/demonstrations"),
    } | _evaluation(settings)


def _evaluation(settings: Settings) -> dict[str, Path]:
    """The evaluation sets: the one that ships, and those of `generate.decontaminate`."""
    named = {f"decontaminate-{number:03d}": Path(path) for number, path in enumerate(settings.generate.decontaminate)}
    return {"user_oriented": user_oriented_file(None)} | named


def load(settings: Settings, places: Mapping[str, Path], context: int) -> Inputs:
    """Raises DataError where one of them can't be used, and ConfigError where there are fewer seeds than a prompt shows."""
    seeds = load_seeds(str(places["seeds"]))
    shown_seeds(seeds, settings.generate)
    return Inputs(
        settings=settings,
        seeds=seeds,
        demonstrations=prompts.load_demonstrations(places["demonstrations"]),
        evaluation=tuple(item for name in _evaluation(settings) for item in load_evaluation(places[name])),
        context=context,
    )


def first_prompt(inputs: Inputs) -> str:
    """A prompt of step 1, with seeds alone."""
    generate = inputs.settings.generate
    shown = shown_seeds(inputs.seeds, generate)[: generate.prompt_seeds + generate.prompt_machine]
    return prompts.bootstrap([task.instruction for task in shown])


def check(inputs: Inputs, count_tokens: Callable[[str], int]) -> None:
    """Raises ConfigError where the context doesn't hold the demonstrations, the longest seed and the new tokens."""
    generate, shown = inputs.settings.generate, inputs.demonstrations
    seeds = shown_seeds(inputs.seeds, generate)
    longest = sorted((task.instruction for task in seeds), key=len)[-(generate.prompt_seeds + generate.prompt_machine) :]
    needs = {
        "generate.max_tokens": (prompts.bootstrap(longest), generate.max_tokens),
        "classification": (prompts.classification(shown, longest[-1]), 1),
        "generate.input_first_tokens": (prompts.input_first(shown, longest[-1]), generate.input_first_tokens),
        "generate.output_first_tokens": (prompts.output_first(shown, longest[-1]), generate.output_first_tokens),
    }
    for name, (prompt, new) in needs.items():
        tokens = count_tokens(prompt)
        if tokens + new > inputs.context:
            raise ConfigError(
                f"model.max_length: a context of {inputs.context} tokens is shorter than {tokens} shown + {new} new ones ({name})",
                hint="raise model.max_length, lower that setting, or take a model with a longer context",
            )


def keep(stage: Path, places: Mapping[str, Path], context: int) -> None:
    """Copy what the run reads into its folder, whole or not at all; once. Raises OSError, naming the copy."""
    if (stage / KEPT).exists():
        return
    try:
        with rundir.new_folder(stage / KEPT) as aside:
            for name, place in places.items():
                _copy(place, aside / (name if place.is_dir() else f"{name}{place.suffix}"))
            rundir.write_json(aside / "model.json", {"context": context})
    except OSError as error:  # shutil's names the file that was read
        raise OSError(error.errno, error.strerror, str(stage / KEPT)) from None


def _copy(place: Path, to: Path) -> None:
    """A file, or a folder's files: what `rundir.sha256` looks at."""
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.is_file():
            target = to / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def kept(stage: Path, settings_values: Mapping[str, Any]) -> Inputs:
    """The inputs of a run from its folder alone. `settings_values` are those of its manifest.

    Raises RunFolderError where a copy is missing or isn't what the run read, or its settings aren't this version's.
    """
    settings = kept_settings(stage, settings_values)
    places = {name: kept_place(stage, name) for name in sources(settings)}
    return load(settings, places, kept_context(stage))


def kept_settings(stage: Path, settings_values: Mapping[str, Any]) -> Settings:
    """The settings that a run was made with, at the places of its last session. `settings_values` are those of its manifest.

    Raises ConfigError where they aren't this version's.
    """
    shapes = rundir.read_json(stage / "config.json")["settings"]
    made = {name: value for name, value in shapes.items() if name not in reads()}
    return from_values({**settings_values, **made}, str(stage / "config.json"))


def kept_place(stage: Path, name: str, inside: str = "") -> Path:
    """Where the copy of one of the inputs lies; `inside` is the part of it that was hashed.

    Raises RunFolderError where it is missing, or isn't what the run read.
    """
    found = sorted((stage / KEPT).glob(f"{name}*"))
    hashed = rundir.read_json(stage / "config.json")["inputs"].get(name)
    if len(found) != 1 or not (found[0] / inside).exists() or rundir.sha256(found[0] / inside) != hashed:
        raise RunFolderError(
            f"{stage / KEPT}: its copy of the {name} is {'not what the run read' if found else 'missing'}",
            hint="restore it from a copy of the run folder; nothing was changed",
        )
    return found[0]


def kept_context(stage: Path) -> int:
    """The context that a run was made with, in tokens. Raises RunFolderError where it isn't told."""
    context: Any = rundir.read_json(stage / KEPT / "model.json").get("context")
    if not isinstance(context, int):
        raise RunFolderError(f"{stage / KEPT / 'model.json'}: no 'context' in it", hint="restore it from a copy of the run folder")
    return context


def trial(inputs: Inputs, requests: int) -> Inputs:
    """The same inputs for a run of at most so many bootstrapping requests."""
    generate = inputs.settings.generate
    shorter = generate.model_copy(update={"max_requests": min(requests, generate.max_requests)})
    return dataclasses.replace(inputs, settings=inputs.settings.model_copy(update={"generate": shorter}))
