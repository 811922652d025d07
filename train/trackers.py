"""The trackers of `train.log_with`, such as TensorBoard or Weights & Biases, as accelerate knows them.

Knows nothing of training. Where none is asked for, nothing of them is imported and nothing leaves the machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from self_instruct.errors import ConfigError
from self_instruct.runlog import log

PROJECT = "self-instruct"  # what a tracker shows the runs under
PACKAGES = {"comet_ml": "comet-ml"}  # on PyPI, where it isn't the tracker's name


def check(names: Sequence[str]) -> None:
    """Raises ConfigError for a tracker that accelerate doesn't know or whose package isn't installed."""
    if not names:
        return
    from accelerate import tracking

    for name in names:
        if name not in tracking.LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(tracking.LOGGER_TYPE_TO_CLASS))
            raise ConfigError(f"train.log_with: no tracker '{name}'", hint=f"accelerate knows {known}")
        if name in tracking.LoggerType.list() and name not in tracking.get_available_trackers():
            package = PACKAGES.get(name, name)
            raise ConfigError(
                f"train.log_with: {name}: its package {package} isn't installed", hint=f"install it: pip install {package}"
            )


class Trackers:
    """Open trackers. Only rank 0 makes them; files of their own go to `folder`.

    Raises ConfigError like `check`, and where one doesn't start (no account, no server).
    """

    def __init__(self, names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> None:
        """`settings` by dotted key are shown beside the run; lists go there as JSON text, which every tracker takes."""
        check(names)
        self._open: list[Any] = []
        shown = {
            key: value if isinstance(value, bool | int | float | str) else json.dumps(value) for key, value in settings.items()
        }
        for name in dict.fromkeys(names):
            try:
                self._open.append(_start(name, folder))
                self._open[-1].store_init_configuration(shown)
            except Exception as error:  # each tracker has errors of its own
                self.close()
                said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                hint = "set it up as its own documentation says, or leave it out of train.log_with"
                raise ConfigError(f"train.log_with: {name} doesn't start: {said}", hint=hint) from None

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the numbers of one step; anything else in `values` is left out."""
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}
        for tracker in tuple(self._open):
            try:
                tracker.log(numbers, step=step)
            except Exception as error:  # hours of training must not end with a tracker's server
                log.warning("train.log_with: %s fails and gets no more, metrics.jsonl has it all: %s", tracker.name, error)
                self._open.remove(tracker)

    def close(self) -> None:
        """Let each write what it holds. May be called twice."""
        while self._open:
            tracker = self._open.pop()
            try:
                tracker.finish()
            except Exception as error:
                log.warning("train.log_with: %s didn't finish: %s", tracker.name, error)


def _start(name: str, folder: Path) -> Any:
    from accelerate import tracking

    kind = tracking.LOGGER_TYPE_TO_CLASS[name]
    made = kind(PROJECT, str(folder)) if kind.requires_logging_directory else kind(PROJECT)
    made.start()
    return made
