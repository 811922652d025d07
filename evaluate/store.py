"""What an evaluation leaves for its report and for rating: `results/` in the stage's folder, written and read back.

Knows neither engines nor what a report looks like. `results.json` names models and evaluation sets, `items.jsonl` has the
items with their prompts, `answers.jsonl` every answer with its scores; `statistics.json` and `contamination.json` are there
where the run has a corpus and training data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.errors import DataError, RunFolderError
from self_instruct.evaluate.comparison import Answer
from self_instruct.evaluate.suites import Prompted
from self_instruct.records import EvalItem

FORMAT = 1
STATISTICS_FORMAT = 1  # corpus_statistics'
FOLDER = "results"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSuite:
    """One evaluation set with every model's answers, in the items' order. `facts`: its name, kind, source, digest and limits."""

    facts: Mapping[str, Any]
    prompted: tuple[Prompted, ...]
    answers: Mapping[str, tuple[Answer, ...]]

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    @property
    def items(self) -> tuple[EvalItem, ...]:
        return tuple(one.item for one in self.prompted)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRun:
    """A finished evaluation. `models` are facts by model name, the base first; `manifest` is the stage's. `keeper`: the folder that
    keeps its ratings, if not its own: a comparison's."""

    run: Path
    manifest: Mapping[str, Any]
    model: Mapping[str, Any]
    scripted: bool
    seed: int
    models: Mapping[str, Mapping[str, Any]]
    suites: tuple[StoredSuite, ...]
    statistics: Mapping[str, Any] | None
    contamination: Sequence[Mapping[str, Any]] | None
    keeper: Path | None = None


def write(
    stage: Path,
    *,
    model: Mapping[str, Any],
    scripted: bool,
    seed: int,
    models: Mapping[str, Mapping[str, Any]],
    suites: Sequence[StoredSuite],
    statistics: Mapping[str, Any] | None,
    contamination: Sequence[Mapping[str, Any]] | None,
) -> Path:
    """Write `<stage>/results` aside, then rename it into place. Returns it."""
    place = stage / FOLDER
    with rundir.new_folder(place) as aside:
        rundir.write_text(aside / "items.jsonl", "".join(_item_lines(suites)))
        rundir.write_text(aside / "answers.jsonl", "".join(answer_lines(suites)))
        if statistics is not None:
            rundir.write_json(aside / "statistics.json", statistics)
        if contamination is not None:
            rundir.write_json(aside / "contamination.json", {"sets": list(contamination)})
        head = {"format": FORMAT, "model": model, "scripted": scripted, "seed": seed, "models": models}
        rundir.write_json(aside / "results.json", head | {"suites": [one.facts for one in suites]})
    return place


def _item_lines(suites: Sequence[StoredSuite]) -> Iterator[str]:
    for suite in suites:
        for one in suite.prompted:
            yield json.dumps({**asdict(one.item), "prompt": one.prompt, "cut": one.cut}) + "\n"


def answer_lines(suites: Sequence[StoredSuite]) -> Iterator[str]:
    """The lines of `answers.jsonl`."""
    for suite in suites:
        for model, answers in suite.answers.items():
            for item, answer in zip(suite.items, answers, strict=True):
                yield json.dumps({"suite": suite.name, "item_id": item.id, "model": model, **asdict(answer)}) + "\n"


def read(run: Path, *, changed: bool = False) -> StoredRun:
    """The stored results of a run folder; with `changed` also where a file of theirs isn't as it was written.

    Raises RunFolderError where the run's evaluation isn't there, isn't finished or was made by another version, and DataError
    where its files are damaged.
    """
    stage = run / "evaluate"
    place = stage / FOLDER
    with rundir.finished_stage(stage) as manifest:
        if not (place / "results.json").is_file():
            raise _damaged(str(place / "results.json"), FileNotFoundError("it is missing"))
        head = rundir.read_json(place / "results.json")
        if head.get("format") != FORMAT:
            raise RunFolderError(
                f"{place}: of format {head.get('format')!r}, this version reads {FORMAT}", hint="evaluate the run again with --out"
            )
        written = manifest.get("outputs", {}).get(FOLDER, {}).get("sha256")
        if not changed and written is not None and rundir.sha256(place) != written:
            raise DataError(
                f"{place}: its files were changed since the run was evaluated",
                hint="restore them, or delete the folder results: evaluate makes it again from its journal",
            )
        prompted: dict[str, list[Prompted]] = {}
        for where, row in _rows(place / "items.jsonl"):
            try:
                given = {name: row.pop(name) for name in ("prompt", "cut")}
                item = EvalItem(**row | {"references": tuple(row["references"])})
                prompted.setdefault(item.suite, []).append(Prompted(item=item, **given))
            except (KeyError, TypeError) as error:
                raise _damaged(where, error) from None
        answers: dict[str, dict[str, list[Answer]]] = {}
        for where, row in _rows(place / "answers.jsonl"):
            try:
                suite, item_id, model = (row.pop(name) for name in ("suite", "item_id", "model"))
                of_model = answers.setdefault(suite, {}).setdefault(model, [])
                if prompted[suite][len(of_model)].item.id != item_id:
                    raise KeyError(item_id)
                of_model.append(Answer(**row))
                if not 0 <= of_model[-1].rouge_l <= 1:
                    raise ValueError(f"a ROUGE-L of {of_model[-1].rouge_l}")
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise _damaged(where, error) from None
        suites = []
        for facts in head["suites"]:
            name = facts["name"]
            given_answers = answers.get(name, {})
            if set(given_answers) != set(head["models"]) or any(len(a) != len(prompted[name]) for a in given_answers.values()):
                raise DataError(
                    f"{place / 'answers.jsonl'}: answers to {name} are missing",
                    hint="delete the folder results: evaluate makes it again from its journal",
                )
            suites.append(
                StoredSuite(
                    facts=facts,
                    prompted=tuple(prompted[name]),
                    answers={model: tuple(given_answers[model]) for model in head["models"]},
                )
            )
        statistics, contamination = place / "statistics.json", place / "contamination.json"
        if statistics.exists() and rundir.read_json(statistics).get("format") != STATISTICS_FORMAT:
            raise _damaged(str(statistics), ValueError("no statistics in it, or of another format"))
        return StoredRun(
            run=run,
            manifest=manifest,
            model=head["model"],
            scripted=head["scripted"],
            seed=head["seed"],
            models=head["models"],
            suites=tuple(suites),
            statistics=rundir.read_json(statistics) if statistics.exists() else None,
            contamination=rundir.read_json(contamination)["sets"] if contamination.exists() else None,
        )


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise _damaged(str(path), error) from None
    except OSError as error:
        raise DataError(
            f"{path}: can't be read: {error.strerror}", hint="delete the folder results: evaluate makes it again from its journal"
        ) from None
    for number, line in enumerate(lines, 1):
        try:
            yield f"{path}:{number}", dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise _damaged(f"{path}:{number}", error) from None


def _damaged(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: damaged: {error}", hint="delete the folder results: evaluate makes it again from its journal")
