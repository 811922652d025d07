"""Checkpoints: everything that a training needs to go on as if it had never stopped.

Knows nothing of what the state means. A checkpoint is written beside, synced and renamed, with a manifest of SHA-256: it is there
whole or not at all, and one that the disk spoiled later is found out. Random numbers need no state: every draw of a training
(order, templates, dropout, start values) is a keyed function of (seed, step, rank).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from self_instruct import rundir
from self_instruct.errors import RunFolderError
from self_instruct.runlog import log

MANIFEST, STATE, TENSORS = "manifest.json", "state.json", "tensors.safetensors"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was found intact: where it lies, and the state it holds as plain JSON values."""

    path: Path
    state: dict[str, Any]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its tensors by name, on the CPU."""
        found: dict[str, torch.Tensor] = load_file(self.path / TENSORS)
        return found


def name(step: int) -> str:
    return f"step-{step:08d}"


def save(folder: Path, step: int, tensors: Mapping[str, torch.Tensor], state: dict[str, Any], keep: int) -> Path:
    """Write the checkpoint after `step` steps into `folder`, then delete all but the newest `keep`. Returns its place.

    Later ones were skipped as damaged when this training went on, and go too.
    Raises RunFolderError where the disk has no room; OSError or SafetensorError where writing fails. What
    was there before stays then.
    """
    for left in folder.glob(".step-*.tmp"):  # of a process that was killed inside a save of any step
        shutil.rmtree(left)
    rundir.require_disk(folder, (sum(t.numel() * t.element_size() for t in tensors.values()) + 2**22) / 2**30)
    place = folder / name(step)
    if place.is_dir() and _damage(place) is None:
        return place  # of the same step of the same training: replacing it would leave a moment without
    with rundir.new_folder(place) as aside:
        save_file({key: value.contiguous() for key, value in tensors.items()}, aside / TENSORS)
        rundir.write_json(aside / STATE, state)
        rundir.write_json(aside / MANIFEST, {part: rundir.sha256(aside / part) for part in (STATE, TENSORS)})
    found = _all(folder)
    kept = [path for path in found if path <= place][:keep]
    for path in found:
        if path not in kept:
            shutil.rmtree(path)
    return place


def newest(folder: Path, fingerprint: Mapping[str, Any]) -> Checkpoint | None:
    """The newest intact checkpoint; says in the log which it skipped, and why. None where there is none.

    `fingerprint` tells the training: the settings that shape it and the hashes of what it reads. Raises RunFolderError, naming what
    differs, for an intact checkpoint of another training.
    """
    for path in _all(folder):
        reason = _damage(path)
        if reason is not None:
            log.warning("checkpoint skipped: %s: %s", path, reason)
            continue
        state = rundir.read_json(path / STATE)
        made = state.get("fingerprint", {})
        differing = sorted(key for key in {*made, *fingerprint} if made.get(key) != fingerprint.get(key))
        if differing:
            key = differing[0]
            raise RunFolderError(
                f"{path}: a checkpoint of another training: {key} was {made.get(key)!r}, is {fingerprint.get(key)!r}",
                hint="delete it, or name another place with --out; nothing was changed",
            )
        return Checkpoint(path=path, state=state)
    return None


def _all(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True)


def _damage(path: Path) -> str | None:
    """Why a checkpoint can't be used; None for an intact one."""
    try:
        told = rundir.read_json(path / MANIFEST)
        for part in (STATE, TENSORS):
            if rundir.sha256(path / part) != told.get(part):
                return f"{part} isn't what its manifest says"
        rundir.read_json(path / STATE)
    except RunFolderError as error:
        return error.message
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None
