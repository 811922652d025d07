"""The loops of the novelty index over plain arrays, in Python that numba compiles.

Knows no texts or ids: tokens, entries and words are numbers. LCS by Hyyrö's bit-parallel rule V = (V + (V & M)) | (V & ~M),
with V an entry's own 64-bit word (a long entry's words) and the bits its positions, so that a candidate's token touches only
the entries that hold it. V starts as ones; its zeros are the LCS. M may be taken in parts, higher positions first: matches
in two parts would have to follow each other, so no step makes two. Hence a token's occurrence is one number (a posting),
place * 64 + position, a place being an entry or a word, and a frequent token's low positions are masks in a column.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORD = 64  # bits; an entry in one word has fewer tokens than that
LONG = WORD * WORD  # the key of a longer entry; that of any other is its length * 64 + its LCS with the candidate
BLOCK = 2048  # entries whose words stay in the first cache while all tokens pass over them
ONE = np.uint64(1)
ONES = np.uint64(2**64 - 1)

Bytes = NDArray[np.uint8]
Columns = NDArray[np.uint32] | NDArray[np.uint64]
Keys = NDArray[np.uint16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Posts = NDArray[np.uint32]
Float = NDArray[np.float64]


def append(
    place: int, tokens: Int32, start: Int64, held: Int32, room: Int32, posts: Posts, used: int, column: Int32, columns: Columns,
    bits: int,
) -> tuple[int, int]:  # fmt: skip
    """Note an entry's tokens, from the last to the first, at `place` (an entry, or the first word of a long one).

    A token has `held` of `room` postings from `start`; it moves to twice the room at the end when it has outgrown them.
    A column has `bits` of a word's positions, the lowest. Returns the postings in use, and how many tokens are left
    because `posts` is full: to be given again with more room.
    """
    for position in range(len(tokens) - 1, -1, -1):
        token = tokens[position]
        if column[token] >= 0 and position % WORD < bits:
            columns[column[token], place + position // WORD] |= columns.dtype.type(1 << position % WORD)
            continue
        if held[token] == room[token]:
            more = 2 * room[token] + 1
            if used + more > len(posts):
                return used, position + 1
            for number in range(held[token]):
                posts[used + number] = posts[start[token] + number]
            start[token] = used
            room[token] = more
            used += more
        posts[start[token] + held[token]] = place * WORD + position
        held[token] += 1
    return used, 0


def long_scores(
    tokens: Int32, start: Int64, held: Int32, posts: Posts, column: Int32, columns: Columns, first: Int64, lengths: Int64,
    ends: Bytes, scores: Float,
) -> None:  # fmt: skip
    """Fill `scores` with ROUGE-L F1 of a candidate's tokens (-1: unknown) and each of the long entries.

    Entry k has `lengths[k]` tokens in the words from `first[k]` to `first[k + 1]`; `ends` is 1 for each entry's last word,
    whose highest bit is free.
    """
    words = first[len(scores)]
    v = np.full(words, ONES, np.uint64)
    for token in tokens:
        if token < 0 or token >= len(start):
            continue
        if column[token] >= 0:
            masks = columns[column[token], :words]
            carry = np.uint64(0)
            for word in range(words):
                u = v[word] & masks[word]
                total = v[word] + u
                over = np.uint64(total < u)
                total += carry
                over |= np.uint64(total < carry)
                v[word] = total | (v[word] - u)
                carry = over & ~np.uint64(ends[word])
            continue
        for number in range(start[token], start[token] + held[token]):
            place = np.int64(posts[number] >> np.uint32(6))
            u = v[place] & (ONE << np.uint64(posts[number] & np.uint32(63)))
            total = v[place] + u
            v[place] = total | (v[place] - u)
            above = total < u
            while above and ends[place] == 0:
                place += 1
                total = v[place] + ONE
                v[place] |= total
                above = total == 0
    for entry in range(len(scores)):
        lcs = 0
        for word in range(first[entry], first[entry + 1]):
            x = ~v[word]
            while x != 0:
                x &= x - ONE
                lcs += 1
        scores[entry] = 0.0
        if lcs > 0:
            precision, recall = lcs / len(tokens), lcs / lengths[entry]
            scores[entry] = 2 * precision * recall / (precision + recall)


def nearest(
    tokens: Int32, entries: int, base: Keys, start: Int64, held: Int32, posts: Posts, column: Int32, columns: Columns,
    long_score: Float, table: Float, best_entry: Int64, best_score: Float,
) -> float:  # fmt: skip
    """Fill `best_entry` and `best_score` with the entries nearest to a candidate's tokens (-1: unknown), at most all entries.

    Best first, the older first among equals. Returns the sum of all scores. `base[entry]` is the entry's key without the
    LCS, `table[key]` the score; `table[LONG]` must exceed any score, and `long_score` holds those of the long entries.
    """
    v = np.empty(BLOCK, np.uint64)
    keys = np.empty(BLOCK, np.uint16)
    counts = np.zeros(LONG + 1, np.int32)
    last = len(best_score) - 1
    best_score[:] = -1.0
    least = -1.0  # of the best: what doesn't exceed it isn't one of them
    seen = 0
    cursor = np.zeros(len(tokens), np.int64)
    for number in range(len(tokens)):
        if 0 <= tokens[number] < len(start):
            cursor[number] = start[tokens[number]]

    for low in range(0, entries, BLOCK):
        size = min(BLOCK, entries - low)
        v[:] = ONES
        for number in range(len(tokens)):
            token = tokens[number]
            if token < 0 or token >= len(start):
                continue
            place = cursor[number]
            end = start[token] + held[token]
            limit = WORD * (low + size)
            while place < end:
                post = posts[np.uint64(place)]  # numba looks for negative indexes unless they are unsigned
                if post >= limit:
                    break
                entry = np.uint64(post >> np.uint32(6)) - np.uint64(low)
                u = v[entry] & (ONE << np.uint64(post & np.uint32(63)))
                v[entry] = (v[entry] + u) | (v[entry] - u)
                place += 1
            cursor[number] = place
            if column[token] >= 0:
                masks = columns[column[token], low : low + size]
                for near in range(size):
                    x, mask = v[near], np.uint64(masks[near])
                    v[near] = (x + (x & mask)) | (x & ~mask)
        bases = base[low : low + size]
        for near in range(size):
            # The zeros that V has left, counted in the way that LLVM knows as a population count.
            x = ~v[near]
            x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
            x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
            x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
            keys[near] = np.uint16(np.uint64(bases[near]) + ((x * np.uint64(0x0101010101010101)) >> np.uint64(56)))
        for near in range(size):
            key = keys[near]
            counts[key] += 1
            score = table[key]
            if score > least:
                if key == LONG:
                    score = long_score[seen]
                    seen += 1
                    if score <= least:
                        continue
                place = last
                while place > 0 and best_score[place - 1] < score:
                    best_score[place] = best_score[place - 1]
                    best_entry[place] = best_entry[place - 1]
                    place -= 1
                best_score[place] = score
                best_entry[place] = low + near
                least = best_score[last]

    total = 0.0
    for key in range(LONG):
        if counts[key] > 0:
            total += counts[key] * table[key]
    for score in long_score:
        total += score
    return total
