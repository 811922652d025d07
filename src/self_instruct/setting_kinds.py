"""The kinds of settings: what shapes content, what changes speed alone, what names a place.

Knows no setting; `settings` has the tree.
A field made by `runtime` may change when a run is continued; one made by `place` may when what lies there is the same. Every
other field shapes content, is part of the fingerprint, and a run folder made with another value is refused.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def shape(doc: str, **limits: Any) -> Any:
    """A field whose value shapes what a stage makes."""
    return Field(description=doc, **limits)


def runtime(doc: str, **limits: Any) -> Any:
    """A field that changes speed or place only."""
    return Field(description=doc, json_schema_extra={"runtime": True}, **limits)


def place(doc: str, reads: str, **limits: Any) -> Any:
    """A field that names what is read. Its content shapes what a stage makes, its place doesn't: the hashes of the stage's inputs
    whose names begin with `reads` are compared, not the value."""
    return Field(description=doc, json_schema_extra={"reads": reads}, **limits)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
