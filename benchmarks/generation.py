"""Generation on the real vLLM: is it full, is it as fast as its own offline batch, what its prefix cache holds, and the whole
of steps 1 to 4 against the authors' order of work.

Run: `python benchmarks/generation.py`, some 18 minutes on 2 cores with the embedded model; `--part` takes one half. All of a
part is measured in one run on one machine: compare nothing across runs.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reporting import heading, table, target
from watching import HITS, OUTPUT, QUERIES, Asked, Phase, Sample, Watched, busy_s, cacheable, steady

from self_instruct import engine_vllm, engines, hardware, models, runlog
from self_instruct.choices import split
from self_instruct.engine import Engine
from self_instruct.generate import inputs, session
from self_instruct.generate.pipeline import Result
from self_instruct.loading import load
from self_instruct.settings import Settings

LEAST_FULL, LEAST_OF_OFFLINE, LEAST_HITS, LEAST_FASTER = 0.95, 0.95, 0.95, 3.0  # the targets (ours)
ORDER = "configs/authors-order.yaml"
STEPS = {"bootstrap": "1 instructions", "classify": "2 classification", "instances": "3 instances"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--part", choices=("steady", "order", "all"), default="all", help="what to measure (default: all)")
    parser.add_argument("--config", default="configs/demo.yaml", metavar="FILE", help="model and limits (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a setting, in all runs")
    parser.add_argument("--max-num-seqs", type=int, default=16, metavar="N", help="sequences at once (default: 16)")
    parser.add_argument(
        "--times", type=int, default=10, metavar="N", help="steady: bootstrapping requests, in max_num_seqs (default: 10)"
    )
    parser.add_argument("--target", type=int, default=150, metavar="N", help="order: instructions wanted (default: 150)")
    parser.add_argument("--keep", metavar="DIR", help="leave the runs' folders and engine logs there")
    arguments = parser.parse_args()
    runlog.configure()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.part != "order":
            steady_state(arguments, folder)
        if arguments.part != "steady":
            orders(arguments, folder)


def settings_of(arguments: argparse.Namespace, configs: list[str], **generate: float) -> Settings:
    """The config with the flags and the given `generate` settings; it keeps the limits of tokens."""
    fixed = [f"run.engine.max_num_seqs={arguments.max_num_seqs}", *(f"generate.{k}={v}" for k, v in generate.items())]
    return load([arguments.config, *configs], [*fixed, *arguments.overrides]).settings


def measured(settings: Settings, folder: Path) -> tuple[Watched, Result]:
    """One run of steps 1 to 4 in `folder`, journal and all, on a fresh engine that is watched."""
    if folder.exists():
        raise SystemExit(f"error: {folder}: exists already\nhint: name another folder with --keep")
    folder.mkdir(parents=True)
    model = engines.resolve_model(settings)
    given = inputs.load(settings, inputs.sources(settings), min(model.context, settings.model.max_length))
    watched: list[Watched] = []

    async def start() -> Engine:
        watched.append(Watched(engine=await engines.open_engine(model, settings, log_path=folder / "engine.log")))
        return watched[0]

    def counter() -> Callable[[str], int]:
        return engines.token_counter(model, settings)

    result = asyncio.run(session.run(folder, given, start, counter)).result
    return watched[0], result


# Parts (a) to (c): a long run, its steady state, and the same prompts as vLLM's own batch.
def steady_state(arguments: argparse.Namespace, folder: Path) -> None:
    most = arguments.max_num_seqs
    settings = settings_of(
        arguments, [], target_instructions=10**9, max_requests=arguments.times * most, min_acceptance=0, lag=1024
    )
    watched, result = measured(settings, folder / "steady")
    try:
        phase = steady(watched.samples, most, last_sent_s(watched))
    except ValueError as error:
        raise SystemExit(f"error: {error}\nhint: raise --times, or lower --max-num-seqs") from None
    inside = [one for one in watched.answered() if one.step in STEPS and phase.begun_s <= one.ended_s <= phase.ended_s]
    batch, offline = offline_batch(settings, inside, folder)
    other = steady(batch, most)

    full = phase.running / most
    heading(f"Generation: steady state, max_num_seqs {most}, {result.requests} bootstrapping requests")
    print(f"{len(result.instructions)} instructions and {len(result.instances)} instances from {len(watched.answered())} answers\n")
    table(
        ("steady state", "seconds", "of", "sequences running, mean", "share of max_num_seqs", "output tokens/s", "target"),
        [
            (*row("self-instruct", phase, watched.seconds, most), target(full >= LEAST_FULL, f">= {LEAST_FULL:.0%} running")),
            (*row("vLLM's offline batch", other, offline["seconds"], most), None),
        ],
    )
    share = phase.output_tokens_per_s / other.output_tokens_per_s
    whole = (watched.samples[-1].counters[OUTPUT] / watched.seconds) / (offline["output_tokens"] / offline["seconds"])
    table(
        ("output tokens/s, ours / offline", "ratio", "target"),
        [
            ("steady state", share, target(share >= LEAST_OF_OFFLINE, f">= {LEAST_OF_OFFLINE}")),
            ("whole run / whole batch, ramps included", whole, None),
        ],
    )
    print(
        f"The offline batch: the {len(inside)} requests answered in the steady state, in the order of their sending, each with "
        f"as many output tokens as the run's answer ({offline['output_tokens']:,.0f} in all), all handed over at once.\n"
    )
    prefix_cache(settings, watched)


def row(name: str, phase: Phase, seconds: float, most: int) -> tuple[object, ...]:
    return (name, phase.seconds, seconds, phase.running, f"{phase.running / most:.1%}", phase.output_tokens_per_s)


def last_sent_s(watched: Watched) -> float:
    return max(one.sent_s for one in watched.asked if one.step == "bootstrap")


def offline_batch(settings: Settings, asked: list[Asked], folder: Path) -> tuple[list[Sample], dict[str, float]]:
    """The same prompts with the same lengths through `LLM.generate`, in a child process with the run's engine arguments."""
    arguments, cuda = engine_arguments(settings)
    del arguments["scheduling_policy"]  # first come, first served, as `LLM` does by itself
    requests: list[dict[str, Any]] = [
        {
            "prompt": one.request.prompt,
            "choices": one.request.choices,
            "sampling": dataclasses.asdict(one.request.sampling),
            "output_tokens": one.completion.output_tokens,
        }
        for one in sorted(asked, key=lambda one: one.sent_s)
        if one.completion is not None and one.completion.output_tokens
    ]
    job, made = folder / "offline.json", folder / "offline-result.json"
    job.write_text(json.dumps({"engine": arguments, "requests": requests}), encoding="utf-8")
    runlog.log.info("vLLM's offline batch over %d requests is next", len(requests))
    with (folder / "offline.log").open("wb") as log_file:
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("offline_batch.py")), str(job), str(made)],
            env=engine_vllm.environment(settings, cuda=cuda),
            stdout=log_file,
            stderr=log_file,
            check=True,
        )
    result = json.loads(made.read_text(encoding="utf-8"))
    wanted = sum(request["output_tokens"] for request in requests)
    assert result["output_tokens"] == wanted, f"{result['output_tokens']} output tokens instead of {wanted}"
    return [Sample(at_s=at_s, counters=counters) for at_s, counters in result.pop("samples")], result


