"""The report's parts that come from manifests and journals: generation, training, speed, provenance.

Knows nothing of scores. What goes into the tree is plain JSON, rounded as it is shown; None says that a stage wasn't run, or that
its manifest doesn't tell a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from self_instruct import journal
from self_instruct.evaluate import figures
from self_instruct.evaluate.document import Block, Code, Details, Heading, Paragraph, Spans, Table
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.evaluate.finished import finished_facts, finished_manifest
from self_instruct.settings import fields


def generation(run: Path) -> dict[str, Any] | None:
    """What the generate stage did: counts, speed and rejections by rule."""
    facts = finished_facts(run, "generate")
    if facts is None:
        return None
    return {
        "requests": facts.get("requests"),
        "candidates": facts.get("candidates"),
        "accepted": facts.get("accepted"),
        "accepted_percent": _percent(facts.get("accepted"), facts.get("candidates")),
        "mean_nearest": rounded(facts.get("mean_nearest"), 2),
        "rejected": [
            {"step": step, "rule": rule, "count": count}
            for step, rules in facts.get("rejected", {}).items()
            for rule, count in sorted(rules.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "prompt_tokens": facts.get("prompt_tokens"),
        "output_tokens": facts.get("output_tokens"),
        "output_tokens_per_s": rounded(facts.get("output_tokens_per_s")),
        "prefix_hit_percent_steps_2_3": _percent(facts.get("prefix_hit_rate_steps_2_3"), 1),
        "stopped_by": facts.get("stopped_by"),
    }


def generation_blocks(runs: Sequence[Mapping[str, Any]]) -> list[Block]:
    """How the instructions came about, by run."""
    if not runs:
        return []
    blocks: list[Block] = [Heading(level=2, text="Generation")]
    rows = [
        ("bootstrapping requests", *(number(one["found"]["requests"]) for one in runs)),
        ("instructions proposed", *(number(one["found"]["candidates"]) for one in runs)),
        ("instructions accepted", *(number(one["found"]["accepted"]) for one in runs)),
        ("accepted, % of proposed", *(number(one["found"]["accepted_percent"], 1) for one in runs)),
        ("ROUGE-L F1 with the nearest in the pool, mean", *(number(one["found"]["mean_nearest"], 2) for one in runs)),
        ("prompt tokens", *(number(one["found"]["prompt_tokens"]) for one in runs)),
        ("output tokens", *(number(one["found"]["output_tokens"]) for one in runs)),
        ("output tokens/s", *(number(one["found"]["output_tokens_per_s"], 1) for one in runs)),
        (
            "prefix cache, % of the prompt tokens of steps 2 and 3",
            *(number(one["found"]["prefix_hit_percent_steps_2_3"], 1) for one in runs),
        ),
        ("ended by", *(one["found"]["stopped_by"] or NONE for one in runs)),
    ]
    blocks.append(Table(head=("", *(one["run"] for one in runs)), rows=tuple(rows), caption="What the generate stage did"))
    rejected = [(one["run"], row["step"], row["rule"], number(row["count"])) for one in runs for row in one["found"]["rejected"]]
    if rejected:
        head = ("run", "rejected in step", "by rule", "count")
        blocks.append(Details(summary="What was rejected, by rule", blocks=(Table(head=head, rows=tuple(rejected), left=3),)))
    return blocks


def training(run: Path) -> dict[str, Any] | None:
    """What the train stage did; the loss is in nats per completion token."""
    facts = finished_facts(run, "train")
    if facts is None:
        return None
    kept = ("examples", "seed_examples", "held_out", "dropped", "steps", "dtype", "dtype_reason", "trainable_parameters")
    return {
        **{name: facts.get(name) for name in kept},
        "held_out_before": rounded(facts.get("held_out_before"), 4),
        "completion_tokens_per_s": rounded(facts.get("completion_tokens_per_s")),
        "epochs": [
            {
                "epoch": epoch["epoch"],
                "loss": rounded(epoch["loss"], 4),
                "held_out_loss": rounded(epoch.get("held_out_loss"), 4),
                "completion_tokens": epoch["completion_tokens"],
                "seconds": rounded(epoch["seconds"]),
            }
            for epoch in facts.get("epochs", [])
        ],
    }


def training_blocks(runs: Sequence[Mapping[str, Any]], label: Callable[[str], str] | None = None) -> list[Block]:
    """Losses by epoch, and what was trained on; with a `label`, each run in details under it."""
    blocks: list[Block] = [Heading(level=2, text="Training")]
    if not runs:
        return [*blocks, Paragraph(text="Not run: no finished train stage in the run folder.")]
    if label:
        return blocks + [
            Details(summary=f"Training of {label(one['run'])}", blocks=tuple(training_blocks([one])[1:])) for one in runs
        ]
    for one in runs:
        found = one["found"]
        if len(runs) > 1:
            blocks.append(Heading(level=3, text=one["run"]))
        if one["curve"] and figures.available():
            held_out = [epoch["held_out_loss"] for epoch in found["epochs"]]
            blocks.append(figures.loss(one["curve"], held_out if None not in held_out else (), name=f"loss-{one['run']}"))
        rows = tuple(
            (
                number(epoch["epoch"]),
                number(epoch["loss"], 4),
                number(epoch["held_out_loss"], 4),
                number(epoch["completion_tokens"]),
                number(epoch["seconds"], 1),
            )
            for epoch in found["epochs"]
        )
        dropped = ", ".join(f"{name} {number(count)}" for name, count in (found["dropped"] or {}).items()) or "0"
        blocks.append(
            Table(
                head=("epoch", "mean loss", "held-out loss", "completion tokens", "seconds"),
                rows=rows,
                caption="Loss in nats per completion token",
                note=f"{number(found['examples'])} examples (of seed tasks: {number(found['seed_examples'])}; held out: "
                f"{number(found['held_out'])}; dropped: {dropped}), {number(found['steps'])} steps, "
                f"{number(found['trainable_parameters'])} trainable parameters, "
                f"{found['dtype'] or NONE} ({found['dtype_reason'] or NONE}), "
                f"{number(found['completion_tokens_per_s'], 1)} completion tokens/s. Held out before training: "
                f"{number(found['held_out_before'], 4)}.",
            )
        )
    return blocks


def answering(stage: Path) -> dict[str, Any]:
    """How many answers there are, and how fast they came in the sessions that ended in order; a killed one leaves no line."""
    sessions = journal.read(stage / "journal" / "sessions.jsonl")
    answers = len(journal.read(stage / "journal" / "predictions.jsonl"))
    seconds, tokens = sum(s["seconds"] for s in sessions), sum(s["output_tokens"] for s in sessions)
    return {
        "cached": sum(s.get("cached", 0) for s in sessions),
        "sessions": len(sessions),
        "answers": answers,
        "requests": sum(s["requests"] for s in sessions),
        "output_tokens": tokens,
        "seconds": round(seconds, 1),
        "output_tokens_per_s": _ratio(tokens, seconds, 1),
    }


def provenance(
    run: Path,
    manifest: Mapping[str, Any],
    model: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    statistics: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Where a run's numbers come from; `manifest` is the evaluate stage's, `models` are facts by name."""
    stages = {name: finished_manifest(run, name) for name in ("generate", "train")}
    defaults = {name: info.get_default() for name, info in fields().items()}
    hashes = {"corpus": statistics["corpus"]["sha256"]} if statistics else {}
    if trained := stages["train"]:
        named = {"data": "training data", "seeds": "seeds trained on"}
        hashes |= {named.get(name, f"training {name}"): digest for name, digest in trained["inputs"].items() if name != "model"}
    return {
        "model": dict(model),
        "hardware": manifest["hardware"],
        "versions": manifest["versions"],
        "git": manifest["git"],
        "seed": manifest["settings"]["run.seed"]["value"],
        "determinism": manifest.get("determinism", "logical"),
        "settings": [
            {"setting": name, **entry}
            for name, entry in manifest["settings"].items()
            if name not in defaults
            or entry["value"] != (list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name])
        ],
        "inputs": manifest["inputs"] | hashes,
        "adapters": {name: facts["adapter"] for name, facts in models.items() if facts["adapter"]},
        "stages": [
            *(_stage(name, found) for name, found in stages.items() if found),
            _stage("evaluate", manifest),
        ],
    }


