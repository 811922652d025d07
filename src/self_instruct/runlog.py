"""Logging, progress and metrics of a command.

Knows nothing of the stages. stderr takes logs and progress; stdout is left to one machine-readable line at the end.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from self_instruct.journal import Journal

LINE_EVERY_S = 30.0
WITHOUT_REST = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # tqdm's own bar, less its estimate of the time left

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


class _File(logging.FileHandler):
    """A log that a full disk cuts short: what can't be written must not hide the error that ends the command."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def to_file(path: Path) -> logging.Handler:
    """Add `path` (appended to) as a second place of the log, with times. Returns the handler, to be removed by the caller."""
    handler = _File(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return handler


class Progress:
    """A bar on a terminal; elsewhere a log line at most every 30 s and one at the end.

    `total` and `unit` are printed; `note` is free text such as "loss 2.31, 410 tokens/s". The time left is linear in the
    steps done, unless the caller estimates it. `done` steps were done before.
    """

    def __init__(self, what: str, total: int, unit: str, done: int = 0) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self._before = done
        self._said = -1
        self._note = ""
        self._left_s: float | None = None
        self._estimated = False
        self._started = time.monotonic()
        self._last = self._started
        self._bar = tqdm(total=total, initial=done, desc=what, unit=f" {unit}", dynamic_ncols=True) if sys.stderr.isatty() else None

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more and show `note` beside the count."""
        self.done += steps
        self._note = note or self._note
        if self._bar is not None:
            left = "" if self._left_s is None else f", about {duration(self._left_s)} left"
            self._bar.set_postfix_str(self._note + left, refresh=False)
            self._bar.update(steps)
        elif time.monotonic() - self._last >= LINE_EVERY_S:
            self._say()

    def estimate(self, note: str, left_s: float | None) -> None:
        """Show `note`, and from now on the caller's estimate of the seconds left in place of ours; None: nobody knows."""
        self._estimated, self._left_s = True, left_s
        if self._bar is not None:
            self._bar.bar_format = WITHOUT_REST
        self.advance(0, note)

    def _say(self) -> None:
        self._last, self._said = time.monotonic(), self.done
        spent = self._last - self._started
        left_s = self._left_s
        if not self._estimated and self.done > self._before:
            left_s = spent / (self.done - self._before) * (self.total - self.done)
        left = f", about {duration(left_s)} left" if left_s is not None and self.done < self.total else ""
        note = f", {self._note}" if self._note else ""
        log.info("%s: %d of %d %s in %.0f s%s%s", self.what, self.done, self.total, self.unit, spent, left, note)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._said < self.done:
            self._say()


def duration(seconds: float) -> str:
    """Seconds in words that fit their size: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Metrics:
    """`metrics.jsonl`: one JSON object a line, each with the UNIX time in `time_s`. Appended to."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, durable=False)

    def write(self, **values: Any) -> None:
        self._journal.append({"time_s": round(time.time(), 3), **values})

    def close(self) -> None:
        self._journal.close()
