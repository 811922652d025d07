"""vLLM's counters and gauges out of the text that its server's `/metrics` answers.

Knows the format of Prometheus' text exposition, and no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

PREFIX = "vllm:"
_SAMPLE = re.compile(r"^(\S+?)(?:\{.*\})? (\S+)")


def parse(text: str) -> tuple[dict[str, float], dict[str, float]]:
    """Counters and gauges whose names begin with `vllm:`, summed over labels; without histograms and creation times.

    Raises ValueError where a value is no number.
    """
    kinds: dict[str, str] = {}
    counters: dict[str, float] = {}
    gauges: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            kinds[name] = kind.strip()
        elif line.startswith(PREFIX) and (found := _SAMPLE.match(line)):
            name = found[1]
            totals = {"counter": counters, "gauge": gauges}.get(kinds.get(name, ""))
            if totals is not None and not name.endswith(("_created", "_info")):
                totals[name] = totals.get(name, 0.0) + float(found[2])
    return counters, gauges


class Counters:
    """The counters of one server since `start`, which go on where the server was restarted and counts from zero."""

    def __init__(self) -> None:
        self.started = False
        self._last: dict[str, float] = {}
        self.grown: dict[str, float] = {}
        self.gauges: dict[str, float] = {}

    def start(self, text: str) -> None:
        """What was counted until now isn't ours."""
        self._last, self.gauges = parse(text)
        self.started = True
        self.grown = dict.fromkeys(self._last, 0.0)

    def update(self, text: str) -> None:
        """Read the server's counters again."""
        found, self.gauges = parse(text)
        for name, value in found.items():
            last = self._last.get(name, 0.0)
            self.grown[name] = self.grown.get(name, 0.0) + (value - last if value >= last else value)
        self._last = found


def total(servers: Sequence[Counters]) -> dict[str, float]:
    """Sums over the servers; of shares, whose names end in `_perc`, the mean."""
    sums: dict[str, float] = {}
    for server in servers:
        for name, value in (server.grown | server.gauges).items():
            sums[name] = sums.get(name, 0.0) + value
    for name in sums:
        if name.endswith("_perc"):
            sums[name] /= sum(name in server.gauges for server in servers)
    return sums
