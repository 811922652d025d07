"""The report's tree (`report.assemble`, `report.json`) as Markdown.

Knows nothing but the tree, so the Markdown can't hold a number that the JSON doesn't. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

NONE = "-"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def render(tree: dict[str, Any]) -> str:
    """The whole report, ending in a line break."""
    blocks = [
        f"# Self-Instruct report: {tree['model']['name']}",
        *_warning(tree),
        *_summary(tree),
        *_results(tree),
        *_figures(tree),
        *_data(tree["data"]),
        *_training(tree["training"]),
        *_examples(tree),
        *_provenance(tree),
        *_limitations(tree),
    ]
    return "\n\n".join(blocks) + "\n"


def number(value: Any, digits: int = 0) -> str:
    """A number with its digits and thousands separated; a dash for None."""
    if value is None:
        return NONE
    return f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def signed(value: float) -> str:
    return f"{value:+.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, its first `left` columns aligned left and the others right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    rule = "|" + "|".join("---" if place < left else "---:" for place in range(len(head))) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def fenced(shown: dict[str, Any]) -> str:
    """A text in a fence that no back-ticks in it can close, with a note where it was cut."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", shown["text"])
    if not text:
        return "*(empty)*"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    note = f"\n\n*(cut: the first {len(shown['text']):,} of {shown['characters']:,} characters)*"
    return f"{fence}text\n{text}\n{fence}" + (note if shown["characters"] > len(shown["text"]) else "")


def code(text: str) -> str:
    """A code span that back-ticks in the text can't close."""
    if "`" not in text:
        return f"`{text}`"
    ticks = "`" * (1 + max(len(run) for run in re.findall("`+", text)))
    return f"{ticks} {text} {ticks}"


def _tasks(tree: dict[str, Any]) -> str:
    suite = tree["suite"]
    return f"{suite['items']:,} {suite['name']} task{'' if suite['items'] == 1 else 's'}"


def _warning(tree: dict[str, Any]) -> list[str]:
    if not tree["scripted"]:
        return []
    return ["**A scripted engine made these outputs, no model did. The numbers mean nothing; they show that the path works.**"]


def _summary(tree: dict[str, Any]) -> list[str]:
    blocks = []
    for one in tree["comparisons"]:
        head = (
            f"**{one['model']}** against {one['base']} on {_tasks(tree)}: "
            f"ROUGE-L {one['base_rouge_l']:.2f} → {one['model_rouge_l']:.2f}, difference {signed(one['difference'])}"
        )
        if one["same"] == one["items"]:
            head = f"**Every answer of {one['model']} is the base's: the adapter does nothing, or wasn't applied.** {head}"
        if one["low"] is None:
            blocks.append(f"{head}. One task is too few for an interval.")
            continue
        if one["low"] <= 0 <= one["high"]:
            verdict = "The interval holds 0: these tasks don't tell which model is closer to the references."
        else:
            closer = one["model"] if one["low"] > 0 else one["base"]
            verdict = f"The interval leaves out 0: on tasks like these, {closer} is closer to the references."
        blocks.append(f"{head} [{signed(one['low'])}, {signed(one['high'])}]. {verdict}")
    if not blocks:
        only = f"**base** on {_tasks(tree)}: ROUGE-L {tree['models'][0]['rouge_l']:.2f}"
        blocks.append(f"{only}. No adapter was compared.")
    return blocks


