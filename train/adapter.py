"""The product of a training: an adapter folder that PEFT, transformers and vLLM load, or a whole model's folder.

Knows nothing of how it was trained. A folder appears whole or not at all, and holds no times: the same training writes
the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.models import TRAINED, Model
from self_instruct.train import card

CURVE = "loss.png"


def generation(model: Model, turn_ends: Sequence[int] = ()) -> dict[str, Any]:
    """What generation_config.json is to say: the base's own values, and the ids that end an answer.

    These are the end-of-text that was trained on, then `turn_ends`, the ids that end a turn in the chat template where it
    was trained with, then those that the base stopped at. Padding is as the base has it, else end-of-text.
    """
    base = _read(Path(model.path) / "generation_config.json")
    config = _read(Path(model.path) / "config.json")
    own = base.get("eos_token_id", config.get("eos_token_id"))
    known = own if isinstance(own, list) else [own]
    ends = list(dict.fromkeys([model.eos_token_id, *turn_ends, *(end for end in known if end is not None)]))
    values = {name: value for name, value in base.items() if name != "_from_model_config"}
    values["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    for name, default in (("pad_token_id", model.eos_token_id), ("bos_token_id", None), ("decoder_start_token_id", None)):
        found = next((source[name] for source in (base, config) if source.get(name) is not None), default)
        if found is not None:
            values[name] = found
    return values


def write(
    place: Path,
    model: Any,
    tokenizer: Any,
    manifest: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    loss_curve: Path | None = None,
    tensors: dict[str, Any] | None = None,
) -> None:
    """Write adapter, tokenizer, generation_config.json, `training_manifest.json` and the model card (README.md).

    `manifest` is what the card is made of, see `card.text`. `loss_curve` is the PNG to show in it. A `place` that an
    unfinished run left is replaced. `tensors` are the trained ones, where the model's own are spread over ranks.
    """
    with rundir.new_folder(place) as aside:
        model.save_pretrained(str(aside), save_embedding_layers=False, state_dict=tensors)
        config = aside / "adapter_config.json"
        # PEFT keeps the names in a set, whose order changes from process to process.
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings["target_modules"] = sorted(settings["target_modules"])
        rundir.write_json(config, settings)
        _complete(aside, tokenizer, manifest, generation_config, loss_curve, "adapter")


def write_model(
    place: Path,
    model: Any,
    tokenizer: Any,
    manifest: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    loss_curve: Path | None = None,
    tensors: dict[str, Any] | None = None,
    *,
    kind: card.Kind = "model",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """The same for a whole `model`, in the number format that it has: fully fine-tuned, or `kind` merged.

    `facts` go to `merge.json`.
    """
    from transformers import GenerationConfig

    # The base's own may ask for sampling in a way that `save_pretrained` refuses; the file is ours anyway.
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    with rundir.new_folder(place) as aside:
        model.save_pretrained(str(aside), state_dict=tensors)
        _complete(aside, tokenizer, manifest, generation_config, loss_curve, kind)
        if facts is not None:
            rundir.write_json(aside / "merge.json", facts)


def _complete(
    aside: Path,
    tokenizer: Any,
    manifest: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    loss_curve: Path | None,
    kind: card.Kind,
) -> None:
    for weights in aside.glob("*.safetensors"):
        weights.chmod(0o644)  # they are written for their owner alone
    tokenizer.save_pretrained(str(aside))
    rundir.write_json(aside / "generation_config.json", dict(generation_config))
    rundir.write_json(aside / TRAINED, dict(manifest))
    if loss_curve is not None and loss_curve.is_file():
        shutil.copyfile(loss_curve, aside / CURVE)
    # In the stead of PEFT's card, which is a form with nothing filled in.
    rundir.write_text(aside / "README.md", card.text(manifest, kind, curve=(aside / CURVE).is_file()))


def _read(path: Path) -> dict[str, Any]:
    return rundir.read_json(path) if path.is_file() else {}
