"""Sources of training rows on disk: what `train.data` names, of whichever kind it is. The evaluate stage reads them too.

Knows neither tokenizer nor model. A kind is told by a folder's files or a row's fields, never by a name's ending alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from self_instruct import corpus, randomness, superni
from self_instruct.errors import DataError
from self_instruct.records import ChatExample, Example, PromptExample, TrainingExample
from self_instruct.runlog import log
from self_instruct.template import superni_prompt

Row = TypeVar("Row")
ROLES = ("system", "user", "assistant")
END = "<|endoftext|>"  # the authors' files of T0 spell it out at the end of each completion
SHAPES = "a row has `instruction`, `output` and maybe `input`; or `prompt` and `completion`; or `messages` (docs/training.md)"
SPLIT = "default"  # of SuperNI, as in the paper


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The rows of one place. `instructions` has for each row the text of its task: rows of one are held out together."""

    name: str
    kind: str
    examples: tuple[Example, ...]
    instructions: tuple[str, ...]


def source(name: str, kind: str, examples: Iterable[Example]) -> Source:
    """A source whose rows' tasks are told by the rows themselves."""
    rows = tuple(examples)
    return Source(name=name, kind=kind, examples=rows, instructions=tuple(instruction(row) for row in rows))


def instruction(example: Example) -> str:
    """The text of a row's task: its instruction, a verbatim prompt whole, what the user of a conversation says first."""
    if isinstance(example, TrainingExample):
        return example.instruction
    if isinstance(example, PromptExample):
        return example.prompt
    return next((content for role, content in example.messages if role == "user"), "")


def read(path: Path, *, sample: int, seed: int) -> Source:
    """The rows of one place in their order.

    A folder is a corpus of the generate stage (`data/train/*.parquet`), SuperNI (`splits/default/train_tasks.txt` and
    `tasks/`) or T0 (`*.jsonl` of prompts and completions, one file a template); of the last two `sample` rows are taken,
    spread evenly. A file is a JSON array or JSON Lines of rows of one kind: Alpaca's, prompts and completions, or
    conversations. Raises DataError, with the file and line, for anything else and for a source without a row.
    """
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder (train.data)", hint="name what is there with: --set train.data=PLACE")
    if superni.task_list(path, SPLIT, "train").is_file():
        return _superni(path, sample, seed)
    if files := sorted(path.glob("*.jsonl")):
        return _t0(path, files, sample, seed)
    return source(path.resolve().name, "corpus", corpus.read_train(path))


def spread(groups: Iterable[tuple[str, list[Row]]], sample: int, seed: int) -> list[Row]:
    """At most `sample` rows, taken evenly: every group gives the same number, as far as it has rows; the last rows come
    from the first groups that have more.

    Which rows a group gives is a function of (`seed`, its name, how many). They stay in their order. Only about
    `sample` rows are held at a time, however many the groups have.
    """
    kept: list[tuple[int, list[tuple[int, Row]]]] = []  # a group's size, and its first rows in the order they are drawn
    level = rest = 0
    for name, rows in groups:
        order = list(range(len(rows)))
        randomness.generator(seed, "sample", name).shuffle(order)
        kept.append((len(rows), [(place, rows[place]) for place in order[:sample]]))
        level, rest = _level([size for size, _ in kept], sample)
        for _, drawn in kept:
            del drawn[level + 1 :]
    chosen: list[Row] = []
    for size, drawn in kept:
        extra = size > level and rest > 0
        rest -= extra
        chosen += [row for _, row in sorted(drawn[: level + extra], key=lambda pair: pair[0])]
    return chosen


def _level(sizes: list[int], sample: int) -> tuple[int, int]:
    """The greatest number of rows that each group can give, as far as it has them, within `sample`; and what is left."""
    left = sample
    for place, size in enumerate(ascending := sorted(sizes)):
        share = left // (len(ascending) - place)
        if size > share:
            return share, left - share * (len(ascending) - place)
        left -= size
    return max(sizes), 0


