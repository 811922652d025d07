"""A corpus of instructions in numbers: counts, shares, lengths, verbs and nouns, nearest seeds (paper, section 3).

Knows neither files nor runs; everything it gives is plain JSON. What isn't known is None.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from self_instruct.evaluate import corpora, diversity
from self_instruct.evaluate.corpora import Corpus
from self_instruct.evaluate.diversity import Pair, Structure
from self_instruct.evaluate.intervals import wilson
from self_instruct.novelty import tokenize
from self_instruct.runlog import Progress
from self_instruct.seedbank import SHIPPED

FORMAT = 1
TOP_VERBS, TOP_NOUNS = 20, 4  # paper, Figure 3
BINS = 20  # of the histogram of ROUGE-L with the nearest seed
MANY = 1_000  # instructions that take more than a few seconds to parse
_LAST_BITS = 1e-9  # an F1 such as 7/10 may come out a little lower in floats


def measure(corpus: Corpus, seeds: Sequence[str], source: str = SHIPPED) -> dict[str, Any]:
    """The statistics of a corpus; `seeds` are the instructions that it grew from, none where they aren't known, `source` says
    where they are from.

    Shares are 0 to 1 with Wilson's 95 % interval, lengths are in words separated by white space, as in the paper. `verb_noun` is
    None where spaCy isn't installed, `nearest_seed` without seeds, counts of instances where the corpus has instructions
    alone. Repeated instructions count each time in all numbers; `repeated_instructions` says how many are the same as
    an earlier one. Inputs of white space alone are empty.
    """
    instructions, labels = corpus.instructions, [label for label in corpus.classification if label is not None]
    instances = [instance for task in corpus.instances for instance in task]
    inputs = [instance.input for instance in instances if instance.input.strip()]
    empty = len(instances) - len(inputs)
    known = corpus.kind != corpora.INSTRUCTIONS
    texts = {"instruction": instructions, "input": inputs, "output": [instance.output for instance in instances]}
    return {
        "format": FORMAT,
        "corpus": {"place": corpus.place, "kind": corpus.kind, "sha256": corpus.sha256},
        "counts": {
            "instructions": len(instructions),
            "classification": sum(labels) if labels else None,
            "labelled": len(labels),
            "instances": len(instances) if known else None,
            "empty_inputs": empty if known else None,
            "repeated_instructions": len(instructions) - len(set(instructions)),
            "repeated_instances": sum(len(task) - len(set(task)) for task in corpus.instances) if known else None,
            "without_letters": sum(not tokenize(text) for text in instructions),
            "without_instance": sum(not task for task in corpus.instances) if known else None,
        },
        "shares": {
            **({"classification": share(sum(labels), len(labels))} if labels else {}),
            **({"empty_inputs": share(empty, len(instances))} if instances else {}),
        },
        "lengths": {name: lengths(listed) for name, listed in texts.items() if listed},
        "verb_noun": _verb_noun(instructions) if instructions and diversity.parser_available() else None,
        "nearest_seed": {"source": source} | _nearest_seed(instructions, seeds) if instructions and seeds else None,
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted `values` lie, linear between neighbours."""
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def lengths(texts: Sequence[str]) -> dict[str, Any]:
    """The lengths of at least one text in words; `counts` says of each length how many texts have it."""
    words = sorted(len(text.split()) for text in texts)
    return {
        "texts": len(words),
        "mean": sum(words) / len(words),
        "median": quantile(words, 0.5),
        "p10": quantile(words, 0.1),
        "p90": quantile(words, 0.9),
        "longest": words[-1],
        "counts": [[length, count] for length, count in sorted(Counter(words).items())],
    }


def share(part: int, whole: int) -> dict[str, float | None]:
    """A share with its interval, as JSON."""
    return asdict(wilson(part, whole))


def _verb_noun(instructions: Sequence[str]) -> dict[str, Any]:
    found: list[Structure] = []
    many = len(instructions) >= MANY
    with Progress("verbs and nouns", len(instructions), "instructions") if many else nullcontext() as progress:
        for structure in diversity.verb_nouns(instructions):
            found.append(structure)
            if progress is not None:
                progress.advance()
    return {
        "parser": diversity.parser_name(),
        "authors": _structure([one.authors for one in found]),
        "corrected": _structure([one.corrected for one in found]),
    }


def _structure(found: Sequence[Pair]) -> dict[str, Any]:
    """The verbs with most objects and their most frequent nouns, equal counts by the alphabet, as in the paper's Figure 3."""
    pairs = Counter((verb, noun) for verb, noun in found if verb is not None and noun is not None)
    verbs: Counter[str] = Counter()
    for (verb, _), count in pairs.items():
        verbs[verb] += count
    top: list[dict[str, Any]] = []
    top_count = 0
    for verb, count in _most(verbs, TOP_VERBS):
        nouns = _most(Counter({noun: times for (of, noun), times in pairs.items() if of == verb}), TOP_NOUNS)
        top.append({"verb": verb, "count": count, "nouns": [list(noun) for noun in nouns]})
        top_count += sum(times for _, times in nouns)
    return {
        "pairs": pairs.total(),
        "of": len(found),
        "share": share(pairs.total(), len(found)),
        "verbs": len({verb for verb, _ in found if verb is not None}),
        "top": top,
        "top_count": top_count,
        "top_share": share(top_count, len(found)),
    }


def _most(counts: Counter[str], number: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number]


def _nearest_seed(instructions: Sequence[str], seeds: Sequence[str]) -> dict[str, Any]:
    """`equal`: instructions of a seed's very words in its order. The last bin holds 1 too."""
    scores = sorted(diversity.nearest_scores(instructions, seeds))
    edges = [number / BINS for number in range(BINS + 1)]
    bins = Counter(min(bisect_right(edges, score + _LAST_BITS), BINS) - 1 for score in scores)
    return {
        "seeds": len(seeds),
        "mean": sum(scores) / len(scores),
        "median": quantile(scores, 0.5),
        "equal": sum(score == 1 for score in scores),
        "edges": edges,
        "counts": [bins[number] for number in range(BINS)],
    }
