"""`generate plan`: from a trial of a few requests to the requests, tokens, time and disk that a whole run takes.

Knows neither engine nor folders; it is given what the trial came to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from self_instruct.errors import DataError
from self_instruct.generate import session
from self_instruct.generate.yields import Curve
from self_instruct.runlog import duration
from self_instruct.settings import GenerateSettings

REQUESTS = 32  # bootstrapping requests of the trial
GIB = 2**30
STEP_1 = "bootstrap-"
SHORTEST_S = 1e-3  # the journal's times are rounded to it


def predict(
    generate: GenerateSettings,
    curve: Curve,
    records: Iterable[session.Record],
    *,
    product_bytes: int,
    rejected_bytes: int,
    most_open: int,
    most_running: int,
) -> dict[str, Any]:
    """What a run with these settings takes, from a trial's acceptance curve and completions.

    `product_bytes`: size of what the trial derived from its journal, `rejected_bytes`: of these the rejected rows'.
    `most_open`: requests that the trial had open at once, `most_running`: those that the engine can run. Step 1 and the
    rejected rows grow with the requests, steps 2 and 3 and the other products with the accepted instructions. Raises
    DataError where the trial accepted nothing.
    """
    listed = list(records)
    first = [record for record in listed if record["id"].startswith(STEP_1)]
    rest = [record for record in listed if not record["id"].startswith(STEP_1)]
    (spent,) = session.work(listed)
    most = generate.max_requests * curve.counted / len(first)
    end = curve.forecast(target=generate.target_instructions, min_acceptance=generate.min_acceptance, most=most)
    if end is None or not spent["output_tokens"]:
        raise DataError("the trial accepted nothing: there is nothing to plan with", hint="try another model or more seeds")
    requests = math.ceil(end.counted / curve.counted * len(first))
    accepted = min(round(end.accepted), generate.target_instructions)

    def whole(counts: Iterable[tuple[float, bool]]) -> int:
        """The sum over the run of something known for each record of the trial: (value, whether of step 1)."""
        return round(sum(value * (requests / len(first) if is_first else accepted / curve.accepted) for value, is_first in counts))

    of_step = [(record, True) for record in first] + [(record, False) for record in rest]
    output = whole((record["output_tokens"], is_first) for record, is_first in of_step)
    journal_bytes = whole((_bytes(record), is_first) for record, is_first in of_step)
    products = whole(((product_bytes - rejected_bytes, False), (rejected_bytes, True)))
    rate = _rate(listed)
    return {
        "requests": requests,
        "requests_at_constant_acceptance": math.ceil(generate.target_instructions / curve.accepted * len(first)),
        "completions": whole((1, is_first) for _, is_first in of_step),
        "accepted": accepted,
        "ends_by": end.ends_by,
        "prompt_tokens": whole((record["prompt_tokens"], is_first) for record, is_first in of_step),
        "output_tokens": output,
        "seconds": round(output / rate, 1),
        "disk_bytes": journal_bytes + products,
        "trial": {
            "requests": len(first),
            "candidates": curve.candidates,
            "accepted": curve.accepted,
            "exponent": round(curve.exponent, 4),
            "seconds": spent["seconds"],
            "output_tokens_per_s": round(rate, 1),
            "most_open": most_open,
            "most_running": most_running,
        },
    }


def _rate(records: list[session.Record]) -> float:
    """Output tokens per second in the middle half of the trial's time, or over all of it where that is more.

    A trial is so short that much of it is ramp-up, with few requests open, and drain. An answer's tokens count as written
    evenly from its request on.
    """
    begin, end = min(record["asked_s"] for record in records), max(record["answered_s"] for record in records)
    quarter = (end - begin) / 4

    def rate(start: float, stop: float) -> float:
        tokens = 0.0
        for record in records:
            asked, answered = record["asked_s"], max(record["answered_s"], record["asked_s"] + SHORTEST_S)
            tokens += record["output_tokens"] * max(min(answered, stop) - max(asked, start), 0.0) / (answered - asked)
        return tokens / max(stop - start, SHORTEST_S)

    return max(rate(begin + quarter, end - quarter), rate(begin, max(end, begin + SHORTEST_S)))


def _bytes(record: session.Record) -> int:
    return len(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def describe(plan: dict[str, Any]) -> list[str]:
    """The prediction and its assumptions in sentences."""
    trial = plan["trial"]
    lines = [
        f"{plan['accepted']} instructions from about {plan['requests']} bootstrapping requests, {plan['completions']} completions "
        f"in all; it would end by {plan['ends_by']}",
        f"about {duration(plan['seconds'])} without the engine's start, {plan['prompt_tokens']} prompt tokens, "
        f"{plan['output_tokens']} output tokens, {plan['disk_bytes'] / GIB:.2g} GiB on disk",
        f"assumed: accepted grows as candidates^{trial['exponent']}, as in the second half of the trial ({trial['accepted']} of "
        f"{trial['candidates']} candidates); at the trial's own acceptance it would be "
        f"{plan['requests_at_constant_acceptance']} requests",
        f"assumed: {trial['output_tokens_per_s']} output tokens/s, as in the middle half of the trial's time, and completions as "
        "long as its own",
    ]
    if trial["most_open"] < trial["most_running"]:
        lines.append(
            f"the trial had at most {trial['most_open']} requests open, and the engine runs {trial['most_running']}: the time is "
            "likely to be less"
        )
    return lines
