"""Keyed draws: every random choice is a pure function of (seed, stage, counter).

Knows no stream and keeps no state: nothing to save, nothing that depends on timing or order.
"""

from __future__ import annotations

import hashlib
import random


def key(*parts: int | str) -> int:
    """A 63-bit number from the parts: the first bytes of SHA-256 over their `repr`s."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> random.Random:
    """A Mersenne Twister of its own for these parts; its draws are stable across platforms and Pythons ≥ 3.11."""
    return random.Random(key(*parts))
