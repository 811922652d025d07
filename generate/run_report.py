"""The report of a generate stage: what the engine did in each step and session, and how acceptance fell.

Knows no file and no clock: the same journal gives the same text. `report.md` renders the tree of `report.json`, nothing more.
The texts themselves are the card's matter.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from self_instruct.generate.card import table
from self_instruct.generate.pipeline import Result

STEPS = {"bootstrap": "1 instructions", "classify": "2 classification check", "instances": "3 instances"}
STRETCHES = 10  # of the bootstrapping requests, in which acceptance is shown
NONE = "-"
Record = Mapping[str, Any]


def steps(records: Iterable[Record]) -> list[dict[str, Any]]:
    """For each step: answers, tokens of prompts, of these from the engine's prefix cache as it told with each answer (none
    where it didn't), tokens written, and answers that the token limit ended."""
    rows: dict[str, dict[str, Any]] = {
        name: {"step": title, "answers": 0, "prompt_tokens": 0, "cached_tokens": None, "output_tokens": 0, "hit_limit": 0}
        for name, title in STEPS.items()
    }
    for record in records:
        row = rows[record["id"].split("-")[0]]
        row["answers"] += 1
        row["prompt_tokens"] += record["prompt_tokens"]
        row["output_tokens"] += record["output_tokens"]
        row["hit_limit"] += record["finish_reason"] == "length"
        if record.get("cached_tokens") is not None:
            row["cached_tokens"] = (row["cached_tokens"] or 0) + record["cached_tokens"]
    return list(rows.values())


def curve(result: Result) -> list[dict[str, Any]]:
    """Candidates and accepted instructions in each tenth of the committed bootstrapping requests, in their order."""
    accepted = Counter(task.instruction.request for task in result.instructions)
    dropped = Counter(
        int(rejection.parent.removeprefix("bootstrap-"))
        for rejection in result.rejections
        if rejection.step == "instruction" and rejection.rule != "no_items"
    )
    edges = sorted({round(result.requests * part / STRETCHES) for part in range(STRETCHES + 1)})
    rows = []
    for begin, end in itertools.pairwise(edges):
        kept, lost = (sum(counts[number] for number in range(begin, end)) for counts in (accepted, dropped))
        rows.append({"requests": f"{begin} to {end - 1}", "candidates": kept + lost, "accepted": kept})
    return rows


def tree(result: Result, records: Iterable[Record], facts: Mapping[str, Any]) -> dict[str, Any]:
    """All that the report says; `facts` are the stage's counts, as in its manifest."""
    return {**facts, "steps": steps(records), "curve": curve(result)}


def render(tree: Mapping[str, Any]) -> str:
    """The tree as Markdown."""
    sections = [
        f"# generate: {tree['accepted']} instructions by {tree['model']}",
        f"{tree['accepted']} of {tree['candidates']} candidates were accepted, {_share(tree['accepted'], tree['candidates'])}, "
        f"from {tree['requests']} bootstrapping requests; {tree['classification']} are classification. They have "
        f"{tree['instances']} instances, {tree['empty_inputs']} of them without input. The run ended by `{tree['stopped_by']}`.",
        "## Engine",
        _table(
            ("step", "answers", "prompt tokens", "from the prefix cache", "tokens written", "ended by the token limit"),
            [
                (
                    row["step"],
                    row["answers"],
                    row["prompt_tokens"],
                    _share(row["cached_tokens"], row["prompt_tokens"]),
                    row["output_tokens"],
                    row["hit_limit"],
                )
                for row in tree["steps"]
            ],
        ),
        _cache(tree),
        _table(
            ("session", "answers", "seconds", "tokens written", "tokens written per second"),
            [
                (row["session"], row["asked"], row["seconds"], row["output_tokens"], _or_none(row["output_tokens_per_s"]))
                for row in tree["sessions"]
            ],
        ),
        "A session's seconds go from its first request to its last answer. All answers in the journal count, also those that came "
        "after the run's end was reached.",
        "## Acceptance",
        _table(
            ("bootstrapping requests", "candidates", "accepted", "share"),
            [
                (row["requests"], row["candidates"], row["accepted"], _share(row["accepted"], row["candidates"]))
                for row in tree["curve"]
            ],
        ),
        f"ROUGE-L F1 of an accepted instruction with the nearest in the pool: {tree['mean_nearest']} on average.",
        _table(
            ("rejected in step", "by rule", "count"),
            [(step, rule, count) for step, rules in tree["rejected"].items() for rule, count in rules.items()],
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _cache(tree: Mapping[str, Any]) -> str:
    """The hit rates, by answers and by the engine's own counters."""
    of_steps, counted = tree["prefix_hit_rate_steps_2_3"], tree["prefix_hit_rate"]
    if of_steps is None and counted is None:
        return "The engine told nothing of a prefix cache."
    said = []
    if of_steps is not None:
        said.append(f"{of_steps:.1%} of the prompt tokens of steps 2 and 3 came from the prefix cache, by the engine's answers.")
    if counted is not None:
        said.append(f"By its counters it was {counted:.1%} of all prompt tokens, over the sessions that ended in order.")
    warm = tree["warm_prompt_tokens"]
    return " ".join([*said, f"{warm} prompt tokens more warmed the cache."] if warm else said)


def _share(part: int | None, whole: int) -> str:
    return NONE if part is None or not whole else f"{part / whole:.1%}"


def _or_none(value: float | None) -> str:
    return NONE if value is None else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(table(head, rows))