def _results(tree: dict[str, Any]) -> list[str]:
    models, suite = tree["models"], tree["suite"]
    rows = [
        ["ROUGE-L F1, mean times 100", *(number(m["rouge_l"], 2) for m in models)],
        ["exact match, %", *(number(m["exact_match"], 2) for m in models)],
        ["empty answers, %", *(number(m["empty_percent"], 1) for m in models)],
        [f"stopped by the limit of {suite['max_tokens']:,} tokens, %", *(number(m["hit_limit_percent"], 1) for m in models)],
        ["mean length of an answer, words", *(number(m["mean_words"], 1) for m in models)],
        ["missing answers, scored as empty", *(number(m["missing"]) for m in models)],
        ["tasks", *(number(m["items"]) for m in models)],
    ]
    blocks = ["## Results", table(["", *(m["model"] for m in models)], rows)]
    if tree["comparisons"]:
        blocks += [
            table(
                ["model", "ROUGE-L minus base", "95 % interval", "wins", "ties", "losses", "same answer", "exact match minus base"],
                [
                    [
                        one["model"],
                        signed(one["difference"]),
                        NONE if one["low"] is None else f"{signed(one['low'])} to {signed(one['high'])}",
                        *(number(one[name]) for name in ("wins", "ties", "losses", "same")),
                        signed(one["exact_match_difference"]),
                    ]
                    for one in tree["comparisons"]
                ],
            ),
            f"Interval: paired percentile bootstrap over the tasks, {tree['bootstrap_draws']:,} draws. "
            "Wins, ties and losses count tasks by ROUGE-L; same answer: to the letter.",
        ]
    if suite["cut_inputs"]:
        blocks.append(f"{suite['cut_inputs']:,} of {suite['items']:,} inputs were cut at their end to fit the model's context.")
    speed = tree["answering"]
    blocks.append(
        f"Answering: {speed['requests']:,} requests, {speed['output_tokens']:,} output tokens in {speed['seconds']:,.1f} s"
        f" ({number(speed['output_tokens_per_s'], 1)} tokens/s, all models together, without the engine's start)."
    )
    return blocks


def _figures(tree: dict[str, Any]) -> list[str]:
    if tree["figures"] is None:
        return ["No plots: matplotlib isn't installed (extra `report`)."]
    return [f"![{plot['alt']}]({plot['file']})" for plot in tree["figures"]]


def _data(data: dict[str, Any] | None) -> list[str]:
    if data is None:
        return ["## Data", "Not run: the run folder holds no finished generate stage."]
    blocks = [
        "## Data",
        table(
            ["counts", "this run", "paper (GPT-3)"],
            [[row["what"], _count(row["ours"]), _count(row["paper"])] for row in data["counts"]],
        ),
    ]
    if data["lengths"]:
        blocks.append(
            table(
                ["length in words", "texts", "mean", "paper's mean", "median", "10th percentile", "90th percentile", "longest"],
                [
                    [
                        row["what"],
                        number(row["texts"]),
                        *(number(row[name], 1) for name in ("mean", "paper_mean", "median", "p10", "p90")),
                        number(row["max"]),
                    ]
                    for row in data["lengths"]
                ],
            )
        )
    if data["rejected"]:
        blocks.append(
            table(
                ["rejected in step", "by rule", "count"],
                [[row["step"], row["rule"], number(row["count"])] for row in data["rejected"]],
                left=2,
            )
        )
    blocks.append(
        f"Engine: {number(data['prompt_tokens'])} prompt tokens, {number(data['output_tokens'])} output tokens, "
        f"{number(data['output_tokens_per_s'], 1)} output tokens/s; of the prompt tokens of steps 2 and 3 "
        f"{number(data['prefix_hit_percent_steps_2_3'], 1)} % came from the prefix cache. Ended by: {data['stopped_by'] or NONE}. "
        "The paper's numbers: Wang et al. 2022, Table 1; its shares are computed from its counts."
    )
    return blocks


def _count(value: float | None) -> str:
    """A count, or a share or ratio with the digits that it was rounded to."""
    return NONE if value is None else f"{value:,}"


