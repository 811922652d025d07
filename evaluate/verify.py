"""Whether a report is what its runs' journals give: scores and report made again without any engine, and compared byte for byte.

Writes nothing. Corpora are made again by the generate stage's own `replay`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from self_instruct import provenance, rundir
from self_instruct.engine_journaled import JournaledEngine
from self_instruct.errors import DataError, RunFolderError, SelfInstructError
from self_instruct.evaluate import matrix, predict, rating_runs, report, scoring, store
from self_instruct.evaluate.comparison import Answer
from self_instruct.runlog import log

STAGES = ("generate", "train", "evaluate")
PREDICTIONS = "predictions"  # of a manifest's outputs: the journal that the stage ended with
SHOWN = 60  # characters of a line that differs
DAMAGE = (SelfInstructError, LookupError, TypeError, ValueError, AttributeError)  # what reading a changed file may end in
HINT = "write the report again: evaluate report"


@dataclass(kw_only=True)
class Checked:
    """What was compared: how many runs, answers and files; `differences` is empty where all is as it was."""

    runs: int = 0
    answers: int = 0
    files: int = 0
    differences: list[str] = field(default_factory=list)


def find(named: Path) -> Path:
    """The folder of the report that is named by itself, by one of its files, by its run or by its comparison.

    Raises DataError where there is none.
    """
    folder = named if named.is_dir() else named.parent
    for place in (folder, folder / "report", folder / "evaluate" / "report"):
        if (place / "report.json").is_file():
            return place
    raise DataError(f"{named}: no report there (report.json)", hint="name a report, its run, or the folder of a comparison")


def check(place: Path) -> Checked:
    """Compare the report in `place`, and all that it was made of, with what the journals give.

    Raises DataError where the report doesn't tell of which runs it is.
    """
    try:
        tree = rundir.read_json(place / "report.json")
    except RunFolderError as error:
        raise DataError(error.message, hint=HINT) from None
    folders = tree.get("folders")
    if not isinstance(folders, list) or not folders or not all(isinstance(one, str) for one in folders):
        raise DataError(f"{place / 'report.json'}: doesn't tell of which runs it is", hint=HINT)
    compared = _seen_from(place, str(tree["comparison"])) if "comparison" in tree else None
    runs = [_seen_from(place, one) for one in folders]
    found = Checked(runs=len(runs))
    if compared is not None:
        found.differences += _manifests(tree, compared)
    # Also rows that nothing was measured of: others were trained on their corpora.
    every = {run.resolve(): run for run in (*runs, *(sorted((compared / "rows").glob("*")) if compared else ()))}
    for run in every.values():
        found.differences += products(run, found)
    for run in runs:
        found.differences += answers(run, found)
    found.differences += _report(place, runs, compared, tree.get("examples_each"), found)
    return found


def _manifests(tree: Mapping[str, Any], compared: Path) -> Iterator[str]:
    """The manifests of a comparison's cells, which the report tells of, against the hashes that it has of them."""
    for cell in tree.get("matrix", {}).get("cells", ()):
        path = compared / "rows" / cell["row"] / cell["stage"] / "manifest.json"
        if cell["run"] and (not path.is_file() or rundir.sha256(path) != cell["run"].get("manifest")):
            yield f"{path}: not the manifest that the report tells of"


def _seen_from(place: Path, folder: str) -> Path:
    return Path(os.path.normpath(place / folder))  # as the report named it: by names, not through links


def products(run: Path, found: Checked) -> Iterator[str]:
    """What finished stages wrote, against the hashes in their manifests: journals, corpora, adapters, results."""
    for stage in STAGES:
        path = run / stage / "manifest.json"
        if not path.exists():
            continue
        try:
            manifest = rundir.read_json(path)
            if difference := _config(path.with_name("config.json"), manifest):
                yield difference
            outputs = manifest["outputs"].items() if manifest.get("status") == "finished" else ()
            written = [(name, run / stage / output["path"], output["sha256"]) for name, output in outputs]
        except DAMAGE as error:
            yield _damage(path, error)
            continue
        for name, product, digest in written:
            found.files += 1
            if not product.exists():
                yield f"{product}: gone ({name} of the {stage} stage)"
            elif rundir.sha256(product) != digest:
                yield f"{product}: not as the {stage} stage wrote it: its hash differs ({name})"


def _config(path: Path, manifest: Mapping[str, Any]) -> str | None:
    """Whether a stage's config.json says what its manifest does."""
    config = rundir.read_json(path)
    told = {name: one["value"] for name, one in manifest["settings"].items()}
    if config["inputs"] == manifest["inputs"] and all(told.get(name, ...) == value for name, value in config["settings"].items()):
        return None
    return f"{path}: says other settings or inputs than manifest.json beside it"


def answers(run: Path, found: Checked) -> Iterator[str]:
    """A run's stored answers and scores, against those that its journal and prompts give."""
    stage = run / "evaluate"
    path = stage / "journal" / "predictions.jsonl"
    try:
        with rundir.finished_stage(stage) as manifest:
            if PREDICTIONS not in manifest["outputs"]:
                yield (
                    f"{stage}: evaluated by an older version, which kept no hash of its journal: delete {stage / store.FOLDER} and "
                    "evaluate it again, which takes the answers from the journal"
                )
        kept = store.read(run, changed=True)
        records = {record["id"]: record for record in JournaledEngine(path, None).records()}
        made = [_again(suite, kept.models, records, path) for suite in kept.suites]
    except DAMAGE as error:
        yield _damage(stage / store.FOLDER, error)
        return
    found.answers += sum(len(given) for suite in made for given in suite.answers.values())
    place = stage / store.FOLDER / "answers.jsonl"
    if difference := _difference(place, "".join(store.answer_lines(made))):
        yield f"{difference}; the journal and the scoring give the first"


