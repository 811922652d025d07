"""The schema: complete descriptions, frozen values, and renderings that don't drift."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from self_instruct import config_docs
from self_instruct.errors import ConfigError
from self_instruct.loading import load, shipped
from self_instruct.settings import Settings, fields, shaping, values

CONFIGS = sorted(
    str(path.relative_to(shipped("configs")))
    for folder in ("", "reproduce")
    for path in (shipped("configs") / folder).glob("*.yaml")
)


@pytest.mark.parametrize("path", config_docs.rendered(), ids=lambda path: path.name)
def test_rendered_files_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == config_docs.rendered()[path], "run: python -m self_instruct.config_docs"


def test_default_yaml_names_every_setting_once_and_changes_none() -> None:
    loaded = load(["configs/default.yaml"])
    assert loaded.settings == Settings()
    assert all(origin.startswith("configs/default.yaml:") for origin in loaded.origins.values())


def test_page_has_a_row_for_every_setting() -> None:
    page = config_docs.page()
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == [
        f"{section}.{name}"
        for section, kind in config_docs.sections()
        for name, info in kind.model_fields.items()
        if not config_docs.is_section(info)
    ]
    assert page.count("\n| `") == len(fields())


@pytest.mark.parametrize(
    ("dotted", "words"),
    [
        ("train.epochs", "whole number, at least 1"),
        ("generate.top_p", "number, above 0, at most 1"),
        ("evaluate.max_items", "whole number, at least 1, or `null`"),
        ("evaluate.adapters", "list of texts, or `null`"),
        ("generate.ascii_start", "`true` or `false`"),
        ("train.template_draw", "`epoch` or `once`"),
        ("run.engine.gpu_memory", "number, above 0, below 1"),
    ],
)
def test_page_says_what_a_setting_takes(dotted: str, words: str) -> None:
    assert config_docs.takes(fields()[dotted]) == words


@pytest.mark.parametrize("dotted", fields())
def test_every_setting_has_a_meaning_in_sentences(dotted: str) -> None:
    description = fields()[dotted].description
    assert description and len(description.split()) >= 2 and description.endswith(".") and "\n" not in description


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_config_loads(name: str) -> None:
    """Loading refuses unknown keys, so this also says that every key is known."""
    assert load([f"configs/{name}"]).name == Path(name).stem


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_config_says_what_it_is_for(name: str) -> None:
    assert (shipped("configs") / name).read_text(encoding="utf-8").startswith("# ")


def test_the_promised_configs_ship() -> None:
    assert {"default.yaml", "demo.yaml", "tiny.yaml", "paper.yaml", "qwen3-1.7b.yaml", "qwen3-8b.yaml"} <= set(CONFIGS)


@pytest.mark.parametrize("name", ["demo.yaml", "tiny.yaml"])
def test_demo_configs_use_the_embedded_model(name: str) -> None:
    assert load([f"configs/{name}"]).settings.model.name == "embedded"


def test_paper_config_holds_the_papers_numbers_and_leaves_the_model_alone() -> None:
    loaded = load(["configs/qwen3-8b.yaml", "configs/paper.yaml"])
    assert loaded.name == "paper"
    assert loaded.settings.model.name == "Qwen/Qwen3-8B-Base"
    generate, train = loaded.settings.generate, loaded.settings.train
    assert (generate.target_instructions, generate.prompt_seeds, generate.prompt_machine) == (52445, 6, 2)
    assert (generate.temperature, generate.top_p, generate.presence_penalty, generate.frequency_penalty) == (0.7, 0.5, 2.0, 0.0)
    assert (generate.max_tokens, generate.input_first_tokens, generate.output_first_tokens) == (1024, 350, 300)
    assert (train.epochs, train.template_draw, train.prompt_loss_weight) == (2, "once", 0.0)


@pytest.mark.parametrize("name", ["qwen3-1.7b.yaml", "qwen3-8b.yaml"])
def test_gpu_configs_tune_a_base_checkpoint_and_name_its_instruct_version(name: str) -> None:
    model = load([f"configs/{name}"]).settings.model
    assert model.name.endswith("-Base")
    assert model.instruct == model.name.removesuffix("-Base")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().train.epochs = 3


def test_values_are_plain_and_complete() -> None:
    flat = values(Settings())
    assert list(flat) == list(fields())
    assert yaml.safe_load(yaml.safe_dump(flat)) == flat


def test_shaping_takes_the_stages_own_section_without_runtime_fields() -> None:
    shapes = shaping(Settings(), "train")
    assert {name.split(".")[0] for name in shapes} == {"train", "model", "run"}
    assert "train.epochs" in shapes and "run.seed" in shapes and "model.name" in shapes
    assert not {"run.dir", "run.threads", "train.micro_batch_size", "run.engine.max_num_seqs"} & shapes.keys()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["generate.last_item=9"], "'generate.last_item' is 9: must be above 9"),
        (["generate.prompt_seeds=20"], "'generate.last_item' is 16: must be above 23"),
        (["generate.max_words=3"], "'generate.max_words' is 3: must be at least generate.min_words, 4"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["configs/default.yaml"], overrides)
    assert complaint in caught.value.message
    assert caught.value.hint


def test_shortest_list_that_agrees_is_accepted() -> None:
    assert load([], ["generate.last_item=10", "generate.max_words=4"]).settings.generate.last_item == 10