def engine_arguments(settings: Settings) -> tuple[dict[str, Any], bool]:
    """What the run's vLLM was started with, and whether on a GPU; as `engine_vllm` decides it."""
    found = [] if engine_vllm.is_cpu_build() else hardware.gpus()
    dtype, _ = hardware.choose_dtype(settings.model.dtype, found=found)
    model = engines.resolve_model(settings)
    return engine_vllm.engine_arguments(model, settings, (), dtype, cuda=bool(found)), bool(found)


def prefix_cache(settings: Settings, watched: Watched) -> None:
    """Prompt tokens of steps 2 and 3 that came from the cache, and what whole blocks allow at most."""
    model = engines.resolve_model(settings)
    tokenizer = models.load_tokenizer(model.path)
    block = engine_arguments(settings)[0].get("block_size", 16)  # vLLM's own on CUDA: 16

    def ids(one: Asked) -> list[int]:
        if one.request.choices:
            return split(lambda text: tokenizer(text).input_ids, one.request.prompt, one.request.choices)[0]
        return list(tokenizer(one.request.prompt).input_ids)

    warmed = [ids(one) for one in watched.answered() if one.step not in STEPS]
    rows: list[tuple[object, ...]] = []
    for steps in (("classify",), ("instances",), ("classify", "instances")):
        asked = [one for one in watched.answered() if one.step in steps]
        prompts = [ids(one) for one in asked]
        tokens = sum(map(len, prompts))
        cached = sum((one.completion.cached_tokens or 0) for one in asked if one.completion)
        allowed = cacheable(prompts, block, warmed) / tokens
        wanted = min(LEAST_HITS, allowed - 0.01)
        verdict = target(cached / tokens >= wanted, f">= {wanted:.1%}") if len(steps) > 1 else None
        name = " and ".join(STEPS[step] for step in steps)
        rows.append((name, len(asked), tokens / len(asked), f"{cached / tokens:.1%}", f"{allowed:.1%}", verdict))
    print(f"Prefix cache, blocks of {block} tokens:\n")
    table(("step", "requests", "prompt tokens, mean", "from the cache", "whole blocks allow", "target"), rows)
    total = sum((one.completion.cached_tokens or 0) for one in watched.asked if one.completion)
    counters = watched.samples[-1].counters
    print(
        f"vLLM's counters over all steps: {counters[HITS]:,.0f} of {counters[QUERIES]:,.0f} prompt tokens from the cache "
        f"({total:,} in the answers; a cancelled request is in the counters alone).\n"
    )


