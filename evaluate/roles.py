"""Which of the paper's models one of ours stands for, told by what it was trained on.

Knows manifests of the train stage only. Source: method.md, "Models in the comparison".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BASE, T5_LM, INSTRUCT, SEEDS, OTHER = "base", "t5_lm", "instruct", "seeds", "other"
SELF_INST, SELF_INST_SUPERNI, SIZE, OUTPUTS = "self_inst", "self_inst_superni", "size", "outputs"
# By the kinds of data beside the seed tasks.
BY_KINDS = {
    frozenset({"corpus"}): SELF_INST,
    frozenset({"superni"}): "superni",
    frozenset({"t0"}): "t0",
    frozenset({"corpus", "superni"}): SELF_INST_SUPERNI,
}
TITLES = {
    "base": "the base model itself",
    "t5_lm": "an LM-adapted encoder-decoder",
    "t5_t0": "the encoder-decoder tuned on T0's data",
    "t5_superni": "the encoder-decoder tuned on SuperNI's train split",
    "self_inst": "tuned on its own instruction data",
    "superni": "tuned on SuperNI's train split",
    "t0": "tuned on T0's data",
    "self_inst_superni": "tuned on its own data and SuperNI's train split",
    "instruct": "the vendor's instruct version",
    "seeds": "tuned on the seed tasks alone",
    "size": "tuned on a part of its own instruction data",
    "outputs": "tuned on its own instructions, with outputs that another row wrote",
    "other": "tuned on other data",
}
# What the paper sets its models against (Table 3, Figure 7), beside each one's own base: (model, against).
PLANNED = (
    *((SELF_INST, other) for other in ("t0", "superni", SEEDS, INSTRUCT, OUTPUTS)),
    (SELF_INST_SUPERNI, "superni"),
)


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
    if sources and not kinds:
        return SEEDS
    return BY_KINDS.get(frozenset(kinds), OTHER)
