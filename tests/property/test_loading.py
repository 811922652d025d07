"""Loading for any input: what the schema accepts arrives unchanged, and nothing but ConfigError comes of the rest."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from self_instruct.errors import ConfigError
from self_instruct.loading import load
from self_instruct.settings import values
from strategies import overlays, texts


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs") / "drawn.yaml"


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, last = dotted.split(".")
        here = tree
        for section in sections:
            here = here.setdefault(section, {})
        here[last] = value
    return tree


@given(overlay=overlays)
@settings(deadline=None)
def test_accepted_values_arrive_unchanged_from_a_file_and_from_set(config: Path, overlay: dict[str, Any]) -> None:
    config.write_text(yaml.safe_dump(nested(overlay)), encoding="utf-8")
    expected = {**values(load([]).settings), **overlay}
    loaded = load([str(config)])
    assert values(loaded.settings) == expected
    assert {name for name, origin in loaded.origins.items() if origin != "default"} == set(overlay)
    overrides = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in overlay.items()]
    assert values(load([], overrides).settings) == expected


@given(first=overlays, second=overlays)
@settings(deadline=None)
def test_merging_is_left_to_right(config: Path, first: dict[str, Any], second: dict[str, Any]) -> None:
    other = config.with_name("other.yaml")
    config.write_text(yaml.safe_dump(nested(first)), encoding="utf-8")
    other.write_text(yaml.safe_dump(nested(second)), encoding="utf-8")
    loaded = load([str(config), str(other)])
    assert values(loaded.settings) == {**values(load([]).settings), **first, **second}


# fmt: off
PIECES = [
    "train", "run", "engine", "epochs", "dir", "model.name", ":", " ", "  ", "\n", "\n  ", "- ", "[", "]", "{", "}", "'", '"',
    "&a", "*a",
    "!!int", "!!bool", "!!timestamp", "!!binary", "!x", "<<", "|", ">", "#", "1e-4", "0x_", "0b_", "2026-13-45", "1:99", ".inf",
    "null", "~", "---", "?", "%", "\x00", "\t",
]
# fmt: on


@given(text=texts | st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@settings(max_examples=400, deadline=None)
def test_no_file_causes_anything_but_a_config_error(config: Path, text: str) -> None:
    config.write_text(text, encoding="utf-8")
    with contextlib.suppress(ConfigError):
        load([str(config)])


@given(
    name=st.sampled_from(["run.dir", "run.seed", "train.epochs", "generate.keywords", "train", ""]) | texts,
    value=texts | st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
)
@settings(max_examples=400, deadline=None)
def test_no_override_causes_anything_but_a_config_error(name: str, value: str) -> None:
    with contextlib.suppress(ConfigError):
        load([], [f"{name}={value}"])
