"""Logging, progress and metrics of a command.

Knows nothing of the stages. stderr takes logs and progress; stdout is left to one machine-readable line at the end.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

LINE_EVERY_S = 30.0

log = logging.getLogger("self_instruct")


def configure() -> None:
    """Send this package's log to stderr as plain lines. Safe to call twice, and after stderr was replaced."""
    for old in [handler for handler in log.handlers if type(handler) is logging.StreamHandler]:
        log.removeHandler(old)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def to_file(path: Path) -> logging.Handler:
    """Add `path` (appended to) as a second place of the log, with times. Returns the handler, to be removed by the caller."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return handler


class Progress:
    """A bar on a terminal; elsewhere a log line at most every 30 s and one at the end.

    `total` and `unit` are printed; `note` is free text such as "loss 2.31, 410 tokens/s".
    """

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._said = -1
        self._note = ""
        self._started = time.monotonic()
        self._last = self._started
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True) if sys.stderr.isatty() else None

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more and show `note` beside the count."""
        self.done += steps
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(steps)
        elif time.monotonic() - self._last >= LINE_EVERY_S:
            self._say()

    def _say(self) -> None:
        self._last, self._said = time.monotonic(), self.done
        spent = self._last - self._started
        left = f", about {spent / self.done * (self.total - self.done):.0f} s left" if 0 < self.done < self.total else ""
        note = f", {self._note}" if self._note else ""
        log.info("%s: %d of %d %s in %.0f s%s%s", self.what, self.done, self.total, self.unit, spent, left, note)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._said < self.done:
            self._say()


class Metrics:
    """`metrics.jsonl`: one JSON object a line, each with the UNIX time in `time_s`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        self._file.write(json.dumps({"time_s": round(time.time(), 3), **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
