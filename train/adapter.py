"""The product of a training: an adapter folder that PEFT, transformers and vLLM load.

Knows nothing of how it was trained. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from self_instruct import rundir


def write(place: Path, model: Any, tokenizer: Any, manifest: dict[str, Any]) -> None:
    """Write adapter, tokenizer and `training_manifest.json` beside `place`, then rename.

    A `place` that an unfinished run left is replaced.
    """
    sweep(place)
    aside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    aside.mkdir()
    model.save_pretrained(str(aside), save_embedding_layers=False)
    (aside / "README.md").unlink(missing_ok=True)  # PEFT's card is a form with nothing filled in
    config = aside / "adapter_config.json"
    # PEFT keeps the names in a set, whose order changes from process to process.
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])
    rundir.write_json(config, settings)
    tokenizer.save_pretrained(str(aside))
    rundir.write_json(aside / "training_manifest.json", manifest)
    for path in (*sorted(p for p in aside.rglob("*") if p.is_file()), aside):
        _sync(path)
    if place.exists():
        shutil.rmtree(place)
    aside.rename(place)
    _sync(place.parent)


def sweep(place: Path) -> None:
    """Remove what killed runs left beside `place`."""
    for left in place.parent.glob(f".{place.name}.*.tmp"):
        shutil.rmtree(left)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
