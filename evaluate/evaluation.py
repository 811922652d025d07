"""From completions to stored results: scores, the corpus' statistics, contamination; then the stage is finished.

Knows neither engines nor reports. What is measured of the run's corpus and training data is measured once and stored, so that
a report takes seconds however large they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import readers, rundir, seedbank
from self_instruct.errors import DataError, SelfInstructError
from self_instruct.evaluate import overlap, predict, roles, scoring, store
from self_instruct.evaluate.comparison import Answer
from self_instruct.evaluate.finished import finished_manifest
from self_instruct.models import TRAINED, described
from self_instruct.records import Completion, SeedTask
from self_instruct.runlog import log
from self_instruct.settings import Settings

if TYPE_CHECKING:
    from self_instruct.models import Model


def finish(
    stage: rundir.StageFolder,
    model: Model,
    contenders: Sequence[predict.Contender],
    asked: Sequence[predict.Asked],
    completions: Mapping[str, Completion],
) -> None:
    """Score, measure, store, and say in the manifest that the stage is finished."""
    settings, run = stage.loaded.settings, stage.loaded.run_dir
    suites = tuple(_suite(one, contenders, completions, settings) for one in asked)
    warn_of_same_answers(suites)
    models = {contender.name: _facts(contender, model, settings.model.prompt) for contender in contenders}
    place = store.write(
        stage.path,
        model=described(model),
        scripted=settings.model.engine == "scripted",
        seed=settings.run.seed,
        models=models,
        suites=suites,
        statistics=_statistics(run, settings),
        contamination=_contamination(contenders, suites),
    )
    facts = {
        "items": {one.name: len(one.items) for one in suites},
        "cut_inputs": {one.name: one.facts["cut_inputs"] for one in suites},
        "rouge_l": {
            one.name: {name: round(100 * sum(a.rouge_l for a in given) / len(given), 2) for name, given in one.answers.items()}
            for one in suites
        },
    }
    journals = {name: stage.path / "journal" / f"{name}.jsonl" for name in ("predictions", "sessions")}
    stage.finish({"results": place} | {name: path for name, path in journals.items() if path.exists()}, **facts)


def _suite(
    asked: predict.Asked, contenders: Sequence[predict.Contender], completions: Mapping[str, Completion], settings: Settings
) -> store.StoredSuite:
    suite = asked.suite
    limits = settings.evaluate.superni if suite.kind == "superni" else None
    given = {contender.name: predict.predictions(contender, asked, completions) for contender in contenders}
    scored = scoring.score_items(suite.items, {name: [one.text for one in answers] for name, answers in given.items()})
    return store.StoredSuite(
        facts={
            "name": suite.name,
            "kind": suite.kind,
            "source": suite.source,
            "digest": suite.digest,
            "max_tokens": suite.max_tokens,
            "prompt_tokens": limits.prompt_tokens if limits else None,
            "cut": limits.cut if limits else None,
            "cut_inputs": sum(one.cut for one in asked.prompted),
            "counts": dict(suite.counts),
        },
        prompted=asked.prompted,
        answers={
            name: tuple(
                Answer(
                    text=one.text,
                    hit_limit=one.hit_limit,
                    output_tokens=one.output_tokens,
                    rouge_l=float(rouge_l),
                    exact_match=bool(exact),
                )
                for one, rouge_l, exact in zip(answers, scored[name].rouge_l, scored[name].exact, strict=True)
            )
            for name, answers in given.items()
        },
    )


def warn_of_same_answers(suites: Sequence[store.StoredSuite]) -> None:
    """Say where a model answers as the base does throughout."""
    for suite in suites:
        (_, base), *others = suite.answers.items()
        for name, answers in others:
            if [one.text for one in answers] == [one.text for one in base]:
                log.warning("%s: every answer of %s is the base's: the training did nothing, or wasn't applied", suite.name, name)


def _facts(contender: predict.Contender, model: Model, prompt: str) -> dict[str, Any]:
    """What a report tells of a model: its role in the paper's comparison, how it was asked, and what it was trained on."""
    whole = Path(model.path) / TRAINED  # there where all weights were trained (train.method: full)
    if contender.adapter is None and not whole.is_file():
        role = roles.INSTRUCT if prompt == "chat" else roles.of_base(model.architecture)
        return {"role": role, "prompt": prompt, "adapter": None, "digest": model.fingerprint, "training": None}
    path = whole if contender.adapter is None else contender.adapter / TRAINED
    training = rundir.read_json(path) if path.exists() else None
    data = training.get("data") if training else None
    told = {name: data.get(name) for name in ("examples", "seed_examples", "sources")} if data else None
    return {
        "role": roles.of_adapter(training),
        "prompt": prompt,
        "adapter": str(contender.adapter) if contender.adapter else None,
        "digest": contender.digest or model.fingerprint,
        "training": told,
    }


