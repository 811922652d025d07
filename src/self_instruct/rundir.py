"""A stage's folder in a run: created, resumed or refused; atomic writes; the manifest.

Knows nothing of what a stage makes. Layout: design.md, "A run folder".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from self_instruct import hardware, provenance, runlog
from self_instruct.errors import RunFolderError
from self_instruct.loading import Loaded
from self_instruct.settings import reads, shaping, values

OTHER_CONFIG = "made with another config"


def write_text(path: Path, text: str) -> None:
    """Write beside, fsync, rename: the file is whole or the old one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """An empty folder beside `place` to fill. At the end it is synced and renamed to `place`, so that the folder
    appears whole or not at all; an older `place`, derived from the same journal or run, is replaced.

    What killed processes left beside it is removed first.
    """
    for left in place.parent.glob(f".{place.name}.*.tmp"):
        shutil.rmtree(left)
    aside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    put(aside, place)


def require_own(place: Path, mark: str, what: str) -> None:
    """Raises RunFolderError where `place` is neither new, empty, nor an older `what` of ours, told by its file `mark`."""
    if place.exists() and not (place.is_dir() and (not any(place.iterdir()) or (place / mark).is_file())):
        raise RunFolderError(f"{place}: not empty, and no {what}", hint="name another place with --out; nothing was changed")


