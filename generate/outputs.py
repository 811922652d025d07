"""Another corpus with its outputs written anew: the same instructions and inputs, answered by this run's model.

Knows neither argv nor how an engine is started. Paper, section 5.5: better outputs, by a stronger model, for the same data.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from self_instruct import corpus, journal, rundir, template
from self_instruct.engine import Engine
from self_instruct.engine_journaled import JournaledEngine, payload_hash
from self_instruct.errors import ConfigError, DataError, RunFolderError
from self_instruct.generate import session
from self_instruct.records import Completion, Instance, Rejection, Request, Sampling
from self_instruct.rules import check_instance
from self_instruct.runlog import Progress, log
from self_instruct.settings import Settings

PROMPTS = session.JOURNAL / "prompts.jsonl"
TRUTH = {"completions": session.COMPLETIONS, "sessions": session.SESSIONS, "prompts": PROMPTS}
TABLES = ("train", "instructions", "instances")
STEP = "output"
HINT = "name the corpus of a finished generate stage, such as runs/demo/generate/corpus"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows of a corpus by config: those of `train` in file order, the others by their ids."""

    train: tuple[Row, ...]
    instructions: Mapping[str, Row]
    instances: Mapping[str, Row]


@dataclass(frozen=True, kw_only=True)
class Given:
    """All that shapes such a run, given the completions. `context`: the longest prompt plus output, in tokens."""

    settings: Settings
    source: Source
    context: int

    @property
    def limit(self) -> int:
        """New tokens of an output at most: as many as an instance with its input may have in step 3."""
        return self.settings.generate.max_tokens

    def fits(self, asked: Prompted) -> bool:
        return asked.tokens + self.limit <= self.context


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompted:
    """The prompt of a training row, with its length in tokens."""

    id: str
    prompt: str
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Anew:
    """What came out: rows of `train` with their new outputs, and those dropped with their rules, both in the source's order."""

    rows: tuple[Row, ...]
    rejections: tuple[Rejection, ...]


def load(folder: Path) -> Source:
    """The corpus in `folder`.

    Raises DataError where there is none, it misses a config or a column, `train` has no row, an id repeats, or a row of `train`
    isn't in the other configs.
    """
    if not folder.is_dir():
        raise DataError(f"generate.outputs_of: {folder}: no such folder", hint=HINT)
    for table in TABLES:
        if not any((folder / "data" / table).glob("*.parquet")):
            raise DataError(f"generate.outputs_of: {folder}: no corpus there (data/{table}/*.parquet)", hint=HINT)
    train, instructions, instances = (_by_id(folder, table) for table in TABLES)
    if not train:
        raise DataError(f"generate.outputs_of: {folder}: `train` has no row", hint=HINT)
    for number, row in enumerate(train.values(), start=1):
        for table, known, identity in (("instructions", instructions, row["instruction_id"]), ("instances", instances, row["id"])):
            if identity not in known:
                raise DataError(f"generate.outputs_of: {folder}: row {number} of `train`: no '{identity}' in `{table}`", hint=HINT)
    return Source(train=tuple(train.values()), instructions=instructions, instances=instances)


def _by_id(folder: Path, table: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    texts = [name for name, kind in corpus.COLUMNS[table].items() if kind == corpus.TEXT]
    for path, row in corpus.read_rows(folder, table, list(corpus.COLUMNS[table])):
        where = f"{path}: row {len(rows) + 1}"
        for name in texts:
            if not isinstance(row[name], str):
                raise DataError(f"{where}: column '{name}' is {row[name]!r:.80}, not text", hint=HINT)
        if row["id"] in rows:
            raise DataError(f"{where}: the id {row['id']} is given again", hint=HINT)
        rows[row["id"]] = row
    return rows


def check(given: Given) -> None:
    """Raises ConfigError where an output leaves no room for any prompt."""
    if given.limit >= given.context:
        raise ConfigError(
            f"generate.max_tokens: {given.limit} new tokens leave no room for a prompt in a context of {given.context}",
            hint="lower generate.max_tokens, raise model.max_length, or take a model with a longer context",
        )


def prompts(source: Source, count_tokens: Callable[[str], int], chat: Callable[[str], str] | None) -> tuple[Prompted, ...]:
    """The prompt of every row of `train`: as evaluation asks, or what `chat` makes of instruction and input as a user's turn.

    Raises ConfigError where `chat` has no template.
    """
    lengths: dict[str, int] = {}
    made = []
    for row in source.train:
        texts = row["instruction"], row["input"]
        prompt = chat(template.user_turn(*texts)) if chat else template.evaluation_prompt(*texts)
        if prompt not in lengths:
            lengths[prompt] = count_tokens(prompt)
        made.append(Prompted(id=row["id"], prompt=prompt, tokens=lengths[prompt]))
    return tuple(made)


def keep(stage: Path, source: Source, make: Callable[[], tuple[Prompted, ...]]) -> tuple[Prompted, ...]:
    """The prompts that stay beside the journal, so that neither a replay nor a later session needs a tokenizer; made once."""
    path = stage / PROMPTS
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(dataclasses.asdict(one), ensure_ascii=False, sort_keys=True) for one in make()]
        rundir.write_text(path, "".join(f"{line}\n" for line in lines))
    return kept(stage, source)


