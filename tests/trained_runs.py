"""What the tests of a training's product build: a manifest, and a finished run with an adapter that does something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.loading import load
from self_instruct.models import resolve
from self_instruct.settings import Settings, shaping


def manifest(reference: str = "some-lab/base", fingerprint: str = "f" * 64, **changes: Any) -> dict[str, Any]:
    """A `training_manifest.json`; `changes` are settings of the train stage."""
    settings = Settings.model_validate({"train": changes})
    return {
        "self_instruct": "0.1.0",
        "base_model": {"reference": reference, "revision": None, "fingerprint": fingerprint},
        "data": {
            "sha256": "d" * 64,
            "examples": 200,
            "seed_examples": 175,
            "held_out": 4,
            "dropped": {"duplicate": 3, "empty": 2},
            "sources": [{"name": "seeds", "rows": 175, "weight": 1.0}, {"name": "here/corpus", "rows": 25, "weight": 0.5}],
        },
        "settings": shaping(settings, "train"),
        "dtype": "float32",
        "versions": {"torch": "2.13.0"},
        "template_counts": {"I¶¶Output:": 300, "I¶¶X¶¶": 100},
        "loss_by_epoch": [2.5, 2.25],
        "held_out_loss": [3.0, 2.625, 2.5],
    }


def finished(run: Path, model_folder: Path, *, rank: int = 4, **changes: Any) -> Path:
    """The stage's folder of a finished run on a tiny model, with a random adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from self_instruct.models import load_tokenizer
    from self_instruct.train import adapter

    overrides = [f"model.name={model_folder}", "model.engine=transformers"]
    overrides += [f"train.{name}={value}" for name, value in {"max_length": 200, "lora_rank": rank, **changes}.items()]
    loaded = load(overrides=overrides, out=str(run))
    model = resolve(loaded.settings.model)
    folder = rundir.open_stage(loaded, "train", [], {"model": model.fingerprint})
    torch.manual_seed(0)
    beside = "T5" in model.architecture
    family: Any = AutoModelForSeq2SeqLM if beside else AutoModelForCausalLM
    targets = ["q", "v", "wi"] if beside else ["q_proj", "v_proj", "down_proj"]
    network = get_peft_model(
        family.from_pretrained(model.path, dtype=torch.float32),
        LoraConfig(
            task_type="SEQ_2_SEQ_LM" if beside else "CAUSAL_LM",
            r=rank,
            lora_alpha=8,
            target_modules=targets,
            init_lora_weights=False,
        ),
    )
    told = manifest(model.reference, model.fingerprint, lora_rank=rank)
    adapter.write(folder.path / "adapter", network, load_tokenizer(model.path), told, adapter.generation(model))
    folder.finish({"adapter": folder.path / "adapter"})
    folder.close()
    return folder.path
