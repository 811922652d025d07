"""The report's parts that come from manifests and journals: data, training, speed, provenance.

Knows nothing of scores. Every function gives plain JSON values, rounded as they are shown; None says that a stage
wasn't run, or that its manifest doesn't tell a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from self_instruct import journal
from self_instruct.evaluate import corpus_statistics
from self_instruct.settings import Settings, fields


def data(run: Path) -> dict[str, Any] | None:
    """Counts, lengths and rejections of the generate stage, beside the paper's."""
    corpus = corpus_statistics.corpus(run)
    if corpus is None:
        return None
    facts = corpus.facts
    accepted, instances = facts.get("accepted"), facts.get("instances")
    paper = corpus_statistics

    def row(what: str, ours: Any, theirs: Any = None) -> dict[str, Any]:
        return {"what": what, "ours": ours, "paper": theirs}

    return {
        "counts": [
            row("bootstrapping requests", facts.get("requests")),
            row("instructions proposed", facts.get("candidates")),
            row("instructions accepted", accepted, paper.PAPER_INSTRUCTIONS),
            row("accepted, % of proposed", _percent(accepted, facts.get("candidates"))),
            row("ROUGE-L F1 with the nearest in the pool, mean", _rounded(facts.get("mean_nearest"), 2)),
            row("classification instructions", facts.get("classification"), paper.PAPER_CLASSIFICATION),
            row(
                "classification, % of instructions",
                _percent(facts.get("classification"), accepted),
                _percent(paper.PAPER_CLASSIFICATION, paper.PAPER_INSTRUCTIONS),
            ),
            row("instances", instances, paper.PAPER_INSTANCES),
            row("instances per instruction", _ratio(instances, accepted), _ratio(paper.PAPER_INSTANCES, paper.PAPER_INSTRUCTIONS)),
            row("instances with an empty input", facts.get("empty_inputs"), paper.PAPER_EMPTY_INPUTS),
            row(
                "empty inputs, % of instances",
                _percent(facts.get("empty_inputs"), instances),
                _percent(paper.PAPER_EMPTY_INPUTS, paper.PAPER_INSTANCES),
            ),
        ],
        "lengths": [
            {
                "what": one.what,
                "texts": one.texts,
                "mean": round(one.mean, 1),
                "median": round(one.median, 1),
                "p10": round(one.p10, 1),
                "p90": round(one.p90, 1),
                "max": one.longest,
                "paper_mean": paper.PAPER_MEAN_WORDS[one.what],
            }
            for one in corpus.lengths
        ],
        "rejected": [
            {"step": step, "rule": rule, "count": count}
            for step, rules in facts.get("rejected", {}).items()
            for rule, count in sorted(rules.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "prompt_tokens": facts.get("prompt_tokens"),
        "output_tokens": facts.get("output_tokens"),
        "output_tokens_per_s": _rounded(facts.get("output_tokens_per_s")),
        "prefix_hit_percent_steps_2_3": _percent(facts.get("prefix_hit_rate_steps_2_3"), 1),
        "stopped_by": facts.get("stopped_by"),
    }


def training(run: Path) -> dict[str, Any] | None:
    """What the train stage did; the loss is in nats per completion token."""
    facts = corpus_statistics.finished_facts(run, "train")
    if facts is None:
        return None
    kept = ("examples", "seed_examples", "dropped", "steps", "dtype", "dtype_reason", "trainable_parameters")
    return {
        **{name: facts.get(name) for name in kept},
        "completion_tokens_per_s": _rounded(facts.get("completion_tokens_per_s")),
        "epochs": [
            {
                "epoch": epoch["epoch"],
                "loss": _rounded(epoch["loss"], 4),
                "completion_tokens": epoch["completion_tokens"],
                "seconds": _rounded(epoch["seconds"]),
            }
            for epoch in facts.get("epochs", [])
        ],
    }


def answering(stage: Path) -> dict[str, Any]:
    """How fast the answers came, over the sessions that ended in order; a killed one leaves no line."""
    sessions = journal.read(stage / "journal" / "sessions.jsonl")
    seconds, tokens = sum(s["seconds"] for s in sessions), sum(s["output_tokens"] for s in sessions)
    return {
        "sessions": len(sessions),
        "requests": sum(s["requests"] for s in sessions),
        "output_tokens": tokens,
        "seconds": round(seconds, 1),
        "output_tokens_per_s": _ratio(tokens, seconds, 1),
    }


def provenance(run: Path, settings: Settings, manifest: Mapping[str, Any], adapters: Mapping[str, str]) -> dict[str, Any]:
    """Where the numbers come from; `manifest` is the evaluate stage's, `adapters` are folders by model name."""
    stages = {name: corpus_statistics.finished_manifest(run, name) for name in ("generate", "train")}
    defaults = {name: info.get_default() for name, info in fields().items()}
    return {
        "hardware": manifest["hardware"],
        "versions": manifest["versions"],
        "git": manifest["git"],
        "seed": settings.run.seed,
        "determinism": "logical",
        "settings": [
            {"setting": name, **entry}
            for name, entry in manifest["settings"].items()
            if entry["value"] != (list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name])
        ],
        "inputs": manifest["inputs"],
        "adapters": dict(adapters),
        "stages": [
            *(_stage(name, found, found["seconds"]) for name, found in stages.items() if found),
            _stage("evaluate", manifest, None),
        ],
    }


def _stage(name: str, manifest: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    return {
        "stage": name,
        "started": datetime.fromtimestamp(manifest["started_s"], UTC).isoformat(timespec="seconds"),
        "seconds": _rounded(seconds),
        "commit": manifest["git"].get("commit", ""),
        "arguments": " ".join(manifest["argv"]),
    }


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _ratio(part: float | None, whole: float | None, digits: int = 2) -> float | None:
    return None if part is None or not whole else round(part / whole, digits)


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else round(100 * part / whole, 1)
