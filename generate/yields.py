"""When a run ends, how its acceptance falls, and the counts by step and rule.

Knows nothing of prompts or engines.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from self_instruct.records import Rejection
from self_instruct.settings import GenerateSettings


class Yield:
    """Counts candidates as they are committed. `stopped_by` is empty while the run goes on."""

    def __init__(self, settings: GenerateSettings) -> None:
        self._settings = settings
        self._window: deque[bool] = deque(maxlen=settings.acceptance_window)
        self.candidates = self.accepted = 0
        self.stopped_by = ""

    def count(self, *, accepted: bool, candidate: bool = True) -> None:
        """Count one candidate. A completion without any (`candidate` false) counts in the acceptance as one rejected."""
        self.candidates += candidate
        self.accepted += accepted
        self._window.append(accepted)
        if self.accepted >= self._settings.target_instructions:
            self.stopped_by = "target_instructions"
        elif len(self._window) == self._window.maxlen and self.acceptance < self._settings.min_acceptance:
            self.stopped_by = "min_acceptance"

    @property
    def acceptance(self) -> float:
        """Share of accepted candidates over the last `acceptance_window`; 0 before the first."""
        return sum(self._window) / len(self._window) if self._window else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Where a run is likely to end: after how many that the curve counts, with how many accepted, and by which setting."""

    counted: float
    accepted: float
    ends_by: str


class Curve:
    """How many were accepted after each candidate, and how that goes on.

    A completion without any counts here as one rejected, as in `Yield`, but isn't one of the `candidates`.

    The pool fills up, so that each further instruction costs more candidates. Ours to choose: accepted = k · counted^b,
    the law by which a text's vocabulary grows (Heaps); b, at most 1, comes from the last doubling of the count, and k
    from where the curve stands. With b = 1 the acceptance stays as it is.
    """

    def __init__(self) -> None:
        self._accepted = array("I", [0])
        self.candidates = 0

    def count(self, accepted: bool, *, candidate: bool = True) -> None:
        self._accepted.append(self._accepted[-1] + accepted)
        self.candidates += candidate

    @property
    def counted(self) -> int:
        return len(self._accepted) - 1

    @property
    def accepted(self) -> int:
        return self._accepted[-1]

    def acceptance(self, window: int) -> float:
        """Share of accepted candidates over the last `window`; 0 before the first."""
        taken = min(window, self.counted)
        return (self.accepted - self._accepted[self.counted - taken]) / taken if taken else 0.0

    def over(self, settings: GenerateSettings) -> bool:
        """Whether these counts have ended the run, by the two settings that `Yield` looks at."""
        window = settings.acceptance_window
        dry = self.counted >= window and self.acceptance(window) < settings.min_acceptance
        return dry or self.accepted >= settings.target_instructions

    @property
    def exponent(self) -> float:
        """The b above."""
        half = self.counted // 2
        before = self._accepted[half]
        if not before:
            return 1.0
        return min(1.0, math.log(self.accepted / before) / math.log(self.counted / half))

    def forecast(self, *, target: int, min_acceptance: float, most: float = math.inf) -> Forecast | None:
        """The first of: `target` accepted, the curve's slope under `min_acceptance`, `most` counted. None without data."""
        if not self.accepted:
            return None
        now, b = float(self.counted), self.exponent
        ends = [(most, "max_requests")]
        # Where the slope b · k · counted^(b - 1) falls to the floor; with b = 1 it never does.
        slope = b * self.accepted / now
        if min_acceptance and slope <= min_acceptance:
            ends.append((now, "min_acceptance"))
        elif min_acceptance and b < 1:
            ends.append((_grown(now, min_acceptance / slope, 1 / (b - 1)), "min_acceptance"))
        if b > 0 or target <= self.accepted:
            ends.append((_grown(now, target / self.accepted, 1 / b) if target > self.accepted else now, "target_instructions"))
        # Of equals the target, as in `Yield`.
        counted, ends_by = min(reversed(ends), key=lambda end: end[0])
        return Forecast(counted=counted, accepted=_grown(self.accepted, counted / now, b), ends_by=ends_by)


def _grown(start: float, factor: float, power: float) -> float:
    """start · factor^power, infinite where floats end."""
    try:
        return float(start * factor**power)
    except OverflowError:
        return math.inf


def by_rule(rejections: Iterable[Rejection]) -> dict[str, dict[str, int]]:
    """Counts of rejections by step and rule, both in alphabetical order."""
    return nested(Counter((rejection.step, rejection.rule) for rejection in rejections))


def nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counts by (step, rule) as nested mappings, both in alphabetical order."""
    table: dict[str, dict[str, int]] = {}
    for step, rule in sorted(counts):
        table.setdefault(step, {})[rule] = counts[step, rule]
    return table


def sentence(table: dict[str, dict[str, int]]) -> str:
    """The counts in one line."""
    return "; ".join(f"{step}: {', '.join(f'{rule} {n}' for rule, n in rules.items())}" for step, rules in table.items()) or "none"


def dried_up(settings: GenerateSettings, accepted: int) -> str:
    """What to say when `min_acceptance` ended the run."""
    return (
        f"novelty dried up: less than {settings.min_acceptance:.1%} of the last {settings.acceptance_window} candidates were "
        "accepted (generate.min_acceptance). The corpus holds "
        f"{accepted} of the {settings.target_instructions} instructions wanted; another model or more seeds bring more"
    )