def _statistics(run: Path, settings: Settings) -> dict[str, Any] | None:
    """The run's own corpus in numbers; None where it has none."""
    from self_instruct.evaluate import corpora, corpus_statistics

    place = run / "generate" / "corpus"
    if finished_manifest(run, "generate") is None or not place.is_dir():
        return None
    found, named = corpora.read(place), settings.generate.seeds
    log.info("corpus: %d instructions: verbs and nouns, nearest seeds, lengths", len(found.instructions))
    seeds = [seed.instruction for seed in seedbank.load_seeds(named)]
    return corpus_statistics.measure(found, seeds, named or seedbank.SHIPPED)


def _contamination(contenders: Sequence[predict.Contender], suites: Sequence[store.StoredSuite]) -> list[dict[str, Any]]:
    """What each adapter was trained on, against each evaluation set; where that isn't known or has changed, why."""
    found: list[dict[str, Any]] = []
    known: dict[str, list[dict[str, Any]]] = {}  # several adapters may have been trained on the same
    for contender in contenders:
        if contender.adapter is None:
            continue
        try:
            places, trained = _trained_on(contender.adapter)
            key = repr((places, trained))
            if key not in known:
                rows = overlap.training_rows(*training_data(places, trained))
                log.info("contamination of %s: %d training rows", contender.name, len(rows))
                known[key] = [overlap.measure(rows, suite.items, suite.name) for suite in suites]
            found += [{"model": contender.name, "why_not": None, **one} for one in known[key]]
        except (SelfInstructError, KeyError, OSError) as error:
            why = error.message if isinstance(error, SelfInstructError) else f"{type(error).__name__}: {error}"
            log.warning("contamination of %s isn't measured: %s", contender.name, why)
            found.append({"model": contender.name, "why_not": why})
    return found


def _trained_on(adapter: Path) -> tuple[list[Path], dict[str, Any]]:
    """Where an adapter's training data lie, and the settings of its training.

    Raises DataError where the adapter isn't in a run's folder, or where the data are others than it was trained on.
    """
    run = adapter.parent.parent
    manifest = finished_manifest(run, adapter.parent.name)
    if manifest is None or adapter.parent.name != "train":
        raise DataError(f"{adapter}: not in the train folder of a finished run, so what it was trained on isn't known")
    trained = {name: entry["value"] for name, entry in manifest["settings"].items()}
    named = trained["train.data"]
    places = [run / "generate" / "corpus"] if named is None else [Path(p) for p in ([named] if isinstance(named, str) else named)]
    for number, place in enumerate(places):
        rows = place / "data" / "train"  # of a corpus folder, as the train stage hashes it
        told = manifest["inputs"]["data" if len(places) == 1 else f"data.{number}"]
        if rundir.sha256(rows if rows.is_dir() else place) != told:
            raise DataError(f"{place}: other data than {adapter} was trained on (its hash differs)")
    if trained["train.include_seeds"] and rundir.sha256(_seed_file(trained)) != manifest["inputs"]["seeds"]:
        raise DataError(f"{_seed_file(trained)}: other seeds than {adapter} was trained on (its hash differs)")
    return places, trained


def _seed_file(trained: Mapping[str, Any]) -> Path:
    return seedbank.seed_file(trained["train.seeds"] or trained["generate.seeds"])


def training_data(places: Sequence[Path], trained: Mapping[str, Any]) -> tuple[list[readers.Source], tuple[SeedTask, ...]]:
    """The sources and seeds of a training, by its settings, those rows included that it held out. Raises DataError where they
    can't be read any more."""
    sources = [readers.read(place, sample=trained["train.sample"], seed=trained["run.seed"]) for place in places]
    return sources, seedbank.load_seeds(str(_seed_file(trained))) if trained["train.include_seeds"] else ()
