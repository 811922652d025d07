"""vLLM's own offline batch, `LLM.generate`, over given prompts and answer lengths, all handed over at once.

A child of generation.py, in a process of its own. argv: a file with the job and one for the result, both JSON. The job:
`engine` (arguments of `LLM`), `requests` (`prompt`, `choices`, `sampling`, `output_tokens`). The result: `samples` (pairs of
`at_s` and counters), `seconds` and `output_tokens`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from watching import SAMPLE_EVERY_S

from self_instruct import choices


def main() -> None:
    from vllm import LLM, SamplingParams

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    llm = LLM(**job["engine"])
    tokenizer = llm.get_tokenizer()
    prompts: list[Any] = []
    params = []
    for request in job["requests"]:
        if request["choices"]:
            ids, allowed = choices.split(lambda text: tokenizer(text).input_ids, request["prompt"], request["choices"])
            params.append(
                SamplingParams(
                    max_tokens=1, temperature=0, allowed_token_ids=allowed, logprobs=len(allowed), logprob_token_ids=allowed
                )
            )
        else:
            ids = tokenizer(request["prompt"]).input_ids
            # As long as the run's answer, whatever it says: no stop strings, no end-of-text.
            sampling = {k: v for k, v in request["sampling"].items() if v is not None and k not in ("stop", "max_tokens")}
            params.append(SamplingParams(**sampling, max_tokens=request["output_tokens"], ignore_eos=True))
        prompts.append({"prompt_token_ids": ids})

    samples: list[tuple[float, dict[str, float]]] = []
    over = threading.Event()

    def sample() -> None:
        while not over.is_set():
            samples.append((time.monotonic(), counters(llm)))
            over.wait(SAMPLE_EVERY_S)
        samples.append((time.monotonic(), counters(llm)))

    sampler = threading.Thread(target=sample)
    begun = time.monotonic()
    sampler.start()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    seconds = time.monotonic() - begun
    over.set()
    sampler.join()
    result = {
        "samples": samples,
        "seconds": seconds,
        "output_tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
    llm.llm_engine.engine_core.shutdown()  # left to the garbage collector it can hang for a minute


def counters(llm: Any) -> dict[str, float]:
    """vLLM's counters and gauges, the counters under the names that Prometheus gives them."""
    from vllm.v1.metrics.reader import Counter, Gauge

    found: dict[str, float] = {}
    for metric in llm.get_metrics():
        if isinstance(metric, Counter | Gauge):
            name = f"{metric.name}_total" if isinstance(metric, Counter) else metric.name
            found[name] = found.get(name, 0.0) + metric.value
    return found


if __name__ == "__main__":
    main()