def put(made: Path, place: Path) -> None:
    """Sync a file or folder and rename it to `place` on the same disk, in the stead of what is there."""
    for path in (*sorted(p for p in made.rglob("*") if p.is_file()), made):
        sync(path)
    if place.is_dir():
        shutil.rmtree(place)
    made.replace(place)
    sync(place.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Raises RunFolderError where the file is missing or no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: {error}", hint="start a new run with --out") from None
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a folder's files (names and contents, sorted by name)."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    digest = hashlib.sha256()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file_path.relative_to(path)}\0{sha256(file_path)}\n".encode())
    return digest.hexdigest()


def require_disk(path: Path, gib: float) -> None:
    """Raises RunFolderError where the disk that holds `path` has less than `gib` GiB free."""
    here = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(here).free / 2**30
    if free < gib:
        raise RunFolderError(
            f"{path}: {free:.2f} GiB free on this disk, {gib:.2f} GiB needed",
            hint="free some space, or name another place with --out",
        )


class StageFolder:
    """The open folder of one stage; use `open_stage`. Holds a lock until `close`."""

    def __init__(self, path: Path, loaded: Loaded, manifest: dict[str, Any], lock: int) -> None:
        self.path, self.loaded, self.manifest = path, loaded, manifest
        self._lock = lock
        self._handler = runlog.to_file(path / "log.txt")

    @property
    def finished(self) -> bool:
        return self.manifest.get("status") == "finished"

    def finish(self, outputs: Mapping[str, Path], **facts: Any) -> None:
        """Record the products' hashes and the stage's facts; the stage is finished from here on.

        The times of a stage that was finished before, whose products are made again, stay as they are.
        """
        now = time.time()
        if not self.finished:
            self.manifest |= {"status": "finished", "finished_s": round(now, 3), "seconds": self._seconds(now)}
        self.manifest |= {
            "outputs": {name: {"path": str(p.relative_to(self.path)), "sha256": sha256(p)} for name, p in outputs.items()},
            "facts": facts,
        }
        write_json(self.path / "manifest.json", self.manifest)

    def _seconds(self, now: float) -> float:
        before, since = float(self.manifest.get("seconds", 0.0)), float(self.manifest["continued_s"])
        return round(before + now - since, 3)

    def close(self) -> None:
        """Let go of the folder. The time of a session that ended before the stage was finished is kept; a killed one's is lost."""
        if not self.finished:
            with contextlib.suppress(OSError):  # what ended the session is told, not this
                write_json(self.path / "manifest.json", self.manifest | {"seconds": self._seconds(time.time())})
        runlog.log.removeHandler(self._handler)
        self._handler.close()
        os.close(self._lock)


@contextlib.contextmanager
def finished_stage(path: Path) -> Iterator[dict[str, Any]]:
    """The manifest of a finished stage's folder, which nobody writes meanwhile; others may read it, too.

    Raises RunFolderError where there is no such folder, it isn't finished, or another process is writing it.
    """
    if not (path / "config.json").is_file():
        raise RunFolderError(f"{path}: no run there", hint="name a run folder, such as runs/demo")
    lock = _lock(path, shared=True)
    try:
        manifest = read_json(path / "manifest.json") if (path / "manifest.json").exists() else {}
        if manifest.get("status") != "finished":
            raise RunFolderError(f"{path}: not finished", hint="run the command that began it again: it goes on where it stopped")
        yield manifest
    finally:
        os.close(lock)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """A folder that is no stage's, made where it isn't there, for one process at a time. Raises RunFolderError."""
    _make(path)
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{path}: can't be made: {error.strerror}", hint="name another place with --out") from None


def _lock(path: Path, *, shared: bool = False) -> int:
    lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RunFolderError(
            f"{path}: another process is writing it", hint="wait for it, or name another place with --out"
        ) from None
    return lock


def open_stage(
    loaded: Loaded, stage: str, argv: list[str], inputs: Mapping[str, str], *, grows: Collection[str] = ()
) -> StageFolder:
    """Create `<run>/<stage>`, or open it to continue.

    `inputs` are names and hashes of what the stage reads. `grows`: settings that may be named later, where they weren't, with
    inputs of their own; the stage isn't finished then. Raises RunFolderError where the folder was made with other settings or
    inputs (naming them), holds something else, or another process is writing it.
    """
    path = loaded.run_dir / stage
    shapes = shaping(loaded.settings, stage)
    config = path / "config.json"
    if any(place.exists() and not place.is_dir() for place in (path, *path.parents)):
        raise RunFolderError(f"{path}: a file, not a folder", hint="name another place with --out")
    if path.is_dir() and not config.exists() and any(p.name != ".lock" for p in path.iterdir() if not p.name.endswith(".tmp")):
        raise RunFolderError(f"{path}: not empty and not a run folder", hint="name another place with --out; nothing was changed")
    if config.exists():
        _refuse_other(config, shapes, dict(inputs), grows)
    _make(path)
    lock = _lock(path)
    try:
        # Again: another process may have made it since.
        grown = config.exists() and _refuse_other(config, shapes, dict(inputs), grows)
        if grown and (path / "manifest.json").exists():  # before the config: killed in between, it grows once more
            write_json(path / "manifest.json", read_json(path / "manifest.json") | {"status": "running"})
        if grown or not config.exists():
            write_json(config, {"stage": stage, "settings": shapes, "inputs": dict(inputs)})
        manifest = _manifest(path / "manifest.json", loaded, stage, argv, inputs)
        return StageFolder(path, loaded, manifest, lock)
    except BaseException:
        os.close(lock)
        raise


def _refuse_other(config: Path, shapes: dict[str, Any], inputs: dict[str, str], grows: Collection[str]) -> bool:
    """Whether nothing differs but what may be named later; raises RunFolderError for any other difference."""
    old = read_json(config)
    if not all(isinstance(old.get(part), dict) for part in ("settings", "inputs")):
        raise RunFolderError(f"{config}: not the config of a run folder", hint="name another place with --out; nothing was changed")
    before, now = {**old["settings"], **_named(old["inputs"])}, {**shapes, **_named(inputs)}
    differing = sorted(
        (name for name in before.keys() | now.keys() if before.get(name) != now.get(name)),
        key=lambda name: (name.startswith("input "), name),
    )
    # What lies elsewhere and is the same is no other config.
    moved = {name for name, start in reads().items() if _of(inputs, start) and _of(inputs, start) == _of(old["inputs"], start)}
    differing = [name for name in differing if name not in moved]
    if any(name in grows for name in differing) and all(
        before.get(name) is None and (name in grows or name.startswith("input ")) for name in differing
    ):
        return True
    if differing:
        first = differing[0]
        more = f" (and {', '.join(differing[1:])})" if len(differing) > 1 else ""
        raise RunFolderError(
            f"{config.parent}: {OTHER_CONFIG}: {first} was {before.get(first)!r}, is {now.get(first)!r}{more}",
            hint="name another place with --out, or set the old value; nothing was changed",
        )
    return False


def _of(inputs: Mapping[str, str], start: str) -> dict[str, str]:
    return {name: digest for name, digest in inputs.items() if name.startswith(start)}


def _named(inputs: dict[str, str]) -> dict[str, str]:
    return {f"input {name}": digest for name, digest in inputs.items()}


def _manifest(path: Path, loaded: Loaded, stage: str, argv: list[str], inputs: Mapping[str, str]) -> dict[str, Any]:
    now = round(time.time(), 3)
    old = read_json(path) if path.exists() else {}
    if old.get("status") == "finished":
        return old
    manifest = {
        "stage": stage,
        "status": "running",
        "argv": argv,
        "settings": {n: {"value": v, "origin": loaded.origins[n]} for n, v in values(loaded.settings).items()},
        "inputs": dict(inputs),
        "versions": provenance.versions(),
        "git": provenance.git(),
        "hardware": hardware.summary(),
        "determinism": hardware.determinism(),
        "started_s": old.get("started_s", now),
        "continued_s": now,
        "seconds": old.get("seconds", 0.0),
    }
    write_json(path, manifest)
    return manifest
