"""Choices of a request as tokens: where they first differ, and their scores as log-probabilities.

Knows no engine; every engine that runs a real model scores choices this way, so that their numbers agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Tokenizer = Callable[[str], list[int]]


def split(tokenize: Tokenizer, prompt: str, choices: Sequence[str]) -> tuple[list[int], list[int]]:
    """The ids that all continuations share, and the first id in which each choice differs from the others.

    Tokenised with the prompt, because a tokenizer may merge across the border or split a leading space off.
    Raises ValueError where one token doesn't tell the choices apart.
    """
    full = [tokenize(prompt + choice) for choice in choices]
    shared = 0
    while all(shared < len(ids) for ids in full) and len({ids[shared] for ids in full}) == 1:
        shared += 1
    heads = [ids[shared] if shared < len(ids) else -1 for ids in full]
    if -1 in heads or len(set(heads)) < len(heads):
        raise ValueError(f"the choices {list(choices)} can't be told apart by one token of this tokenizer")
    return full[0][:shared], heads


def normalized(scores: Sequence[float]) -> list[float]:
    """Log-probabilities of the choices among themselves, from their log-probabilities (nats) among all tokens."""
    best = max(scores)
    total = best + math.log(sum(math.exp(score - best) for score in scores))
    return [score - total for score in scores]
