"""What is in files of human-written tasks, seeds or user-oriented: figures of diversity, and what to mend.

Knows nothing of flags or configs; the rules of instructions come as an object. Figures are counts and ROUGE-L F1
(method.md, step 4) of instructions as the loader gives them, compared over all pairs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from self_instruct import seedbank
from self_instruct.errors import DataError
from self_instruct.evaluate import diversity
from self_instruct.evaluate.document_markdown import NONE, number, table
from self_instruct.novelty import tokenize
from self_instruct.records import Instance
from self_instruct.rules import Rules, check_instance
from self_instruct.runlog import log

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
ALIKE = 0.5  # two instructions that share half of their words
BLIND_SHARE = 0.2  # above it, ROUGE-L sees too little of the file to judge novelty by
FEW_SEEDS = 20
MANY = 1_000  # instructions that take more than a few seconds to compare
SHOWN = 12  # lines named for one kind of finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something to mend, in one line or, with `line` None, in the whole file. `fatal`: the file can't be used as it is."""

    what: str
    line: int | None
    fatal: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSet:
    """The usable tasks of one file, and what was found.

    `verbs` has the root verb of each task, and is None where spaCy isn't installed or ROUGE-L sees too little of the file.
    """

    path: Path
    rows: tuple[seedbank.Row, ...]
    instructions: tuple[str, ...]
    likeness: diversity.Likeness
    verbs: tuple[str | None, ...] | None
    broken: int
    blind: int
    findings: tuple[Finding, ...]


def survey(path: Path, rules: Rules) -> TaskSet:
    """Read and measure one file. Raises DataError where it can't be read or holds no task."""
    rows: list[seedbank.Row] = []
    lines: list[int] = []
    findings: list[Finding] = []
    for line, row in seedbank.read(path):
        if isinstance(row, DataError):
            findings.append(Finding(what=row.message.removeprefix(f"{path}:{line}: "), line=line, fatal=True))
        else:
            rows.append(row)
            lines.append(line)
    if not rows and not findings:
        raise DataError(f"{path}: no tasks in it", hint="one JSON object a line; seeds/README.md shows the format")
    instructions = tuple(unicodedata.normalize("NFC", row.instruction).strip() for row in rows)
    broken = 0
    for line, row, instruction in zip(lines, rows, instructions, strict=True):
        if verdict := rules.check(rules.normalize(instruction)):
            broken += 1
            findings.append(Finding(what=f"the filter {verdict.rule} drops such an instruction ({verdict.detail})", line=line))
        findings += [Finding(what=what, line=line) for what in _untidy(row)]
    if len(rows) > MANY:
        log.info("%s: comparing %d instructions with one another; this may take minutes", path, len(rows))
    likeness = diversity.within(instructions, ALIKE)
    if alike := [f"{lines[i]} and {lines[j]} ({score:.2f})" for i, j, score in likeness.alike]:
        told = f"{', '.join(alike[:SHOWN])}{_and_more(alike)}"
        findings.append(Finding(what=f"instructions that are alike (ROUGE-L of {ALIKE} or more): lines {told}", line=None))
    blind = sum(not tokenize(text) for text in instructions)
    readable = blind <= BLIND_SHARE * len(rows)
    findings += _whole_file(rows, blind, readable=readable)
    verbs = tuple(diversity.root_verbs(instructions)) if readable and diversity.parser_available() else None
    return TaskSet(
        path=path, rows=tuple(rows), instructions=instructions, likeness=likeness, verbs=verbs, broken=broken, blind=blind,
        findings=tuple(findings),
    )  # fmt: skip


def _untidy(row: seedbank.Row) -> Iterator[str]:
    """What an editor would mend in one task."""
    texts = [row.instruction, *(text for instance in row.instances for text in (instance.input, instance.output))]
    for instance in row.instances:
        if rule := check_instance(Instance(input=instance.input, output=instance.output)):
            yield f"the filter {rule} drops such an instance"
    if any(_CONTROL.search(text) for text in texts):
        yield "control characters in a text"
    if any(text != unicodedata.normalize("NFC", text) for text in texts):
        yield "not in Unicode's NFC (the loader mends it)"
    if any(line != line.rstrip() for text in texts for line in text.split("\n")) or any(text != text.strip("\n") for text in texts):
        yield "spaces at a line's end, or a line break at a text's"


def _whole_file(rows: Sequence[seedbank.Row], blind: int, *, readable: bool) -> Iterator[Finding]:
    if not readable:
        yield Finding(
            what=f"{blind} of {len(rows)} instructions have no a-z or 0-9, all that ROUGE-L sees: the novelty filter can't "
            "tell such tasks apart (only equal ones), and overlap scores say nothing",
            line=None,
        )
    seeds = [row for row in rows if isinstance(row, seedbank.SeedRow)]
    if not seeds:
        return
    if len(seeds) < seedbank.MINIMUM_SEEDS:
        what = f"usable seed tasks: {len(seeds)}; at least {seedbank.MINIMUM_SEEDS} needed"
        yield Finding(what=what, line=None, fatal=True)
    elif len(seeds) < FEW_SEEDS:
        yield Finding(what=f"{len(seeds)} seed tasks; with fewer than {FEW_SEEDS} the prompts resemble one another", line=None)
    if not any(row.is_classification for row in seeds):
        yield Finding(what="no classification task: the model will hardly write any", line=None)


