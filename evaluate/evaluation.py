"""From completions to stored results: scores, the corpus' statistics, contamination; then the stage is finished.

Knows neither engines nor reports. What is measured of the run's corpus and training data is measured once and stored, so that
a report takes seconds however large they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import readers, rundir, seedbank
from self_instruct.errors import SelfInstructError
from self_instruct.evaluate import overlap, predict, roles, scoring, store
from self_instruct.evaluate.comparison import Answer
from self_instruct.evaluate.finished import finished_manifest
from self_instruct.models import EMBEDDED_TITLE
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
    models = {contender.name: _facts(contender, model) for contender in contenders}
    place = store.write(
        stage.path,
        model=_described(model),
        scripted=settings.model.engine == "scripted",
        seed=settings.run.seed,
        models=models,
        suites=suites,
        statistics=_statistics(run, settings),
        contamination=_contamination(run, settings, suites),
    )
    facts = {
        "items": {one.name: len(one.items) for one in suites},
        "cut_inputs": {one.name: one.facts["cut_inputs"] for one in suites},
        "rouge_l": {
            one.name: {name: round(100 * sum(a.rouge_l for a in given) / len(given), 2) for name, given in one.answers.items()}
            for one in suites
        },
    }
    stage.finish({"results": place}, **facts)


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
                log.warning("%s: every answer of %s is the base's: the adapter does nothing, or wasn't applied", suite.name, name)


def _described(model: Model) -> dict[str, Any]:
    if model.source == "embedded":
        title = EMBEDDED_TITLE
    else:
        title = Path(model.reference).resolve().name if model.source == "local" else model.reference
    return {
        "title": title,
        "reference": model.reference,
        "source": model.source,
        "fingerprint": model.fingerprint,
        "architecture": model.architecture,
    }


def _facts(contender: predict.Contender, model: Model) -> dict[str, Any]:
    """What a report tells of a model: its role in the paper's comparison, and what it was trained on."""
    if contender.adapter is None:
        return {"role": roles.of_base(model.architecture), "adapter": None, "digest": model.fingerprint, "training": None}
    path = contender.adapter / "training_manifest.json"
    training = rundir.read_json(path) if path.exists() else None
    data = training.get("data") if training else None
    told = {name: data.get(name) for name in ("examples", "seed_examples", "sources")} if data else None
    return {
        "role": roles.of_adapter(training),
        "adapter": str(contender.adapter),
        "digest": contender.digest,
        "training": told,
    }


def _statistics(run: Path, settings: Settings) -> dict[str, Any] | None:
    """The run's own corpus in numbers; None where it has none."""
    from self_instruct.evaluate import corpora, corpus_statistics

    place = run / "generate" / "corpus"
    if finished_manifest(run, "generate") is None or not place.is_dir():
        return None
    found = corpora.read(place)
    log.info("corpus: %d instructions: verbs and nouns, nearest seeds, lengths", len(found.instructions))
    return corpus_statistics.measure(found, [seed.instruction for seed in seedbank.load_seeds(settings.generate.seeds)])


def _contamination(run: Path, settings: Settings, suites: Sequence[store.StoredSuite]) -> list[dict[str, Any]] | None:
    """What the run's adapter was trained on, against each evaluation set; None where it isn't known or gone."""
    manifest = finished_manifest(run, "train")
    if manifest is None:
        return None
    trained = {name: entry["value"] for name, entry in manifest["settings"].items()}
    try:
        sources, seeds = training_data(run, trained)
    except (SelfInstructError, KeyError) as error:
        log.warning("contamination isn't measured: the training data can't be read again: %s", error)
        return None
    rows = overlap.training_rows(sources, seeds)
    log.info("contamination: %d training rows against %d evaluation sets", len(rows), len(suites))
    return [overlap.measure(rows, suite.items, suite.name) for suite in suites]


def training_data(run: Path, trained: Mapping[str, Any]) -> tuple[list[readers.Source], tuple[SeedTask, ...]]:
    """The sources and seeds of a training, by its settings. Raises DataError where they aren't there any more."""
    named = trained["train.data"]
    places = [run / "generate" / "corpus"] if named is None else [Path(p) for p in ([named] if isinstance(named, str) else named)]
    sources = [readers.read(place, sample=trained["train.sample"], seed=trained["run.seed"]) for place in places]
    if not trained["train.include_seeds"]:
        return sources, ()
    return sources, seedbank.load_seeds(trained["train.seeds"] or trained["generate.seeds"])
