"""When a run ends, and the counts by step and rule.

Knows nothing of prompts or engines.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

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


def by_rule(rejections: Iterable[Rejection]) -> dict[str, dict[str, int]]:
    """Counts of rejections by step and rule, both in alphabetical order."""
    counts = Counter((rejection.step, rejection.rule) for rejection in rejections)
    table: dict[str, dict[str, int]] = {}
    for step, rule in sorted(counts):
        table.setdefault(step, {})[rule] = counts[step, rule]
    return table


def sentence(table: dict[str, dict[str, int]]) -> str:
    """The counts in one line."""
    return "; ".join(f"{step}: {', '.join(f'{rule} {n}' for rule, n in rules.items())}" for step, rules in table.items()) or "none"
