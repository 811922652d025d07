"""Hypothesis strategies for what the tests draw: texts, JSON records, tasks, settings."""

from __future__ import annotations

import types
import typing
from typing import Any

from hypothesis import strategies as st

from self_instruct.settings import fields

# Any code point, lone surrogates included; `texts` leaves those out, as UTF-8 files and tokenizers do.
raw_texts = st.text(alphabet=st.characters() | st.sampled_from("\ud800\udbff\udc00\n\r\x85\u2028"), max_size=40)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
# Texts that a prompt's form could confuse: braces, markers, cues, line breaks.
tricky_texts = st.lists(
    st.sampled_from(
        ["{I}", "{X}", "{", "}", "{0}", "%s", "\\1", "\\g<0>", "Output:", "Input:", "Task:", "\n", "\n\n", " ", "word", "¶", "終"]
    ),
    max_size=8,
).map("".join)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | raw_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(raw_texts, inner, max_size=4),
    max_leaves=8,
)
json_records = st.dictionaries(raw_texts, json_values, max_size=6)


def setting_values(dotted: str) -> st.SearchStrategy[Any]:
    """Values that the schema accepts for one setting, as a YAML file would hold them."""
    info = fields()[dotted]
    return _of(info.annotation, info.metadata)


def _of(kind: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return st.one_of([st.none() if part is type(None) else _of(part, metadata) for part in typing.get_args(kind)])
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from(typing.get_args(kind))
    shortest = next((limit.min_length for limit in metadata if hasattr(limit, "min_length")), 0)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        item, of_item = (typing.get_args(inner)[0], inner.__metadata__) if hasattr(inner, "__metadata__") else (inner, ())
        limits_of_item = [one for limit in of_item for one in getattr(limit, "metadata", [limit])]
        return st.lists(_of(item, limits_of_item), min_size=shortest, max_size=4)
    limits = {name: getattr(limit, name) for limit in metadata for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(limits.get("ge"), limits.get("le", 10**9))
    if kind is float:
        return st.floats(
            min_value=limits.get("ge", limits.get("gt")),
            max_value=limits.get("le", limits.get("lt", 1e6)),
            exclude_min="gt" in limits,
            exclude_max="lt" in limits,
        )
    assert kind is str, kind
    pattern = next((limit.pattern for limit in metadata if getattr(limit, "pattern", None)), None)
    if pattern is not None:
        return st.from_regex(pattern.replace("$", r"\Z"), alphabet=st.characters(exclude_categories=["Cs"]))
    return st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=shortest, max_size=20)


# Settings that are checked against one another are drawn in their own tests.
FREE = sorted(
    set(fields())
    - {
        "generate.prompt_seeds",
        "generate.prompt_machine",
        "generate.last_item",
        "generate.min_words",
        "generate.max_words",
        "train.data",
        "train.weights",
        "reproduce.rows",
        "reproduce.only",
        "reproduce.sizes",
    }
)

overlays: st.SearchStrategy[dict[str, Any]] = st.lists(st.sampled_from(FREE), unique=True, max_size=6).flatmap(
    lambda names: st.fixed_dictionaries({name: setting_values(name) for name in names})
)