# Part (d): the same instructions wanted, in our order and in the authors'.
def orders(arguments: argparse.Namespace, folder: Path) -> None:
    runs: dict[str, Watched] = {}
    rows: list[tuple[object, ...]] = []
    parts: list[tuple[object, ...]] = []
    for name, configs, lag in (("self-instruct", [], {"lag": 1024}), ("the authors' order", [ORDER], {})):
        settings = settings_of(arguments, configs, target_instructions=arguments.target, max_requests=10**6, **lag)
        watched, result = measured(settings, folder / name.replace(" ", "-").replace("'", ""))
        runs[name] = watched
        answered = watched.answered()
        output = sum(one.completion.output_tokens for one in answered if one.completion)
        whole = Phase(samples=watched.samples)
        made = (result.requests, len(result.instructions), len(result.instances), len(answered), output)
        rows.append((name, watched.seconds, *made, whole.running, output / watched.seconds))
        for step, title in STEPS.items():
            of_it = [one for one in watched.asked if one.step == step]
            tokens = [one.completion for one in of_it if one.completion]
            parts.append(
                (
                    name,
                    title,
                    len(tokens),
                    busy_s((one.sent_s, one.ended_s) for one in of_it),
                    sum(one.prompt_tokens - (one.cached_tokens or 0) for one in tokens),
                    sum(one.output_tokens for one in tokens),
                )
            )
    ratio = runs["the authors' order"].seconds / runs["self-instruct"].seconds
    heading(f"Generation: steps 1 to 4, {arguments.target} instructions, max_num_seqs {arguments.max_num_seqs}")
    columns = (
        "order of work", "seconds", "step 1 requests", "instructions", "instances", "answers", "output tokens",
        "sequences running, mean", "output tokens/s",
    )  # fmt: skip
    table(columns, rows)
    table(("", "ratio", "target"), [("seconds, authors' / ours", ratio, target(ratio >= LEAST_FASTER, f">= {LEAST_FASTER}"))])
    print("Where the time goes. Seconds with a request of the step open; in our order the steps overlap:\n")
    table(("order of work", "step", "answers", "seconds", "prompt tokens computed", "output tokens"), parts)


if __name__ == "__main__":
    main()
