"""The loops of the novelty index over plain arrays, in Python that numba compiles.

Knows no texts or ids: tokens, entries and words are numbers. LCS by Hyyrö's bit-parallel rule V = (V + (V & M)) | (V & ~M),
with V an entry's own word (a long entry's words) and the bits its positions, so that a candidate's token touches only the
entries that hold it. V starts as ones; its zeros are the LCS. M may be taken in parts, higher positions first: matches in
two parts would have to follow each other, so no step makes two. Hence a token's occurrence is one number (a posting),
place * 64 + position, a place being an entry's word, and a frequent token has a column of masks, one for each place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORD = 64  # bits; an entry in one word has fewer tokens than that. An entry's key: length * WORD + LCS with the candidate
BLOCK = 4096  # entries whose words stay in the first cache while all tokens pass over them
ONE = np.uint64(1)
ONES = np.uint64(2**64 - 1)

Bytes = NDArray[np.uint8]
Columns = NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.uint64]
Keys = NDArray[np.uint16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Posts = NDArray[np.uint32]
Float = NDArray[np.float64]


def append(
    place: int, tokens: Int32, start: Int64, held: Int32, room: Int32, posts: Posts, used: int, column: Int32, columns: Columns
) -> tuple[int, int]:
    """Note an entry's tokens, from the last to the first, at its place (a long entry's first word).

    A token has `held` of `room` postings from `start`; it moves to twice the room at the end when it has outgrown them.
    Returns the postings in use, and how many tokens are left because `posts` is full: to be given again with more room.
    """
    for position in range(len(tokens) - 1, -1, -1):
        token = tokens[position]
        if column[token] >= 0:
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


def nearest(
    tokens: Int32, places: int, entries: Int32, base: Keys, start: Int64, held: Int32, posts: Posts, column: Int32,
    columns: Columns, table: Float, best_entry: Int32, best_score: Float, total: float,
) -> float:  # fmt: skip
    """Score a candidate's tokens (-1: unknown) with the entries of one width, whose words have the type of `columns`.

    Puts the nearest of them among `best_entry` and `best_score` (best first, the older first among equals; -1 is nobody's
    score) and returns `total` with the scores added, by ascending key. `entries[place]` is the entry there, `base[place]`
    its key without the LCS, `table[key]` the score.
    """
    word = columns.dtype.type
    v = np.empty(BLOCK, columns.dtype)
    keys = np.empty(BLOCK, np.uint16)
    counts = np.zeros(WORD * min(WORD, 8 * v.itemsize + 1), np.int32)
    last = len(best_score) - 1
    least = best_score[last]  # what is below isn't one of the best
    cursor = np.zeros(len(tokens), np.int64)
    for number in range(len(tokens)):
        if 0 <= tokens[number] < len(start):
            cursor[number] = start[tokens[number]]

    for low in range(0, places, BLOCK):
        size = min(BLOCK, places - low)
        v[:] = word(ONES)
        for number in range(len(tokens)):
            token = tokens[number]
            if token < 0 or token >= len(start):
                continue
            if column[token] >= 0:
                masks = columns[column[token], low : low + size]
                for near in range(size):
                    x, mask = word(v[near]), word(masks[near])
                    v[near] = (x + (x & mask)) | (x & ~mask)
                continue
            number_of = cursor[number]
            end = start[token] + held[token]
            limit = WORD * (low + size)
            while number_of < end:
                post = posts[np.uint64(number_of)]  # numba looks for negative indexes unless they are unsigned
                if post >= limit:
                    break
                place = np.uint64(post >> np.uint32(6)) - np.uint64(low)
                x, bit = word(v[place]), word(ONE << np.uint64(post & np.uint32(63)))
                v[place] = (x + (x & bit)) | (x & ~bit)
                number_of += 1
            cursor[number] = number_of
        bases = base[low : low + size]
        for near in range(size):
            # The zeros that V has left, counted in the way that LLVM knows as a population count.
            x = word(~v[near])
            x = word(x - ((x >> word(1)) & word(0x5555555555555555)))
            x = word((x & word(0x3333333333333333)) + ((x >> word(2)) & word(0x3333333333333333)))
            x = word((x + (x >> word(4))) & word(0x0F0F0F0F0F0F0F0F))
            keys[near] = bases[near] + (word(x * word(0x0101010101010101)) >> word(8 * v.itemsize - 8))
        for near in range(size):
            key = keys[near]
            counts[key] += 1
            score = table[key]
            if score >= least:
                entry = entries[low + near]
                if score == least and entry > best_entry[last]:
                    continue
                rank = last
                while rank > 0 and (
                    best_score[rank - 1] < score or (best_score[rank - 1] == score and best_entry[rank - 1] > entry)
                ):
                    best_score[rank] = best_score[rank - 1]
                    best_entry[rank] = best_entry[rank - 1]
                    rank -= 1
                best_score[rank] = score
                best_entry[rank] = entry
                least = best_score[last]

    for key in range(len(counts)):
        if counts[key] > 0:
            total += counts[key] * table[key]
    return total


def nearest_long(
    tokens: Int32, longs: int, entries: Int32, first: Int64, lengths: Int64, ends: Bytes, start: Int64, held: Int32,
    posts: Posts, column: Int32, columns: Columns, best_entry: Int32, best_score: Float, total: float,
) -> float:  # fmt: skip
    """As `nearest`, for the long entries, with `total` growing in their order.

    Entry `entries[k]` has `lengths[k]` tokens in the words from `first[k]` to `first[k + 1]`; `ends` is 1 for each entry's
    last word, whose highest bit is free.
    """
    words = first[longs]
    v = np.full(words, ONES, np.uint64)
    for token in tokens:
        if token < 0 or token >= len(start):
            continue
        if column[token] >= 0:
            masks = columns[column[token], :words]
            carry = np.uint64(0)
            for word in range(words):
                u = v[word] & masks[word]
                added = v[word] + u
                over = np.uint64(added < u)
                added += carry
                over |= np.uint64(added < carry)
                v[word] = added | (v[word] - u)
                carry = over & ~np.uint64(ends[word])
            continue
        for number in range(start[token], start[token] + held[token]):
            place = np.int64(posts[number] >> np.uint32(6))
            u = v[place] & (ONE << np.uint64(posts[number] & np.uint32(63)))
            added = v[place] + u
            v[place] = added | (v[place] - u)
            above = added < u
            while above and ends[place] == 0:
                place += 1
                added = v[place] + ONE
                v[place] |= added
                above = added == 0
    last = len(best_score) - 1
    for number in range(longs):
        lcs = 0
        for word in range(first[number], first[number + 1]):
            x = ~v[word]
            while x != 0:
                x &= x - ONE
                lcs += 1
        score = 0.0
        if lcs > 0:
            precision, recall = lcs / len(tokens), lcs / lengths[number]
            score = 2 * precision * recall / (precision + recall)
        total += score
        entry = entries[number]
        if score < best_score[last] or (score == best_score[last] and entry > best_entry[last]):
            continue
        rank = last
        while rank > 0 and (best_score[rank - 1] < score or (best_score[rank - 1] == score and best_entry[rank - 1] > entry)):
            best_score[rank] = best_score[rank - 1]
            best_entry[rank] = best_entry[rank - 1]
            rank -= 1
        best_score[rank] = score
        best_entry[rank] = entry
    return total
