"""One cell of the comparison: whether it is there already, and running it as a process of its own.

Knows stages by their names and what they leave in a run folder, nothing of what they do.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from self_instruct import __version__, hardware, models, rundir
from self_instruct.errors import ConfigError, RunFolderError
from self_instruct.loading import Loaded, load, named_or_shipped, shipped
from self_instruct.reproduce_matrix import Cell, flags
from self_instruct.settings import reads, shaping

PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
LOCKED_S = 90.0  # a stage whose command was killed writes a checkpoint before it lets go of its folder
ENDING_S = 120.0
SHOWN_LINES = 40
MARKS = ("error: ", "hint: ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What the user asked for, to be asked of every stage: config files and `--set`s."""

    configs: tuple[str, ...]
    overrides: tuple[str, ...]
    out: Path

    def loaded(self, cell: Cell) -> Loaded:
        """The settings of a cell. Raises ConfigError."""
        return load(self.configs, [*self.overrides, *flags(cell)[1::2]], str(self.folder(cell).parent))

    def folder(self, cell: Cell) -> Path:
        """The stage's folder."""
        return self.out / "rows" / cell.row / cell.stage

    def words(self, cell: Cell) -> list[str]:
        """A stage's command line for a cell."""
        given = [word for name in self.configs for word in ("--config", name)]
        given += [word for text in self.overrides for word in ("--set", text)]
        return [*given, *flags(cell), "--out", str(self.folder(cell).parent)]


def key(cell: Cell, command: Command, before: Mapping[str, str]) -> str:
    """What a cell is a function of, as SHA-256 (hex): its stage's settings, the model, the data, the keys `before` it, our version.

    Raises SelfInstructError where the settings or the model can't be had.
    """
    loaded = command.loaded(cell)
    settings = loaded.settings
    places = reads()
    shapes = {name: value for name, value in shaping(settings, cell.stage).items() if name not in places}
    own = str(command.out / "rows")
    data: dict[str, str] = {}
    for name in places:
        section, *inner = name.split(".")
        value: Any = getattr(settings, section)
        for part in inner:
            value = getattr(value, part)
        for place in (value,) if isinstance(value, str) else value or ():
            # Seeds are generate's setting, and all stages read them.
            if (section == cell.stage or name == "generate.seeds") and not place.startswith(own) and Path(place).exists():
                data[f"{name} {place}"] = _digest(place)
    model = "scripted" if settings.model.engine == "scripted" else _fingerprint(settings.model.name, settings.model.revision)
    told: dict[str, Any] = {
        "stage": cell.stage,
        "settings": shapes,
        "data": data,
        "model": model,
        "shipped": _digest(str(shipped("seeds"))),
    }
    told |= {"before": [before[name] for name in cell.after], "version": __version__}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@functools.cache
def _digest(place: str) -> str:
    return rundir.sha256(Path(place))


@functools.cache
def _fingerprint(name: str, revision: str | None) -> str:
    from self_instruct.settings import ModelSettings

    return models.resolve(ModelSettings(name=name, revision=revision)).fingerprint


def valid(cell: Cell, command: Command, before: Mapping[str, str], known: Mapping[str, str]) -> str | None:
    """The key of a finished cell that was made of what it would be made of now, else None.

    `before`: the keys of the cells before it that are valid; `known`: those that cells were finished with. Raises as `key` does.
    """
    if cell.name not in known or not finished(command.folder(cell)) or any(name not in before for name in cell.after):
        return None
    return now if known[cell.name] == (now := key(cell, command, before)) else None


def finished(stage: Path) -> bool:
    """Whether a stage's folder is finished, as far as its manifest can be read; the stage itself tells of a damaged one."""
    try:
        return rundir.read_json(stage / "manifest.json").get("status") == "finished"
    except RunFolderError:
        return False


def damage(stage: Path) -> str | None:
    """What of a finished stage's products isn't as it was written; none where all are."""
    try:
        outputs = rundir.read_json(stage / "manifest.json")["outputs"]
        told = [(name, stage / output["path"], output["sha256"]) for name, output in outputs.items()]
    except (RunFolderError, KeyError, TypeError, AttributeError):
        return f"{stage / 'manifest.json'}: damaged"
    for name, place, digest in told:
        if not place.exists():
            return f"{place} is gone ({name})"
        if rundir.sha256(place) != digest:
            return f"{place} was changed since it was finished ({name})"
    return None if told else f"{stage / 'manifest.json'}: names no products"


def fingerprint(stage: Path) -> str | None:
    """SHA-256 (hex) of the settings and input hashes that a stage was made with."""
    config = stage / "config.json"
    return rundir.sha256(config) if config.exists() else None


def accelerate_config(name: str) -> str:
    """Where the file of `reproduce.accelerate` is. Raises ConfigError."""
    if found := named_or_shipped(name):
        return str(found)
    raise ConfigError(
        f"reproduce.accelerate: {name}: no such file", hint="name one of accelerate's, such as configs/accelerate/ddp.yaml"
    )


def launch(cell: Cell, command: Command, accelerate: str | None) -> list[str]:
    """The command that runs a cell: training goes through accelerate, which knows of GPUs and processes."""
    if cell.stage != "train":
        return [sys.executable, "-m", "self_instruct", cell.stage, *command.words(cell)]
    words = [sys.executable, "-m", "accelerate.commands.launch", "--quiet"]
    if accelerate is not None:
        words += ["--config_file", accelerate_config(accelerate)]
    elif not hardware.gpus():  # named, because accelerate prints six lines where they aren't
        words += ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*words, str(shipped("train")), *command.words(cell)]


def wait_until_free(stage: Path) -> None:
    """Wait while a process that lost its parent still writes there."""
    if not (stage / ".lock").exists():
        return
    until = time.monotonic() + LOCKED_S
    with (stage / ".lock").open("r+") as lock:
        while time.monotonic() < until:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.2)


def run(words: Sequence[str]) -> str | None:
    """Run a command to its end, its messages shown as they come. Returns what went wrong, none where nothing did.

    It ends with this process, even where this one is killed. Raises KeyboardInterrupt where it was interrupted.
    """
    last: deque[str] = deque(maxlen=SHOWN_LINES)
    with tempfile.NamedTemporaryFile("r", suffix=".status") as status:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=os.environ | {"SELF_INSTRUCT_STATUS": status.name, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        assert process.stderr is not None
        reader = threading.Thread(target=_show, args=(process.stderr, last), daemon=True)
        reader.start()
        try:
            process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
        finally:
            reader.join(timeout=5)
        if process.returncode == 0:
            return None
        told = status.read().strip()
    if told in ("130", "143") or process.returncode in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    said = {mark: next((line.removeprefix(mark) for line in reversed(last) if line.startswith(mark)), None) for mark in MARKS}
    if said["error: "] is not None:
        return said["error: "] + (f" ({said['hint: ']})" if said["hint: "] else "")
    if process.returncode < 0:
        return f"killed by {signal.Signals(-process.returncode).name} (was memory short?)"
    return f"exit status {process.returncode}"


def _show(stream: IO[str], last: deque[str]) -> None:
    for line in stream:
        sys.stderr.write(line)
        sys.stderr.flush()
        last.append(line.rstrip("\n"))


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen[str]) -> None:
    """Let a stage stop in order, with all that it started; not for ever."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(ENDING_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
