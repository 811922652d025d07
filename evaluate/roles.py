"""Which of the paper's models one of ours stands for, told by what it was trained on.

Knows manifests of the train stage only. Source: method.md, "Models in the comparison".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BASE, T5_LM, INSTRUCT, OTHER = "base", "t5_lm", "instruct", "other"
# By the kinds of data beside the seed tasks.
BY_KINDS = {
    frozenset({"corpus"}): "self_inst",
    frozenset({"superni"}): "superni",
    frozenset({"t0"}): "t0",
    frozenset({"corpus", "superni"}): "self_inst_superni",
}
TITLES = {
    "base": "the base model itself",
    "t5_lm": "an LM-adapted encoder-decoder",
    "self_inst": "tuned on its own instruction data",
    "superni": "tuned on SuperNI's train split",
    "t0": "tuned on T0's data",
    "self_inst_superni": "tuned on its own data and SuperNI's train split",
    "instruct": "the vendor's instruct version",
    "other": "tuned on other data",
}


def of_base(architecture: str) -> str:
    """The role of a model without adapter."""
    return T5_LM if "T5" in architecture else BASE


def of_adapter(training: Mapping[str, Any] | None) -> str:
    """The role of an adapter by its `training_manifest.json`; `other` where that doesn't tell."""
    sources = (training or {}).get("data", {}).get("sources", ())
    kinds = {
        source.get("kind", "corpus" if source.get("name") == "corpus" else "")
        for source in sources
        if source.get("name") != "seeds"
    }
    return BY_KINDS.get(frozenset(kinds), OTHER)
