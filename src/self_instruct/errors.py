"""The errors a user can cause and can act on.

Knows nothing of the stages. `commandline.run` turns each of these into one line, a hint and exit status 2.
"""

from __future__ import annotations


class SelfInstructError(Exception):
    """Base of all expected errors.

    `message` says what is wrong, where (file:line or dotted key) and what was found; `hint` says what to do.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(SelfInstructError):
    """A setting, a flag or a model reference is wrong."""


class DataError(SelfInstructError):
    """Data from outside (seeds, corpora, demonstrations) is missing or malformed."""


class RunFolderError(SelfInstructError):
    """A run folder belongs to another config, is damaged, or can't be written."""


class EngineError(SelfInstructError):
    """The engine refused to start or a request failed."""


class EngineDiedError(EngineError):
    """The engine's process ended while requests were open."""


class TrainingDivergedError(SelfInstructError):
    """The training loss is not a finite number."""
