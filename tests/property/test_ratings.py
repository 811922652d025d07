"""The store of ratings against a plain list, and what the page may send against what it gets."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
from self_instruct.errors import DataError
from self_instruct.evaluate import rating_input
from self_instruct.evaluate.rating_export import as_csv
from self_instruct.evaluate.rating_results import consensus
from self_instruct.evaluate.ratings import RatingStore
from self_instruct.records import LEVELS, Level

NAMES = ("ann", "bob")
TARGETS = [(f"s{n % 3}", f"a{n}") for n in range(4)]
saves = st.tuples(st.just("save"), st.sampled_from(NAMES), st.sampled_from(TARGETS), st.sampled_from([*LEVELS, "skip", None]))
undos = st.tuples(st.just("undo"), st.sampled_from(NAMES), st.none(), st.none())
repeats = st.tuples(st.just("again"), st.sampled_from(NAMES), st.none(), st.none())


@settings(max_examples=60, deadline=None)
@given(st.lists(saves | undos | repeats, max_size=25))
def test_the_store_is_a_list_of_actions_with_undo(script: list[tuple[str, str, tuple[str, str] | None, str | None]]) -> None:
    done: dict[str, list[tuple[tuple[str, str], str | None]]] = {name: [] for name in NAMES}
    sent: dict[str, tuple[tuple[str, str], str | None, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = RatingStore(Path(folder) / "ratings.sqlite")
        raters = {name: store.enter(name, name, None, True, 0.0).rater for name in NAMES}
        for number, (what, name, target, level) in enumerate(script):
            if what == "save" and target is not None:
                store.save(raters[name], "answers", target, level, "", f"nonce-{number}", float(number))
                done[name].append((target, level))
                sent[name] = target, level, f"nonce-{number}"
            elif what == "again" and name in sent:  # a repetition on the wire changes nothing, whatever was undone since
                store.save(raters[name], "answers", sent[name][0], sent[name][1], "", sent[name][2], float(number))
            elif what == "undo":
                undone = store.undo(raters[name], "answers", set(TARGETS), f"nonce-{number}", float(number))
                assert undone == (done[name].pop()[0] if done[name] else None)
        for name in NAMES:
            last = dict(done[name])
            found = {where: value.value for where, value in store.values(raters[name], "answers").items()}
            assert found == {where: level for where, level in last.items() if level is not None}
        rated = {(one.rater, one.subject, one.answer): one.level for one in store.ratings()}
        assert rated == {(name, *where): level for name in NAMES for where, level in dict(done[name]).items() if level in LEVELS}
        store.close()


@given(st.binary(max_size=200) | strategies.json_records.map(lambda row: repr(row).encode("utf-8", "replace")))
def test_any_body_is_taken_or_refused(raw: bytes) -> None:
    for kind in (rating_input.Enter, rating_input.Rate, rating_input.Undo, rating_input.Leave):
        try:
            assert isinstance(rating_input.parse(kind, raw), kind)
        except DataError as error:
            assert error.hint


@given(strategies.raw_texts)
def test_any_name_is_taken_in_one_form_or_refused(name: str) -> None:
    try:
        shown, key = rating_input.person(name)
    except DataError:
        return
    assert rating_input.person(shown) == (shown, key)
    assert key == shown.casefold() and not key.startswith("judge ")
    assert shown.isprintable() and 1 <= len(shown) <= rating_input.LONGEST_NAME


@given(strategies.raw_texts)
def test_a_text_on_the_page_has_no_control_in_it(text: str) -> None:
    shown = rating_input.visible(text)
    assert all(sign.isprintable() or sign in "\n\t" or ord(sign) > 0x9F for sign in shown)
    shown.encode("utf-8")
    assert rating_input.visible(shown) == shown


@given(st.dictionaries(st.sampled_from(["a", "b"]), strategies.raw_texts, min_size=1))
def test_no_cell_of_a_spreadsheet_is_a_formula(row: dict[str, str]) -> None:
    import csv
    import io

    (found,) = list(csv.DictReader(io.StringIO(as_csv([row]), newline="")))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in found.values())


@given(st.lists(st.sampled_from(LEVELS), min_size=1, max_size=7), st.randoms())
def test_the_consensus_depends_on_no_order_and_lies_between(levels: list[Level], draws: object) -> None:
    mixed = list(levels)
    draws.shuffle(mixed)  # type: ignore[attr-defined]
    found = consensus([{("s", "a"): level} for level in levels])
    assert found == consensus([{("s", "a"): level} for level in mixed])
    assert min(levels) <= found["s", "a"] <= max(levels)