def _file(path: Path) -> Source:
    rows: list[Example] = []
    shape: tuple[str, Maker] | None = None
    for number, (line, row) in enumerate(json_rows(path), 1):
        where = f"{path}:{line}"
        found = _shape(row, where)
        if found[0] != (shape := shape or found)[0]:
            raise DataError(f"{where}: a row of kind {found[0]}, the file's first is of kind {shape[0]}", hint=SHAPES)
        rows += shape[1](row, _identity(row, path.stem, number, where), where)
    return source(path.stem, shape[0] if shape else "", rows)


def _t0(path: Path, files: list[Path], sample: int, seed: int) -> Source:
    """A file a template. Rows without an answer aren't sampled, but stay among the rows, so that they are counted."""
    blank: list[Example] = []

    def groups() -> Iterator[tuple[str, list[Example]]]:
        for file in files:
            one = _file(file)
            if one.kind != "prompt_completion":
                raise DataError(
                    f"{file}: rows of kind {one.kind}; a folder of files has `prompt` and `completion` in each row",
                    hint="name the files themselves in train.data",
                )
            full = [row for row in one.examples if isinstance(row, PromptExample) and row.completion.strip()]
            blank.extend(row for row in one.examples if isinstance(row, PromptExample) and not row.completion.strip())
            yield file.stem, list(full)

    rows = spread(groups(), sample, seed)
    return source(path.resolve().name, "t0", [*rows, *blank])


def _superni(path: Path, sample: int, seed: int) -> Source:
    """The tasks of the train split, zero-shot, with one of an instance's outputs each, drawn by its id."""
    split = superni.read_split(path, SPLIT, "train")
    if split.missing:
        told = (path, len(split.missing), len(split.tasks) + len(split.missing), len(split.tasks))
        log.info("%s: %d of the %d tasks of the train split aren't there; %d are", *told)
    blank: list[tuple[str, PromptExample]] = []

    def groups() -> Iterator[tuple[str, list[tuple[str, PromptExample]]]]:
        for file in split.tasks:
            full: list[tuple[str, PromptExample]] = []
            for definition, row in _instances(file, seed):
                (full if row.completion.strip() else blank).append((definition, row))
            yield file.stem, full

    rows = [*spread(groups(), sample, seed), *blank]
    return Source(
        name=path.resolve().name,
        kind="superni",
        examples=tuple(row for _, row in rows),
        instructions=tuple(definition for definition, _ in rows),
    )


def _instances(path: Path, seed: int) -> Iterator[tuple[str, PromptExample]]:
    """The instances of one SuperNI task with its definition."""
    task = superni.read_task(path)
    for number, instance in enumerate(task.instances, 1):
        if instance.outputs is None:
            raise DataError(f"{path}: instance {number}: `output` is missing", hint="copy the file again")
        answers = [text for text in instance.outputs if text.strip()] or [""]
        place = randomness.key(seed, "output", instance.id) % len(answers) if len(answers) > 1 else 0
        prompt = superni_prompt(task.definition, instance.input)
        yield task.definition, PromptExample(id=instance.id, prompt=prompt, completion=answers[place])


# Rows of JSON files.

Maker = Callable[[Mapping[str, Any], str, str], list[Example]]


def _alpaca(row: Mapping[str, Any], identity: str, where: str) -> list[Example]:
    input = "" if row.get("input") is None else _field(row, "input", where)
    instruction, output = _field(row, "instruction", where), _field(row, "output", where)
    return [TrainingExample(id=identity, instruction=instruction, input=input, output=output)]


def _prompt_completion(row: Mapping[str, Any], identity: str, where: str) -> list[Example]:
    prompt, completion = _field(row, "prompt", where), _field(row, "completion", where)
    return [PromptExample(id=identity, prompt=prompt, completion=completion.removesuffix(END))]