def _training(training: dict[str, Any] | None) -> list[str]:
    if training is None:
        return ["## Training", "Not run: the run folder holds no finished train stage."]
    dropped = training["dropped"]
    if isinstance(dropped, dict):
        dropped = ", ".join(f"{name} {number(count)}" for name, count in dropped.items()) or 0
    return [
        "## Training",
        table(
            ["epoch", "mean loss, nats per completion token", "completion tokens", "seconds"],
            [
                [number(e["epoch"]), number(e["loss"], 4), number(e["completion_tokens"]), number(e["seconds"], 1)]
                for e in training["epochs"]
            ],
        ),
        f"{number(training['examples'])} examples (of seed tasks: {number(training['seed_examples'])}; "
        f"dropped: {number(dropped)}), {number(training['steps'])} steps, "
        f"{number(training['trainable_parameters'])} trainable parameters, "
        f"{training['dtype'] or NONE} ({training['dtype_reason'] or NONE}), "
        f"{number(training['completion_tokens_per_s'], 1)} completion tokens/s.",
    ]


def _examples(tree: dict[str, Any]) -> list[str]:
    if not tree["examples"]:
        return []
    blocks = [
        "## Example outputs",
        f"{len(tree['examples']):,} of {tree['suite']['items']:,} tasks, drawn by the run's seed, not by their scores. "
        "All answers are in `answers.jsonl`.",
    ]
    for position, example in enumerate(tree["examples"], start=1):
        group = " ".join(_CONTROL.sub(" ", example["group"]).split())
        blocks += [f"### {position}. {group} ({code(example['id'])})", "Instruction", fenced(example["instruction"])]
        if example["input"]["text"].strip():
            blocks += ["Input", fenced(example["input"])]
        for reference in example["references"]:
            blocks += ["Reference", fenced(reference)]
        for answer in example["answers"]:
            limit = ", stopped by the token limit" if answer["hit_limit"] else ""
            blocks += [f"**{answer['model']}** (ROUGE-L {answer['rouge_l']:.2f}{limit})", fenced(answer)]
    return blocks


def _provenance(tree: dict[str, Any]) -> list[str]:
    model, origin = tree["model"], tree["provenance"]
    machine, git = origin["hardware"], origin["git"]
    computer = [machine["processor"], f"{machine['cores']} cores", f"{machine['memory_gib']} GiB", *(machine["gpus"] or ["no GPU"])]
    rows = [
        ["model", f"{code(model['reference'])}, {model['source']}, {model['architecture']}"],
        ["model's fingerprint", code(model["fingerprint"])],
        *([f"adapter of {name}", code(path)] for name, path in origin["adapters"].items()),
        *([f"hash of {name}", code(digest)] for name, digest in origin["inputs"].items() if name != "model"),
        ["versions", ", ".join(f"{name} {version}" for name, version in origin["versions"].items())],
        ["code", f"commit {git['commit'] or 'none'}{', with changes' if git['dirty'] else ''}" if git else "an installed package"],
        ["machine", ", ".join([*computer, machine["system"]])],
        ["seed", str(origin["seed"])],
        [
            "determinism",
            f"{origin['determinism']}: prompts, order, draws and scores follow from the seed; "
            "a real engine may answer differently in rare near-ties",
        ],
    ]
    blocks = ["## Provenance", table(["what", "value"], rows, left=2)]
    stages = [
        [one["stage"], one["started"], code(one["arguments"]) if one["arguments"] else NONE, number(one["seconds"], 1)]
        for one in origin["stages"]
    ]
    blocks.append(table(["stage", "started (UTC)", "arguments", "seconds"], stages, left=3))
    changed = [[row["setting"], code(str(row["value"])), row["origin"]] for row in origin["settings"]]
    if changed:
        blocks.append(table(["setting other than the default", "value", "from"], changed, left=3))
    return blocks


def _limitations(tree: dict[str, Any]) -> list[str]:
    return [
        "## What these numbers don't say",
        "- ROUGE-L counts words shared with one reference. It stands in for a person's judgement: a good answer in other words "
        "scores low, and a fluent wrong one may score high. Read the examples.\n"
        f"- All of it rests on {_tasks(tree)}, with one answer of each model. The interval covers the choice of the tasks only, "
        "not another seed, another training run or another prompt.\n"
        "- The paper's numbers come from another, far larger model and from people's ratings; they are here for orientation.",
    ]