def provenance_blocks(
    runs: Sequence[Mapping[str, Any]], answering: Sequence[Mapping[str, Any]], *, folded: bool = False
) -> list[Block]:
    """Models, data, versions, machines, times and settings; `folded`: each run in details."""
    blocks: list[Block] = [Heading(level=2, text="Provenance")]
    if folded:
        each = [(one["run"], provenance_blocks([one], [speed])[1:]) for one, speed in zip(runs, answering, strict=True)]
        return blocks + [Details(summary=f"Provenance of {run}", blocks=tuple(inner)) for run, inner in each]
    for one, speed in zip(runs, answering, strict=True):
        if len(runs) > 1:
            blocks.append(Heading(level=3, text=one["run"]))
        model, git = one["model"], one["git"]
        rows: list[tuple[Spans, ...]] = [
            ("model", (Code(model["reference"]), f", {model['source']}, {model['architecture']}")),
            *((f"adapter of {name}", Code(path)) for name, path in one["adapters"].items()),
            *((f"hash of {name}", Code(digest)) for name, digest in one["inputs"].items()),
            ("versions", ", ".join(f"{name} {version}" for name, version in one["versions"].items())),
            ("code", f"commit {git['commit']}{', with changes' if git['dirty'] else ''}" if git else "an installed package"),
            ("machine", ", ".join(machine(one["hardware"]))),
            ("seed", str(one["seed"])),
            (
                "determinism",
                f"{one['determinism']}: prompts, order, draws and scores follow from the seed; a real engine may answer "
                "differently in rare near-ties",
            ),
            (
                "answering",
                f"{speed['answers']:,} answers, {speed['cached']:,} of them from earlier runs. In sessions that ended in order: "
                f"{speed['requests']:,} requests, {speed['output_tokens']:,} output tokens in {speed['seconds']:,.1f} s "
                f"({number(speed['output_tokens_per_s'], 1)} tokens/s, without the engine's start)",
            ),
        ]
        blocks.append(Table(head=("what", "value"), rows=tuple(rows), left=2))
        stages: tuple[tuple[Spans, ...], ...] = tuple(
            (
                stage["stage"],
                stage["started"],
                Code(stage["arguments"]) if stage["arguments"] else NONE,
                number(stage["seconds"], 1),
            )
            for stage in one["stages"]
        )
        blocks.append(Table(head=("stage", "started (UTC)", "arguments", "seconds"), rows=stages, left=3))
        changed: tuple[tuple[Spans, ...], ...] = tuple(
            (row["setting"], Code(str(row["value"])), row["origin"]) for row in one["settings"]
        )
        if changed:
            table = Table(head=("setting other than the default", "value", "from"), rows=changed, left=3)
            blocks.append(Details(summary=f"{len(changed)} settings other than the default", blocks=(table,)))
    return blocks


def machine(hardware: Mapping[str, Any]) -> list[str]:
    """A manifest's hardware in words."""
    size = f"{hardware['cores']} cores", f"{hardware['memory_gib']} GiB"
    return [hardware["processor"], *size, *(hardware["gpus"] or ["no GPU"]), hardware["system"]]


def _stage(name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stage": name,
        "started": datetime.fromtimestamp(manifest["started_s"], UTC).isoformat(timespec="seconds"),
        "seconds": rounded(manifest["seconds"]),
        "commit": manifest["git"].get("commit", ""),
        "arguments": " ".join(manifest["argv"]),
    }


def rounded(value: float | None, digits: int = 1) -> float | None:
    """A number for the tree; None stays None."""
    return None if value is None else round(value, digits)


def _ratio(part: float | None, whole: float | None, digits: int = 2) -> float | None:
    return None if part is None or not whole else round(part / whole, digits)


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else round(100 * part / whole, 1)
