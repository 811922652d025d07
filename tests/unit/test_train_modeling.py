"""Loading, LoRA, number formats and threads."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch

from sample_training import save_tiny_model, tiny, tiny_llama, tiny_t5
from self_instruct import hardware
from self_instruct.errors import ConfigError
from self_instruct.settings import TrainSettings
from self_instruct.train import attention, modeling, objective


def test_lora_is_on_every_linear_layer_but_the_head() -> None:
    model = modeling.make_trainable(tiny_llama(40), TrainSettings(lora_rank=4, lora_alpha=6), seed=1)
    config = model.peft_config["default"]
    assert sorted(config.target_modules) == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert (config.r, config.lora_alpha, config.bias, config.use_dora, config.modules_to_save) == (4, 6, "none", False, None)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trainable) == 2 * 7 * 2  # layers, linear layers in each, matrices A and B
    assert all("lora_" in name for name in trainable)
    assert modeling.trainable(model) == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)


def test_lora_is_float32_on_a_bfloat16_base() -> None:
    model = modeling.make_trainable(tiny_llama(40).to(torch.bfloat16), TrainSettings(), seed=1)
    formats = {("lora_" in name): parameter.dtype for name, parameter in model.named_parameters()}
    assert formats == {True: torch.float32, False: torch.bfloat16}


def test_start_values_are_a_function_of_the_seed() -> None:
    def matrices(seed: int) -> list[torch.Tensor]:
        base = tiny_llama(40)
        torch.manual_seed(int(torch.randint(1000, ()).item()))
        return [p.detach() for n, p in modeling.make_trainable(base, TrainSettings(), seed).named_parameters() if "lora_A" in n]

    assert all(torch.equal(a, b) for a, b in zip(matrices(1), matrices(1), strict=True))
    assert not torch.equal(matrices(1)[0], matrices(2)[0])


def test_full_fine_tuning_trains_every_weight() -> None:
    base = tiny_llama(40).requires_grad_(False)
    model = modeling.make_trainable(base, TrainSettings(method="full"), seed=1)
    assert model is base
    assert modeling.trainable(model) == sum(parameter.numel() for parameter in base.parameters())


def test_the_linear_layers_of_other_architectures() -> None:
    assert modeling.linear_names(tiny("GPT2")) == ["c_attn", "c_fc", "c_proj"]
    assert modeling.linear_names(tiny_t5(feed_forward_proj="gated-gelu")) == ["k", "o", "q", "v", "wi_0", "wi_1", "wo"]
    assert modeling.linear_names(tiny("Mamba")) == ["dt_proj", "in_proj", "x_proj"]


@pytest.mark.parametrize("architecture", ["GPT2", "Mamba", "Gemma2", "GptOss", "Qwen2Moe"])
def test_lora_goes_on_other_architectures(architecture: str) -> None:
    base = tiny(architecture)
    wanted = modeling.linear_names(base)
    model = modeling.make_trainable(base, TrainSettings(lora_rank=4), seed=1)
    changed = {name.split(".lora_")[0].split(".")[-1] for name, p in model.named_parameters() if p.requires_grad}
    assert sorted(changed) == wanted


def test_a_model_without_linear_layers_is_refused() -> None:
    model = tiny_llama(40)
    for module in model.modules():
        for name in [name for name, part in module.named_children() if isinstance(part, torch.nn.Linear) and name != "lm_head"]:
            setattr(module, name, torch.nn.Identity())
    with pytest.raises(ConfigError, match="has no linear layers to put LoRA on"):
        modeling.linear_names(model)


def test_t5s_adapter_says_what_it_is_for() -> None:
    model = modeling.make_trainable(tiny_t5(), TrainSettings(), seed=1)
    assert model.peft_config["default"].task_type == "SEQ_2_SEQ_LM"


def test_a_model_is_loaded_in_the_format_asked_for(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    for name in ("float32", "bfloat16"):
        base = modeling.load_base(str(folder), name)
        assert next(base.parameters()).dtype == getattr(torch, name)
    assert base.config.name_or_path == str(folder.resolve())


def test_full_fine_tuning_loads_in_float32_whatever_is_computed_in(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    assert modeling.load_base(str(folder), "bfloat16", "full").dtype == torch.float32


def test_an_encoder_decoder_loads_as_such(tmp_path: Path) -> None:
    tiny_t5(40).save_pretrained(tmp_path)
    base = modeling.load_base(str(tmp_path), "bfloat16")
    assert type(base).__name__ == "T5ForConditionalGeneration" and base.dtype == torch.bfloat16


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4)
    ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="can't be loaded as a language model") as caught:
        modeling.load_base(str(tmp_path), "float32")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("bfloat16", "it can"), ("bfloat16", "it can")),
        (("float32", "it can't"), ("float32", "it can't")),
        (("float16", "an old GPU"), ("float32", "gradients vanish in float16, which was chosen because an old GPU")),
    ],
)
def test_float16_is_never_trained_in(chosen: tuple[str, str], expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "choose_dtype", lambda wanted, found: chosen)
    assert modeling.choose_dtype("auto") == expected


def test_a_gpu_that_torch_cannot_use_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = hardware.Gpu(name="Old GPU", memory_mib=8, free_mib=8, driver="535.1", capability=(8, 0))
    monkeypatch.setattr(hardware, "gpus", lambda: [gpu])
    monkeypatch.setattr(modeling.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(modeling.torch.version, "cuda", None)
    assert modeling.usable_gpus() == []  # torch's CPU build on a machine with a GPU
    monkeypatch.setattr(modeling.torch.version, "cuda", "13.0")
    with pytest.raises(ConfigError, match=r"Old GPU: torch for CUDA 13\.0 can't use it \(its driver is 535\.1\)"):
        modeling.usable_gpus()


def test_qlora_needs_a_gpu_and_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("lora", "full"):
        modeling.check_method(method)
    monkeypatch.setattr(modeling, "usable_gpus", lambda: [])
    with pytest.raises(
        ConfigError, match=r"^train\.method: qlora needs an NVIDIA GPU \(bitsandbytes\), and there is none$"
    ) as caught:
        modeling.check_method("qlora")
    assert caught.value.hint == "set train.method=lora"
    monkeypatch.setattr(modeling, "usable_gpus", lambda: ["a GPU"])
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="needs the package bitsandbytes, which isn't installed"):
        modeling.check_method("qlora")
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    modeling.check_method("qlora")


@pytest.mark.parametrize(
    ("architecture", "setting", "layout", "said"),
    [
        ("Llama", "auto", "packed", "examples end to end in one row, without padding"),
        ("Llama", "padded", "padded", "padded micro-batches: train.attention says so"),
        ("Gemma2", "auto", "padded", "its own logits are used"),
    ],
)
def test_the_layout_is_chosen_with_a_reason(architecture: str, setting: Any, layout: str, said: str) -> None:
    settings = TrainSettings(attention=setting)
    model = modeling.make_trainable(tiny(architecture), settings, seed=1)
    own = objective.causal(model).config._attn_implementation
    loss, found, reason = modeling.build_objective(model, settings, 64, [1, 2, 3])
    assert found == layout and said in reason
    assert loss.plain_head is (architecture == "Llama")
    assert objective.causal(model).config._attn_implementation == (attention.NAME if layout == "packed" else own)


@pytest.mark.parametrize(("wanted", "processes", "expected"), [(3, 1, 3), (None, 1, 8), (None, 2, 4), (None, 16, 1)])
def test_threads(wanted: int | None, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    assert modeling.set_threads(wanted, processes) == expected
    assert given == [expected]


@pytest.mark.parametrize(("world", "processes", "wrong"), [(None, 1, False), ("1", 1, False), ("2", 2, False), ("2", 1, True)])
def test_processes_that_dont_know_of_each_other_are_refused(
    world: str | None, processes: int, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    class Accelerator:
        num_processes = processes

        def __init__(self, **options: Any) -> None:
            asked.append(options)

    monkeypatch.setattr(accelerate, "Accelerator", Accelerator)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world is not None:
        monkeypatch.setenv("WORLD_SIZE", world)
    if wrong:
        with pytest.raises(ConfigError, match="WORLD_SIZE is 2, but accelerate sees one process"):
            modeling.accelerator()
    else:
        assert modeling.accelerator().num_processes == processes
    assert asked == [{"mixed_precision": "no"}]


def test_sharding_that_accelerate_leaves_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Accelerator:
        num_processes, distributed_type, device = 2, accelerate.DistributedType.MULTI_CPU, "cpu"

        def __init__(self, **_: Any) -> None: ...

    monkeypatch.setattr(accelerate, "Accelerator", Accelerator)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="asks for FSDP, which accelerate has for GPUs alone; the device is cpu"):
        modeling.accelerator()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    assert modeling.accelerator().num_processes == 2
