"""The product of a training: an adapter folder that PEFT, transformers and vLLM load.

Knows nothing of how it was trained. The folder appears whole or not at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from self_instruct import rundir


def write(place: Path, model: Any, tokenizer: Any, manifest: dict[str, Any]) -> None:
    """Write adapter, tokenizer and `training_manifest.json` beside `place`, then rename.

    A `place` that an unfinished run left is replaced.
    """
    with rundir.new_folder(place) as aside:
        model.save_pretrained(str(aside), save_embedding_layers=False)
        (aside / "README.md").unlink(missing_ok=True)  # PEFT's card is a form with nothing filled in
        config = aside / "adapter_config.json"
        # PEFT keeps the names in a set, whose order changes from process to process.
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings["target_modules"] = sorted(settings["target_modules"])
        rundir.write_json(config, settings)
        tokenizer.save_pretrained(str(aside))
        rundir.write_json(aside / "training_manifest.json", manifest)
