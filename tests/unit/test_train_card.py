"""The model card: the numbers of its training, what it must say, and what it must not."""

from __future__ import annotations

import pytest
import yaml

from self_instruct.models import EMBEDDED
from self_instruct.train import card
from trained_runs import manifest


def front(text: str) -> dict[str, object]:
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("kind", "library", "relation", "serves"),
    [
        ("adapter", "peft", "adapter", "vllm serve BASE --enable-lora --max-lora-rank 32 --lora-modules tuned=FOLDER"),
        ("merged", "transformers", "finetune", "vllm serve FOLDER\n"),
        ("model", "transformers", "finetune", "vllm serve FOLDER\n"),
    ],
)
def test_each_kind_says_how_it_is_loaded(kind: card.Kind, library: str, relation: str, serves: str) -> None:
    text = card.text(manifest(lora_rank=20), kind, curve=False)
    head = front(text)
    assert (head["base_model"], head["library_name"], head["base_model_relation"]) == ("some-lab/base", library, relation)
    assert "datasets" not in head
    assert serves in text
    assert ("PeftModel" in text) == (kind == "adapter")


def test_it_has_the_numbers_of_its_training() -> None:
    text = card.text(manifest(method="lora", learning_rate=3e-4, lora_rank=20), "adapter", curve=True)
    for row in (
        "| before |  | 3.0000 |",
        "| 1 | 2.5000 | 2.6250 |",
        "| 2 | 2.2500 | 2.5000 |",
        "| seeds | 175 | 1 |",
        "| corpus | 25 | 0.5 |",
        "| duplicate | 3 |",
        "| `I¶¶Output:` | 300 |",
        "| `train.learning_rate` | 0.0003 |",
        "| `train.lora_rank` | 20 |",
        "| torch | 2.13.0 |",
    ):
        assert row in text.splitlines(), row
    assert "200 examples were trained on, 175 of them human-written seed tasks; 4 more were held out" in text.replace("\n", " ")
    assert "![Loss by optimizer step](loss.png)" in text
    assert "loss.png" not in card.text(manifest(), "adapter", curve=False)


def test_nothing_left_out_is_no_table() -> None:
    told = manifest()
    told["data"]["dropped"] = {"duplicate": 0, "empty": 0}
    assert "Left out" not in card.text(told, "adapter", curve=False)


def test_full_fine_tuning_has_a_rate_of_its_own_and_no_rank() -> None:
    text = card.text(manifest(method="full"), "model", curve=False)
    assert "| `train.learning_rate` | 2e-05 |" in text
    assert "lora_rank" not in text


def test_nothing_held_out_has_no_column_for_it() -> None:
    text = card.text(manifest() | {"held_out_loss": []}, "adapter", curve=False)
    assert "| epoch | training |\n| --- | --- |\n| 1 | 2.5000 |" in text


def test_no_paths_of_the_machine() -> None:
    text = card.text(manifest("/disk/somebody/models/mine"), "merged", curve=False)
    assert front(text)["base_model"] == "mine"
    assert "somebody" not in text and "here/" not in text


def test_the_embedded_model_goes_by_its_name_on_the_hub() -> None:
    text = card.text(manifest(EMBEDDED), "adapter", curve=False)
    assert front(text)["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "from 4 bits" in text


def test_data_of_seeds_alone_was_written_by_people() -> None:
    told = manifest()
    assert "wrote, as this project's own are, were checked by rules and by nobody" in card.text(
        told, "adapter", curve=False
    ).replace("\n  ", " ")
    told["data"]["seed_examples"] = 200
    assert "by nobody" not in card.text(told, "adapter", curve=False)


def test_a_chat_is_prompted_by_the_chat_template() -> None:
    text = card.text(manifest() | {"template_counts": {"chat": 400}}, "adapter", curve=False)
    assert "apply_chat_template" in text
    assert "Output:" not in text