def kept(stage: Path, source: Source) -> tuple[Prompted, ...]:
    """The prompts of a run from its folder. Raises RunFolderError where the file is damaged or isn't for these rows."""
    path = stage / PROMPTS
    found = tuple(
        Prompted(id=row["id"], prompt=row["prompt"], tokens=row["tokens"])
        for row in journal.read(path)
        if isinstance(row.get("id"), str) and isinstance(row.get("prompt"), str) and isinstance(row.get("tokens"), int)
    )
    if [one.id for one in found] != [row["id"] for row in source.train]:
        raise RunFolderError(
            f"{path}: not the prompts of the {len(source.train)} rows",
            hint="restore the file from a copy, or start a new run with --out; nothing was changed",
        )
    return found


def request(prompt: str, max_tokens: int, parents: tuple[str, ...] = ()) -> Request:
    """A greedy request that only end-of-text stops, as evaluation asks. Its id says what is asked."""
    made = Request(id="", prompt=prompt, sampling=Sampling(max_tokens=max_tokens), parents=parents)
    return replace(made, id=payload_hash(made))


def requests(given: Given, asked: Iterable[Prompted]) -> tuple[Request, ...]:
    """One request for each different prompt that fits, in the order of the rows; its parents are the ids of its rows."""
    rows: dict[str, list[str]] = {}
    for one in asked:
        if given.fits(one):
            rows.setdefault(one.prompt, []).append(one.id)
    return tuple(request(prompt, given.limit, tuple(ids)) for prompt, ids in rows.items())


def described(given: Given, asked: Iterable[Prompted]) -> dict[str, int]:
    """Counts for a dry run, and the longest prompt and the context in tokens."""
    listed = tuple(asked)
    return {
        "rows": len(listed),
        "too_long": sum(not given.fits(one) for one in listed),
        "requests": len(requests(given, listed)),
        "prompt_tokens": max(one.tokens for one in listed),
        "context": given.context,
    }


async def run(
    stage: Path,
    given: Given,
    asked: Iterable[Prompted],
    start: Callable[[], Awaitable[Engine]],
    revision: str | None = None,
) -> tuple[Anew, tuple[session.Record, ...]]:
    """Ask what the journal in `stage` doesn't hold; returns what came out and all of the journal's records.

    `start` starts the engine, at the first request that isn't in the journal. `revision`: the commit of a hub model. Raises
    EngineError and OSError with the other requests cancelled, and what `write` raises; cancelled, it closes everything in order.
    """
    listed = tuple(asked)
    number = 1 + len(session.starts(stage))

    async def begin() -> Engine:
        session.note_start(stage, number, revision)
        return await start()

    engine = JournaledEngine(stage / session.COMPLETIONS, None, start=begin, session=number)
    wanted = requests(given, listed)
    if engine.known:
        log.info("generate: going on from %d journaled completions", engine.known)
    try:
        with Progress("outputs", len(wanted), "requests") as progress:
            completions = await _answers(engine, wanted, progress)
    finally:
        await engine.close()
    return write(given, listed, completions), tuple(engine.records())


async def _answers(engine: JournaledEngine, wanted: Iterable[Request], progress: Progress) -> dict[str, Completion]:
    async def one(request: Request) -> Completion:
        completion = await engine.generate(request)
        progress.advance(note=f"{engine.asked_output_tokens} output tokens")
        return completion

    tasks = [asyncio.create_task(one(request)) for request in wanted]
    try:
        return {completion.request_id: completion for completion in await asyncio.gather(*tasks)}
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def replay(stage: Path, given: Given) -> tuple[Anew, tuple[session.Record, ...]]:
    """What came out and the records, from the folder `stage` without engine and tokenizer; nothing is written.

    Raises RunFolderError where the journal is damaged, or lacks what the run needed.
    """
    asked = kept(stage, given.source)
    engine = JournaledEngine(stage / session.COMPLETIONS, None)

    async def known() -> dict[str, Completion]:
        return {wanted.id: await engine.generate(wanted) for wanted in requests(given, asked)}

    return write(given, asked, asyncio.run(known())), tuple(engine.records())


def write(given: Given, asked: Iterable[Prompted], completions: Mapping[str, Completion]) -> Anew:
    """The rows with their new outputs, stripped, and those dropped. Rules, the first that applies: the prompt is `too_long`, the
    output is `cut_off` by the token limit, those of every instance (`rules.check_instance`), and `duplicate`:
    one prompt of two instances now has one output. Raises DataError where nothing is left."""
    rows: list[Row] = []
    rejections: list[Rejection] = []
    first: dict[tuple[str, str, str], str] = {}
    for row, one in zip(given.source.train, asked, strict=True):
        output, rule, detail = "", "too_long", f"{one.tokens} + {given.limit} of {given.context} tokens"
        if given.fits(one):
            completion = completions[request(one.prompt, given.limit).id]
            output = completion.text.strip()
            rule, detail = _flaw(row, output, completion)
            if not rule and (other := first.setdefault((row["instruction"], row["input"], output), row["id"])) != row["id"]:
                rule, detail = "duplicate", other
        if rule:
            text = f"Input: {row['input']}\nOutput: {output}"
            rejections.append(Rejection(id=row["id"], step=STEP, rule=rule, text=text, detail=detail, parent=row["instruction_id"]))
        else:
            rows.append(row | {"output": output})
    if not rows:
        rules = ", ".join(sorted({rejection.rule for rejection in rejections})) or "the corpus has none"
        raise DataError(
            f"generate.outputs_of: no row is left of {len(rejections)} ({rules})",
            hint="name another model, set model.prompt=chat for an instruct model, or raise generate.max_tokens",
        )
    return Anew(rows=tuple(rows), rejections=tuple(rejections))


def _flaw(row: Row, output: str, completion: Completion) -> tuple[str, str]:
    if completion.finish_reason == "length":
        return "cut_off", f"{completion.output_tokens} tokens"
    return check_instance(Instance(input=row["input"], output=output)) or "", ""
