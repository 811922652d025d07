"""Which of the paper's models a contender stands for."""

from __future__ import annotations

from typing import Any

import pytest

from self_instruct.evaluate import paper, roles


def manifest(*kinds: str) -> dict[str, Any]:
    return {"data": {"sources": [{"name": kind, "kind": kind, "rows": 1, "weight": 1.0} for kind in kinds]}}


@pytest.mark.parametrize(
    ("kinds", "role"),
    [
        (("seeds", "corpus"), "self_inst"),
        (("corpus",), "self_inst"),
        (("superni",), "superni"),
        (("seeds", "t0"), "t0"),
        (("seeds", "corpus", "superni"), "self_inst_superni"),
        (("seeds",), "seeds"),
        (("alpaca",), "other"),
        (("corpus", "t0"), "other"),
    ],
)
def test_the_role_of_an_adapter_is_told_by_its_data(kinds: tuple[str, ...], role: str) -> None:
    assert roles.of_adapter(manifest(*kinds)) == role


def test_an_adapter_without_manifest_or_of_an_older_one() -> None:
    assert roles.of_adapter(None) == "other"
    assert roles.of_adapter({}) == "other"
    assert roles.of_adapter({"data": {"sources": [{"name": "seeds"}, {"name": "corpus"}]}}) == "self_inst"


def test_a_base_is_a_causal_model_or_an_encoder_decoder() -> None:
    assert roles.of_base("LlamaForCausalLM") == "base"
    assert roles.of_base("T5ForConditionalGeneration") == "t5_lm"


def test_every_role_of_the_papers_tables_has_a_title() -> None:
    named = {row.role for row in paper.TABLE_3} | {role for _, _, role in paper.FIGURE_6}
    assert named - {None} <= roles.TITLES.keys()
    assert set(roles.BY_KINDS.values()) <= roles.TITLES.keys()


def test_the_papers_ratings_are_of_252_answers() -> None:
    assert [sum(counts) for _, counts, _ in paper.FIGURE_6] == [paper.RATED] * len(paper.FIGURE_6)