def _damage(path: Path, error: Exception) -> str:
    return error.message if isinstance(error, SelfInstructError) else f"{path}: damaged: {type(error).__name__}: {error}"


def _again(
    suite: store.StoredSuite, models: Mapping[str, Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]], path: Path
) -> store.StoredSuite:
    """A set's answers from the journal at `path`, scored. Raises DataError where it lacks one."""
    limit = int(suite.facts["max_tokens"])
    told: dict[str, list[Mapping[str, Any]]] = {}
    for name, facts in models.items():
        adapter = Path(facts["adapter"]) if facts["adapter"] else None
        contender = predict.Contender(name=name, adapter=adapter, digest=facts["digest"] if adapter else "")
        asked = [predict.request(contender, one.prompt, limit).id for one in suite.prompted]
        for one, id in zip(suite.prompted, asked, strict=True):
            if id not in records:
                raise DataError(f"{path}: no answer of {name} to the prompt of {one.item.id} as {store.FOLDER}/items.jsonl has it")
        told[name] = [records[id] for id in asked]
    scored = scoring.score_items(suite.items, {name: [one["text"].strip() for one in given] for name, given in told.items()})
    return replace(
        suite,
        answers={
            name: tuple(
                Answer(
                    text=one["text"].strip(),
                    hit_limit=one["finish_reason"] == "length",
                    output_tokens=one["output_tokens"],
                    rouge_l=float(rouge_l),
                    exact_match=bool(exact),
                )
                for one, rouge_l, exact in zip(given, scored[name].rouge_l, scored[name].exact, strict=True)
            )
            for name, given in told.items()
        },
    )


def _report(place: Path, runs: list[Path], compared: Path | None, examples: Any, found: Checked) -> Iterator[str]:
    """The report's files, against those that the stored results give."""
    try:
        one = matrix.read(compared) if compared else None
        texts = report.files(one.runs if one else matrix.runs(runs), place, examples, one)
    except DAMAGE as error:
        yield f"{place}: can't be made again: {_damage(place, error)}"
        return
    yield from _judges(one.runs if one else matrix.runs(runs), found)
    for cell in one.cells if one else ():
        config = one.place / "rows" / cell["row"] / cell["stage"] / "config.json" if one else place
        if cell["fingerprint"] is not None and rundir.sha256(config) != cell["fingerprint"]:
            yield f"{config}: not as it was when the comparison was made"
    for name, text in texts.items():
        found.files += 1
        if difference := _difference(place / name, text):
            yield f"{difference}; the runs give the first"
    for path in sorted(place.iterdir()):
        if path.name not in texts:
            log.warning("%s: no file of the report; left aside", path)


def _judges(runs: Sequence[store.StoredRun], found: Checked) -> Iterator[str]:
    """The journals of judges whose levels a report shows."""
    for kept in rating_runs.open_stores(runs):
        try:
            told = [rater.facts["journal"] for rater in kept.raters().values() if "journal" in rater.facts]
        finally:
            kept.close()
        for one in told:
            journal = kept.path.parent / one["folder"] / "completions.jsonl"
            found.files += 1
            if not journal.is_file() or rundir.sha256(journal) != one["sha256"]:
                yield f"{journal}: not the journal that the judge's levels are from"


def _difference(path: Path, wanted: str) -> str | None:
    """Where a file isn't the text, byte for byte; none where it is."""
    if not path.is_file():
        return f"{path}: gone"
    there, meant = path.read_bytes().split(b"\n"), wanted.encode("utf-8", "backslashreplace").split(b"\n")
    if there == meant:
        return None
    number = next(
        (n for n, (one, other) in enumerate(zip(meant, there, strict=False)) if one != other), min(len(meant), len(there))
    )
    lines = [part[number] if number < len(part) else b"" for part in (meant, there)]
    start = next((n for n, (one, other) in enumerate(zip(*lines, strict=False)) if one != other), min(map(len, lines)))
    start = max(0, start - SHOWN // 2)
    one, other = (repr(line[start : start + SHOWN].decode("utf-8", "replace")) for line in lines)
    return f"{path}:{number + 1}: expected {one}, found {other}"


def causes(place: Path) -> str:
    """What else than a change may have made bytes differ: another name of a run's folder, packages of another version."""
    then: dict[str, str] = {}
    tree = rundir.read_json(place / "report.json")
    for one, folder in zip(tree.get("provenance", []), tree["folders"], strict=False):
        then |= one.get("versions", {})
        old, new = Path(one.get("run", "")).name, _seen_from(place, folder).resolve().name
        if old != new:
            return f"the report calls a run {old} whose folder is {new} now: give it its name back"
    now = provenance.versions()
    other = [
        f"{name} {version} (now {now.get(name, 'not installed')})"
        for name, version in sorted(then.items())
        if now.get(name) != version
    ]
    return f"the runs had other versions: {', '.join(other)}" if other else "the files were changed since, or the code was"
