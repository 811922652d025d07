"""What lies in an adapter's folder: its files, the ids that end an answer, the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sample_training import save_tiny_model
from self_instruct import rundir
from self_instruct.models import Model
from self_instruct.settings import ModelSettings
from self_instruct.train import adapter
from trained_runs import finished


def model(folder: Path, config: dict[str, object], generation: dict[str, object] | None) -> Model:
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return Model(
        reference="m",
        source="local",
        path=str(folder),
        fingerprint="f",
        context=64,
        eos_token="</s>",
        eos_token_id=7,
        architecture="A",
    )


@pytest.mark.parametrize(
    ("config", "generation", "turn_ends", "expected"),
    [
        ({"eos_token_id": 7}, None, (), {"eos_token_id": 7, "pad_token_id": 7}),
        ({"eos_token_id": 2, "pad_token_id": 3, "bos_token_id": 1}, None, (),
         {"eos_token_id": [7, 2], "pad_token_id": 3, "bos_token_id": 1}),
        ({"eos_token_id": 2}, {"eos_token_id": [9, 7], "top_k": 20, "_from_model_config": True}, (),
         {"eos_token_id": [7, 9], "pad_token_id": 7, "top_k": 20}),
        ({}, {"eos_token_id": 7, "pad_token_id": 0}, (7, 8), {"eos_token_id": [7, 8], "pad_token_id": 0}),
        ({"decoder_start_token_id": 0, "pad_token_id": 0}, None, (),
         {"eos_token_id": 7, "pad_token_id": 0, "decoder_start_token_id": 0}),
    ],
)  # fmt: skip
def test_an_answer_ends_at_what_was_trained_then_at_what_the_base_ended_at(
    tmp_path: Path, config: dict[str, object], generation: dict[str, object] | None, turn_ends: tuple[int, ...], expected: object
) -> None:
    assert adapter.generation(model(tmp_path, config, generation), turn_ends) == expected


def test_a_folder_has_all_that_it_is_loaded_with_and_the_same_bytes_again(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    one, two = (finished(tmp_path / name, base) / "adapter" for name in ("one", "two"))
    assert {path.name for path in one.iterdir()} >= {
        "adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "generation_config.json", "training_manifest.json",
        "README.md",
    }  # fmt: skip
    assert rundir.sha256(one) == rundir.sha256(two)
    settings = rundir.read_json(one / "adapter_config.json")
    assert settings["target_modules"] == sorted(settings["target_modules"])
    assert (one / "README.md").read_text(encoding="utf-8").startswith("---\nbase_model: base\n")


def test_a_loss_curve_goes_along_and_the_card_shows_it(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from sample_training import byte_level, tiny_llama
    from trained_runs import manifest

    (tmp_path / "loss.png").write_bytes(b"png")
    network = get_peft_model(tiny_llama(400), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))
    adapter.write(tmp_path / "adapter", network, byte_level(), manifest(), {"eos_token_id": 0}, tmp_path / "loss.png")
    assert (tmp_path / "adapter" / "loss.png").read_bytes() == b"png"
    assert "(loss.png)" in (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")


def test_a_whole_model_is_a_model_to_the_resolver_and_keeps_its_number_format(tmp_path: Path) -> None:
    import torch

    from sample_training import byte_level, tiny_llama
    from self_instruct.models import resolve
    from trained_runs import manifest

    network = tiny_llama(400).to(torch.bfloat16)
    adapter.write_model(tmp_path / "model", network, byte_level(), manifest(method="full"), {"eos_token_id": [0, 5]})
    found = resolve(ModelSettings(name=str(tmp_path / "model")))
    assert found.eos_token == "</s>"
    assert rundir.read_json(tmp_path / "model" / "config.json")["dtype"] == "bfloat16"
    assert rundir.read_json(tmp_path / "model" / "generation_config.json") == {"eos_token_id": [0, 5]}
    assert not (tmp_path / "model" / "merge.json").exists()