def _messages(row: Mapping[str, Any], identity: str, where: str) -> list[Example]:
    """An example for each assistant's turn behind a user's, with all before it; one without answer where there is none."""
    if not isinstance(row["messages"], list):
        raise DataError(f"{where}: `messages` is {row['messages']!r:.80}, not a list of turns", hint=SHAPES)
    turns: list[tuple[str, str]] = []
    ends: list[int] = []
    for number, turn in enumerate(row["messages"], 1):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            found = repr(turn.get("role")) if isinstance(turn, dict) else f"{turn!r:.80}"
            raise DataError(f"{where}: the role of turn {number} is {found}", hint=f"roles are {', '.join(ROLES)}")
        turn = corpus.whole(turn)
        turns.append((turn["role"], _field(turn, "content", f"{where}: turn {number}")))
        if turn["role"] == "assistant" and any(role == "user" for role, _ in turns):
            ends.append(number)
    if not ends:
        return [ChatExample(id=identity, messages=(*turns, ("assistant", "")))]
    numbered = len(ends) > 1
    return [
        ChatExample(id=f"{identity}.{number}" if numbered else identity, messages=tuple(turns[:end]))
        for number, end in enumerate(ends)
    ]


def _shape(row: Mapping[str, Any], where: str) -> tuple[str, Maker]:
    """The kind of a row and what makes examples of it."""
    if "messages" in row:
        return "messages", _messages
    if "prompt" in row and "completion" in row:
        return "prompt_completion", _prompt_completion
    if "instruction" in row and "output" in row:
        return "alpaca", _alpaca
    raise DataError(f"{where}: a row of no known kind, with the fields {', '.join(row) or 'none'}", hint=SHAPES)


def _field(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"{where}: `{name}` is {f'{value!r:.80}' if name in row else 'missing'}, not text", hint=SHAPES)
    return value


def _identity(row: Mapping[str, Any], stem: str, number: int, where: str) -> str:
    """The row's own id, else one of the file's name and the row's number."""
    value = row.get("id")
    if value is None or value == "":
        return f"{stem}-{number:06d}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{where}: `id` is {value!r:.80}, neither text nor a whole number", hint="give each row an id of its own, or none"
        )
    return str(value)


def json_rows(path: Path, hint: str = SHAPES) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON array or of JSON Lines, with the line that each begins in.

    Blank lines are passed over; a lone surrogate in a text becomes U+FFFD. Raises DataError, with the file, the line and
    `hint`, for whatever else the file holds, and where it holds nothing.
    """
    text = _text(path, hint)
    empty = True
    for line, value in _array(text, path, hint) if text.lstrip()[:1] == "[" else _lines(text, path, hint):
        if not isinstance(value, dict):
            raise DataError(f"{path}:{line}: {value!r:.80} is no row", hint=hint)
        empty = False
        yield line, corpus.whole(value)
    if empty:
        raise DataError(f"{path}: empty", hint="name a file that has rows")


def _lines(text: str, path: Path, hint: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _parsed(line, path, hint, number)


def _array(text: str, path: Path, hint: str) -> Iterator[tuple[int, Any]]:
    """Item by item, so that the line of each is known; the whole is parsed first, so that it is an array."""
    items = _parsed(text, path, hint)
    decoder = json.JSONDecoder()
    place, line = text.index("[") + 1, 1 + text[: text.index("[")].count("\n")
    for item in items:
        start = place
        while text[place] in " \t\r\n,":
            place += 1
        line += text.count("\n", start, place)
        yield line, item
        end = decoder.raw_decode(text, place)[1]
        line, place = line + text.count("\n", place, end), end


def _parsed(text: str, path: Path, hint: str, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line + error.lineno - 1}: not JSON: {error.msg}, column {error.colno}", hint=hint) from None
    except RecursionError:
        raise DataError(f"{path}:{line}: not a row: nested too deeply", hint=hint) from None


def _text(path: Path, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object[: error.start].count(b"\n")
        raise DataError(f"{path}:{line}: not text in UTF-8", hint=hint) from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}", hint="mend its permissions, or name another") from None