def render(sets: Sequence[TaskSet]) -> str:
    """The figures side by side as Markdown tables, then the findings of each file."""
    labels = _labels([one.path for one in sets])
    columns = [_figures(one) for one in sets]
    blocks = [table(("", *labels), [(name, *(column[name] for column in columns)) for name in columns[0]])]
    if len(sets) > 1:
        blocks.append(table(("between", "and", *_ACROSS), list(_across(sets, labels)), left=2))
    for one, label in zip(sets, labels, strict=True):
        if one.findings:
            blocks.append("\n".join([f"{label}, to look at:", *_told(one.findings)]))
    if not diversity.parser_available():
        blocks.append("Root verbs need spaCy with its small English model: install the extra `report`.")
    return "\n\n".join(blocks)


def _told(findings: Sequence[Finding]) -> Iterator[str]:
    """One line for each thing found, with the lines of the file where it was found."""
    places: dict[str, list[int]] = {}
    for finding in findings:
        places.setdefault(finding.what, []).extend([] if finding.line is None else [finding.line])
    for what, lines in places.items():
        where = (
            f"{'line' if len(lines) == 1 else 'lines'} {', '.join(map(str, lines[:SHOWN]))}{_and_more(lines)}: " if lines else ""
        )
        yield f"- {where}{what}"


def _and_more(found: Sequence[object]) -> str:
    return f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""


def _labels(paths: Sequence[Path]) -> list[str]:
    """For each path its shortest end that no other one has; at least the file's name."""

    def end(path: Path, parts: int) -> str:
        return "/".join(path.parts[-parts:])

    longest = max(len(path.parts) for path in paths)
    return [
        next(
            (end(path, n) for n in range(1, longest + 1) if sum(end(path, n) == end(other, n) for other in paths) == 1),
            str(path),
        )
        for path in paths
    ]


def _figures(one: TaskSet) -> dict[str, str]:
    rows, count = one.rows, len(one.rows)
    instances = [instance for row in rows for instance in row.instances]
    inputs = [instance.input for instance in instances if instance.input.strip()]
    seeds = [row for row in rows if isinstance(row, seedbank.SeedRow)]
    applications = {row.motivation_app for row in rows if isinstance(row, seedbank.UserRow)}
    verbs = Counter(verb for verb in one.verbs if verb) if one.verbs is not None else None
    common = max(verbs.items(), key=lambda item: item[1]) if verbs else None
    best = one.likeness.nearest
    alike = sum(score >= ALIKE for score in best)
    return {
        "tasks": number(count),
        "classification tasks": number(sum(row.is_classification for row in seeds)) if seeds else NONE,
        "applications": number(len(applications)) if applications else NONE,
        "instances": number(len(instances)),
        "with an input": _share(len(inputs), len(instances)),
        "words an instruction": _words(one.instructions),
        "words a non-empty input": _words(inputs),
        "words an output": _words([instance.output for instance in instances]),
        "different root verbs": number(len(verbs)) if verbs is not None else NONE,
        "most frequent root verb": f"{common[0]}, {_share(common[1], count)}" if common else NONE,
        "no verb in the first sentence": number(one.verbs.count(None)) if one.verbs is not None else NONE,
        "highest ROUGE-L of two instructions": number(max(best), 3) if count > 1 else NONE,
        "mean ROUGE-L with the nearest other": number(sum(best) / count, 3) if count > 1 else NONE,
        f"pairs with ROUGE-L of {ALIKE} or more": number(len(one.likeness.alike)),
        "tasks in such a pair": _share(alike, count),
        "break an instruction filter": _share(one.broken, count),
        "no a-z or 0-9 in the instruction": _share(one.blind, count),
    }


_ACROSS = ("highest ROUGE-L", "mean with the nearest", f"pairs of {ALIKE} or more", "same output")


def _across(sets: Sequence[TaskSet], labels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for place, one in enumerate(sets):
        for other, label in zip(sets[place + 1 :], labels[place + 1 :], strict=True):
            likeness = diversity.across(one.instructions, other.instructions, ALIKE)
            best = likeness.nearest if other.rows else ()
            yield (
                labels[place],
                label,
                number(max(best), 3) if best else NONE,
                number(sum(best) / len(best), 3) if best else NONE,
                number(len(likeness.alike)),
                number(len(outputs(one) & outputs(other))),
            )


def require_usable(sets: Sequence[TaskSet]) -> None:
    """Raises DataError for the first file with a fault."""
    for one in sets:
        if faults := sum(finding.fatal for finding in one.findings):
            raise DataError(
                f"{one.path}: can't be used as it is: {faults} {'fault' if faults == 1 else 'faults'}, listed above",
                hint="mend them; seeds/README.md shows the format",
            )


def outputs(one: TaskSet) -> set[str]:
    """The outputs, without regard to case and white space."""
    return {" ".join(instance.output.split()).casefold() for row in one.rows for instance in row.instances}


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.1f} %)" if whole else NONE


def _words(texts: Sequence[str]) -> str:
    counts = [len(text.split()) for text in texts]
    return f"{sum(counts) / len(counts):.1f} ({min(counts)} to {max(counts)})" if counts else NONE
