"""The parity report: does an adapter mean the same in PEFT, merged into its base, and in vLLM?

Knows nothing of models: it compares log-probabilities that were computed elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROMPTS = 20  # the first so many seed tasks, in the form of evaluation
REFERENCE = "adapter"  # in PEFT, on the base in float32
COLUMNS = {REFERENCE: "adapter in PEFT", "merged": "merged, in transformers", "vllm": "adapter in vLLM"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Of one completion's tokens, its end-of-text among them: the natural log of each one's probability after all before it,
    and the id that was likeliest in its place."""

    logprobs: tuple[float, ...]
    likeliest: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One way to run the adapter: by prompt its scores, the number format it was computed in; or why it is `absent`."""

    scores: Mapping[str, Scores]
    dtype: str = ""
    absent: str = ""


def report(columns: Mapping[str, Column], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The report as JSON types: `prompts`, `summary` by column, and `facts` as they are.

    Every present column has the same prompts with the same tokens. Differences are from PEFT's, per token, in nats.
    """
    present = {name: column for name, column in columns.items() if not column.absent}
    reference = columns[REFERENCE].scores
    prompts = [
        {
            "id": identity,
            "tokens": len(own.logprobs),
            "logprob": {name: round(math.fsum(column.scores[identity].logprobs), 6) for name, column in present.items()},
            "largest_difference": {
                name: round(max(_differences(own, column.scores[identity])), 6)
                for name, column in present.items()
                if name != REFERENCE
            },
            "same_likeliest": {
                name: round(_same(own, column.scores[identity]) / len(own.logprobs), 4)
                for name, column in present.items()
                if name != REFERENCE
            },
        }
        for identity, own in reference.items()
    ]
    return {**facts, "summary": {name: _summary(reference, column) for name, column in columns.items()}, "prompts": prompts}


def _summary(reference: Mapping[str, Scores], column: Column) -> dict[str, Any]:
    if column.absent:
        return {"absent": column.absent}
    differences = [one for identity, own in reference.items() for one in _differences(own, column.scores[identity])]
    same = sum(_same(own, column.scores[identity]) for identity, own in reference.items())
    return {
        "dtype": column.dtype,
        "tokens": len(differences),
        "largest_difference": round(max(differences), 6),
        "mean_difference": round(math.fsum(differences) / len(differences), 6),
        "same_likeliest": round(same / len(differences), 4),
    }


def _differences(one: Scores, other: Scores) -> list[float]:
    return [abs(a - b) for a, b in zip(one.logprobs, other.logprobs, strict=True)]


def _same(one: Scores, other: Scores) -> int:
    return sum(a == b for a, b in zip(one.likeliest, other.likeliest, strict=True))


def markdown(made: Mapping[str, Any]) -> str:
    """The report for a reader."""
    summary, stored = made["summary"], made["merged_dtype"]
    shown = [name for name in COLUMNS if "absent" not in summary[name]]
    others = [name for name in shown if name != REFERENCE]
    lines = [
        "# Parity",
        "",
        f"Log-probabilities of the completions of {len(made['prompts'])} seed tasks, in the prompt of evaluation, with their",
        "end-of-text: the same token ids everywhere. Differences are from the adapter in PEFT, per token, in nats.",
        f"The merged model is stored in {stored}" + (", which rounds its weights." if stored != "float32" else "."),
        "",
        "| | computed in | tokens | largest difference | mean difference | same likeliest token |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, title in COLUMNS.items():
        one = summary[name]
        if "absent" in one:
            lines.append(f"| {title} | absent: {one['absent']} | | | | |")
        elif name == REFERENCE:
            lines.append(f"| {title} | {one['dtype']} | {one['tokens']} | | | |")
        else:
            numbers = f"{one['largest_difference']:.6f} | {one['mean_difference']:.6f} | {100 * one['same_likeliest']:.1f} %"
            lines.append(f"| {title} | {one['dtype']} | {one['tokens']} | {numbers} |")
    head = ["prompt", "tokens", *(f"log p, {COLUMNS[name]}" for name in shown)]
    head += [f"{what}, {COLUMNS[name]}" for name in others for what in ("largest difference", "same likeliest token")]
    lines += ["", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for row in made["prompts"]:
        cells = [row["id"], str(row["tokens"]), *(f"{row['logprob'][name]:.4f}" for name in shown)]
        for name in others:
            cells += [f"{row['largest_difference'][name]:.6f}", f"{100 * row['same_likeliest'][name]:.1f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return "\n".join([*lines, "", f"Adapter `{made['adapter_sha256'][:12]}`, base `{made['base']}`. {versions}.", ""])
