"""Texts that a novelty index could get wrong, for the tests and the benchmark's comparison with rouge_score."""

from __future__ import annotations


def numbered(prefix: str, count: int) -> str:
    return " ".join(f"{prefix}{number}" for number in range(count))


LENGTHS = (1, 2, 31, 32, 33, 62, 63, 64, 65, 127, 128, 129)  # around the words and columns of the index, in tokens

HARD = [
    "",
    "!?",
    " \n\t\u2028",
    "\0",
    "a\0b",
    "a b",
    "\u212aelvin scale",  # the Kelvin sign lowers to k
    "kelvin scale",
    "\u0130stanbul trip",  # dotted capital I lowers to two code points
    "istanbul trip",
    "i stanbul trip",
    "\ufb01nd it",  # a ligature separates
    "find it",
    "漢字だけ",
    "漢字 and 7 more",
    "caf\u00e9 3.5",
    "caf 3 5",
    "a\ud800b",  # half a code point
    "\udfff",
    "\U0001f600x1\U0001f600",
    "\u0661\u0662 1 2",  # digits that aren't ASCII
    "X1 x1 X 1",
    "\x1b[31mred\x1b[0m",
    *(numbered("w", length) for length in LENGTHS),
    *(" ".join(["the"] * length) for length in LENGTHS),
    *(" ".join(reversed(numbered("w", length).split())) for length in (9, 64, 129)),
    *(" ".join(["the", "of"] * half) for half in (16, 32, 64, 65)),
    *(" ".join(["of", "a", "the"] * third) for third in (5, 21, 43)),
    # F = 7/10 by the fraction, decided by rounding: (m, n, LCS) = (11, 9, 7), (12, 8, 7), (13, 7, 7), (10, 10, 7).
    *(f"{numbered('s', 7)} {numbered(f'only{length}x', length - 7)}".strip() for length in (7, 8, 9, 10, 11, 12, 13)),
    f"{numbered('s', 7)} {numbered('other', 3)}",
]
