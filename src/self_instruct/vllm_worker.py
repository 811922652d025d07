"""The child process that runs vLLM's AsyncLLM; the only module that imports vLLM.

Knows nothing of runs and stages: JSON lines come in on stdin and go out on stdout, one object a line.
In: `start` (once), then `generate`, `abort`, `metrics`, `close`. Out: `ready`, `completion`, `failed`, `metrics`, `fatal`.
End of stdin means that the parent is gone: the engine stops then too, so that no orphan holds the device.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
import threading
import time
from typing import Any

from self_instruct import choices
from self_instruct.tokenizing import HeadTokenizer

PARENT_CHECK_S = 1.0
GRACE_S = 20.0


class Worker:
    """One engine and the requests that are open on it."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._adapters: dict[str, Any] = {}

    def send(self, event: str, **values: Any) -> None:
        line = (json.dumps({"event": event, **values}) + "\n").encode()
        while line:
            line = line[os.write(self._out, line) :]

    def start(self, message: dict[str, Any]) -> None:
        """Build engine and tokenizer from the keyword arguments in `engine`."""
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.async_llm import AsyncLLM

        self._tokenize = HeadTokenizer(AutoTokenizer.from_pretrained(message["engine"]["model"]))
        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**message["engine"]))
        for number, path in enumerate(message["adapters"], start=1):
            self._adapters[path] = LoRARequest(f"adapter-{number}", number, path)
        self.send("ready")

    async def serve(self) -> None:
        reader = asyncio.StreamReader(limit=2**30)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        try:
            while line := await reader.readline():
                message = json.loads(line)
                match message["op"]:
                    case "start":
                        self.start(message)
                    case "generate":
                        task = asyncio.create_task(self._answer(message))
                        self._tasks[message["id"]] = task
                        task.add_done_callback(functools.partial(self._forget, message["id"]))
                    case "abort":
                        if message["id"] in self._tasks:
                            self._tasks[message["id"]].cancel()  # AsyncLLM then aborts the request
                    case "metrics":
                        self.send("metrics", values=_counters())
                    case "close":
                        break
        except Exception as error:
            self.send("fatal", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            if hasattr(self, "_engine"):
                self._engine.shutdown()

    def _forget(self, identity: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(identity, None)

    async def _answer(self, message: dict[str, Any]) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            self.send("completion", **await self._complete(message))
        except EngineDeadError as error:
            self.send("fatal", error=f"the engine died: {error}")
        except Exception as error:  # vLLM has error types of its own for refused requests; the parent must hear of all
            self.send("failed", request_id=message["id"], error=f"{type(error).__name__}: {error}")

    async def _complete(self, message: dict[str, Any]) -> dict[str, Any]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling, wanted, scored = message["sampling"], message["choices"], message["scored"]
        if scored:  # vLLM has to give one new token; the prefix cache, which has no scores, is left aside then
            ids, allowed = scored, list[int]()
            params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1)
        elif wanted:
            ids, allowed = choices.split(self._tokenize, message["prompt"], wanted)
            params = SamplingParams(
                max_tokens=1, temperature=0, allowed_token_ids=allowed, logprobs=len(allowed), logprob_token_ids=allowed
            )
        else:
            ids, allowed = self._tokenize(message["prompt"]), []
            params = SamplingParams(**{k: v for k, v in sampling.items() if v is not None})
        params.output_kind = RequestOutputKind.FINAL_ONLY
        final = None
        async for output in self._engine.generate(
            {"prompt_token_ids": ids},
            params,
            message["id"],
            lora_request=self._adapters[message["adapter"]] if message["adapter"] else None,
            priority=message["priority"],
        ):
            final = output
        if final is None or final.outputs[0].finish_reason not in ("stop", "length"):
            raise ValueError(f"ended without an answer ({final.outputs[0].finish_reason if final else 'no output'})")
        answer = final.outputs[0]
        reply = {
            "request_id": message["id"],
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "prompt_tokens": len(ids),
            "output_tokens": len(answer.token_ids),
            "choice_logprobs": [],
            "logprobs": [],
            "likeliest": [],
            "cached_tokens": final.num_cached_tokens,
        }
        if wanted:
            assert isinstance(answer.logprobs, list), "flat_logprobs is off"
            scores = choices.normalized([answer.logprobs[0][token].logprob for token in allowed])
            reply |= {"choice_logprobs": scores, "text": wanted[scores.index(max(scores))], "finish_reason": "stop"}
        if scored:
            places = final.prompt_logprobs[1:]  # of each place: by token, the one that stands there and the likeliest
            reply["logprobs"] = [place[token].logprob for place, token in zip(places, ids[1:], strict=True)]
            reply["likeliest"] = [next(t for t, found in place.items() if found.rank == 1) for place in places]
        return reply


def _counters() -> dict[str, float]:
    """vLLM's own counters and gauges by name, summed over labels; without histograms and creation times."""
    from prometheus_client import REGISTRY

    totals: dict[str, float] = {}
    for family in REGISTRY.collect():
        if family.name.startswith("vllm:") and family.type in ("counter", "gauge"):
            for sample in family.samples:
                if not sample.name.endswith(("_created", "_info")):
                    totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


def _end_with_parent(parent: int) -> None:
    """End the whole group once the parent is gone: while the engine loads nobody reads stdin to notice it."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    time.sleep(GRACE_S)  # for the orderly end, which the end of stdin starts
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve until `close` or the end of stdin; then leave without waiting for vLLM's finalizers, which can hang."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    out = os.dup(1)
    os.dup2(2, 1)  # whatever vLLM prints goes to the log, never between our lines
    status = 0
    try:
        asyncio.run(Worker(out).serve())
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
