"""Which pairs of models a report shows: of few models all; of many, each against its base and what the paper compares.

Knows the tree alone. A pair has a `model` and a `base`, whatever else it tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from self_instruct.evaluate import roles

Tree = Mapping[str, Any]
MANY = 6  # models; more make 21 pairs and tables of 21 columns, which nobody reads


class Pairs:
    """Of one report. `why_not`: in a comparison without self-instruct, why there is no verdict."""

    def __init__(self, tree: Tree) -> None:
        self._random = {row["row"] for row in tree["matrix"]["rows"] if row["random"]} if "matrix" in tree else set()
        self._roles = {name: one["role"] for name, one in tree.get("models", {}).items()}
        rows = tree["matrix"]["rows"] if "matrix" in tree else None
        self._bases = None if rows is None else {(row["row"], row["against"]) for row in rows}
        own = [row for row in rows or () if row["role"] == roles.SELF_INST]
        why = [f"{row['row']} is {row['state']}: {row['why']}" for row in own if row["why"]]
        self.why_not = None
        if rows is not None:
            self.why_not = why[0] if why else "No row and its base were both measured" if own else "No row is self-instruct"

    def judged(self, suite: Tree, pair: Tree) -> bool:
        """Whether a pair has a verdict: in a comparison self-instruct against its base, and against the seeds alone, which tell
        whether what it wrote itself adds anything; else every model against the first."""
        if self._bases is None:
            return _is_first(suite, pair)
        return self._is_gain(pair) or (self._is_own(pair["model"]) and self._roles.get(pair["base"]) == roles.SEEDS)

    def matters(self, suite: Tree, pair: Tree) -> bool:
        """Whether a pair is shown without asking."""
        of = self._roles.get(pair["model"]), self._roles.get(pair["base"])
        bases = self._bases or set()
        return not is_many(suite) or _is_first(suite, pair) or (pair["model"], pair["base"]) in bases or of in roles.PLANNED

    def plotted(self, suite: Tree, pair: Tree) -> bool:
        """Whether a pair is plotted task by task."""
        if self._bases is not None:
            return self._is_gain(pair)
        return _is_first(suite, pair) and (not is_many(suite) or self._is_own(pair["model"]))

    def columns(self, suite: Tree) -> list[str]:
        """The models that have columns of their own: of many the first and self-instruct, if it is there."""
        names = [one["model"] for one in suite["models"]]
        if not is_many(suite) or not any(map(self._is_own, names)):
            return names
        return [name for place, name in enumerate(names) if place == 0 or self._is_own(name)]

    def label(self, name: str) -> str:
        """A model's name where it is shown: of one with random weights it says so."""
        return f"{name} (random weights)" if name in self._random else name

    def _is_gain(self, pair: Tree) -> bool:
        return self._is_own(pair["model"]) and (pair["model"], pair["base"]) in (self._bases or set())

    def _is_own(self, name: str) -> bool:
        return self._roles.get(name) == roles.SELF_INST


def is_many(suite: Tree) -> bool:
    """Whether a set has more models than its tables can show."""
    return len(suite["models"]) > MANY


def against_first(suite: Tree) -> list[Tree]:
    """The comparisons with the first model, the base."""
    return [one for one in suite["comparisons"] if _is_first(suite, one)]


def _is_first(suite: Tree, pair: Tree) -> bool:
    return bool(suite["models"]) and pair["base"] == suite["models"][0]["model"]
