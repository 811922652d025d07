"""The rows to train on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from self_instruct.errors import DataError
from self_instruct.readers import Source, source
from self_instruct.records import ChatExample, Example, Instance, PromptExample, SeedTask, TrainingExample
from self_instruct.train.sources import Dropped, Sources, answer, combine, fingerprint, from_seeds


def row(identity: str, instruction: str = "Name a bird.", input: str = "", output: str = "gull") -> TrainingExample:
    return TrainingExample(id=identity, instruction=instruction, input=input, output=output)


def prompt(identity: str, prompt: str = "Name a bird.", completion: str = "gull") -> PromptExample:
    return PromptExample(id=identity, prompt=prompt, completion=completion)


def chat(identity: str, *texts: str) -> ChatExample:
    roles = ("user", "assistant") * len(texts)
    return ChatExample(id=identity, messages=tuple(zip(roles, texts, strict=False)))


def of(*rows: Example, name: str = "corpus") -> Source:
    return source(name, "alpaca", rows)


def ids(rows: Sequence[Example]) -> list[str]:
    return [one.id for one in rows]


def dropped(found: Sources) -> list[tuple[str, str]]:
    return [(one.id, one.reason) for one in found.dropped]


def test_every_instance_of_a_seed_is_an_example() -> None:
    instances = (Instance(input="", output="a"), Instance(input="x", output="b"))
    task = SeedTask(id="seed_3", name="n", instruction="Do.", instances=instances, is_classification=False)
    assert from_seeds([task]) == (row("seed_3.0", "Do.", "", "a"), row("seed_3.1", "Do.", "x", "b"))


def test_seeds_come_first_and_rows_are_counted_by_source() -> None:
    found = combine([row("s", output="owl")], [of(row("c1"), row("c2", output="wren")), of(prompt("p"), name="t0")], [0.5, 2])
    assert ids(found.examples) == ["s", "c1", "c2", "p"]
    assert found.weights == (1.0, 0.5, 0.5, 2)
    assert found.names == ("seeds", "corpus", "corpus", "t0")
    assert found.counts == {"seeds": 1, "corpus": 2, "t0": 1} and found.seed_examples == 1
    assert (found.dropped, found.held_out, found.drops) == ((), (), {"duplicate": 0, "empty": 0})
    assert combine([row("s")], [of(row("c", output="owl"))]).weights == (1.0, 1.0)


@pytest.mark.parametrize("change", [{"instruction": "Name a fish."}, {"input": "x"}, {"output": "owl"}])
def test_only_whole_triples_are_duplicates(change: dict[str, str]) -> None:
    found = combine([], [of(row("a"), replace(row("b"), **change), row("c"))])
    assert ids(found.examples) == ["a", "b"]
    assert found.dropped == (Dropped(id="c", source="corpus", reason="duplicate"),)


def test_rows_of_other_kinds_are_duplicates_by_all_their_texts() -> None:
    rows = [prompt("p1"), prompt("p2", completion="gull "), prompt("p3", completion="owl"), chat("c1", "Hi", "Hello")]
    found = combine([], [of(*rows, chat("c2", "Hi ", "Hello"), chat("c3", "Hi", "Hello", "And?", "Bye"), row("r"))])
    assert ids(found.examples) == ["p1", "p3", "c1", "c3", "r"]
    assert dropped(found) == [("p2", "duplicate"), ("c2", "duplicate")]


def test_a_row_that_repeats_a_seed_or_an_earlier_source_is_dropped() -> None:
    found = combine([row("s")], [of(row("c"), row("d", output="owl")), of(row("e", output="owl"), name="more")])
    assert ids(found.examples) == ["s", "d"]
    assert found.dropped[1] == Dropped(id="e", source="more", reason="duplicate")


def test_white_space_around_makes_no_difference() -> None:
    assert dropped(combine([], [of(row("a"), row("b", " Name a bird.\n", " ", "gull "))])) == [("b", "duplicate")]


@pytest.mark.parametrize("output", ["", " ", "\n\t \n", "\u00a0"])
def test_rows_without_an_answer_are_dropped(output: str) -> None:
    blank = [row("a", output=output), prompt("b", completion=output), chat("c", "Hi", output)]
    found = combine([], [of(*blank, row("d"))])
    assert ids(found.examples) == ["d"]
    assert dropped(found) == [("a", "empty"), ("b", "empty"), ("c", "empty")]


def test_rows_whose_answer_has_no_tokens_are_dropped() -> None:
    asked: list[str] = []

    def have_tokens(texts: Sequence[str]) -> list[bool]:
        asked.extend(texts)
        return [text != "</s>" for text in texts]

    found = combine([row("s", output="owl")], [of(row("a", output=" </s>"), row("b"))], have_tokens=have_tokens)
    assert (ids(found.examples), dropped(found)) == (["s", "b"], [("a", "empty")])
    assert asked == ["owl", "</s>", "gull"]


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match=r"training data: no row is left \(2 without an output\)") as caught:
        combine([], [of(row("a", output=" "), row("b", output=""))])
    assert caught.value.hint == "name another corpus with train.data"


def test_one_id_for_two_rows_of_a_source_is_an_error() -> None:
    with pytest.raises(DataError, match="corpus: id 'a' is given to two different rows"):
        combine([], [of(row("a"), row("a", output="owl"))])


def test_sources_that_share_ids_are_told_apart_by_their_names() -> None:
    given = [of(row("a"), row("s", output="tern")), of(row("a", output="owl"), row("b", output="wren")), of(row("c", output="x"))]
    found = combine([row("s", output="auk")], given)
    assert ids(found.examples) == ["s", "corpus/a", "corpus/s", "a", "b", "c"]
    again = combine([], [given[0], given[1]])
    assert ids(again.examples) == ["a", "s", "corpus-2/a", "corpus-2/b"]
    assert again.counts == {"corpus": 2, "corpus-2": 2}


# Held out.

MANY = [row(f"r{number}.{copy}", f"Task {number}", output=f"{copy}") for number in range(100) for copy in range(3)]


@given(share=st.sampled_from([0.01, 0.02, 0.1, 0.5]), seed=st.integers(0, 3), order=st.randoms())
def test_a_share_of_the_instructions_is_held_out_with_all_their_rows(share: float, seed: int, order: random.Random) -> None:
    rows = list(MANY)
    order.shuffle(rows)
    found = combine([], [of(*rows)], held_out=share, seed=seed)
    tasks = [{one.instruction for one in part if isinstance(one, TrainingExample)} for part in (found.examples, found.held_out)]
    assert not tasks[0] & tasks[1]
    assert len(tasks[1]) == round(share * 100)
    assert len(found.examples) + len(found.held_out) == len(MANY)
    assert set(ids(found.held_out)) == set(ids(combine([], [of(*MANY)], held_out=share, seed=seed).held_out))
    assert len(found.examples) == len(found.weights) == len(found.names)


def test_what_is_held_out_depends_on_the_seed() -> None:
    chosen = {tuple(ids(combine([], [of(*MANY)], held_out=0.1, seed=seed).held_out)) for seed in range(3)}
    assert len(chosen) == 3


def test_an_instruction_of_a_seed_is_never_held_out() -> None:
    seeds = [row(f"s{number}", f" Task {number}", output="seed") for number in range(90)]
    found = combine(seeds, [of(*MANY)], held_out=0.9)
    assert {one.instruction for one in found.held_out if isinstance(one, TrainingExample)} <= {f"Task {n}" for n in range(90, 100)}
    assert len(found.held_out) == 9 * 3
    assert found.seed_examples == 90


def test_other_rows_are_held_out_by_what_their_source_says() -> None:
    """A verbatim prompt whole, a conversation by what its user says first, SuperNI by the definition."""
    told = source("x", "messages", [chat("c", "Hi", "Hello", "And?", "Bye"), prompt("p"), row("r")])
    assert told.instructions == ("Hi", "Name a bird.", "Name a bird.")
    rows = tuple(prompt(f"p{number}", f"Definition {number % 4}: {number}") for number in range(40))
    tasks = tuple(f"Definition {number % 4}" for number in range(40))
    found = combine([], [Source(name="superni", kind="superni", examples=rows, instructions=tasks)], held_out=0.25)
    assert len({one.prompt[:12] for one in found.held_out if isinstance(one, PromptExample)}) == 1
    assert len(found.held_out) == 10


def test_something_must_be_left_to_train_on() -> None:
    with pytest.raises(DataError, match=r"all 2 rows are held out \(train.held_out=0.9 of 2 instructions\)"):
        combine([], [of(row("a"), row("b", "Name a fish."))], held_out=0.9)
    assert combine([row("s", "Do.")], [of(row("a"), row("b", "Name a fish."))], held_out=0.9).counts == {"seeds": 1}


def test_the_fingerprint_knows_every_field_and_the_order() -> None:
    base = [row("a"), row("b", output="owl")]
    others: list[list[Example]] = [
        [*base[::-1]],
        [*base[:1]],
        [replace(base[0], id="z"), base[1]],
        [replace(base[0], instruction="z"), base[1]],
        [replace(base[0], input="z"), base[1]],
        [replace(base[0], output="z"), base[1]],
        [prompt("a"), base[1]],
        [prompt("a", "z"), base[1]],
        [prompt("a", completion="z"), base[1]],
        [chat("a", "Hi", "Hello"), base[1]],
        [chat("a", "Hi", "z"), base[1]],
    ]
    assert len({fingerprint(rows) for rows in [base, *others]}) == 12
    assert fingerprint(list(base)) == fingerprint(base)


def test_an_answer_is_what_a_row_is_trained_on() -> None:
    assert [answer(one) for one in (row("a"), prompt("b", completion="owl"), chat("c", "Hi", "Hello"))] == ["gull", "owl", "Hello"]


# A subset of the instructions.


def instructions(rows: Sequence[Example]) -> set[str]:
    return {one.instruction for one in rows if isinstance(one, TrainingExample)}


SEEDS = [row(f"s{number}", f"Seed {number}") for number in range(10)]


@given(sizes=st.lists(st.integers(1, 130), min_size=2, max_size=2).map(sorted), seed=st.integers(0, 3), order=st.randoms())
def test_smaller_subsets_are_part_of_larger_ones_seeds_first(sizes: list[int], seed: int, order: random.Random) -> None:
    rows = list(MANY)
    order.shuffle(rows)
    found = [combine(SEEDS, [of(*rows)], instructions=size, seed=seed) for size in sizes]
    small, large = (instructions(one.examples) for one in found)
    assert small <= large
    assert [one.instructions for one in found] == [min(size, 110) for size in sizes] == [len(small), len(large)]
    assert all(one.available == 110 for one in found)
    for size, taken in zip(sizes, (small, large), strict=True):
        assert len([text for text in taken if text.startswith("Seed")]) == min(size, 10)
    # An instruction comes with all its rows.
    assert len(found[1].examples) == sum(1 if text.startswith("Seed") else 3 for text in large)
    assert found[1].drops == {"duplicate": 0, "empty": 0}


def test_which_instructions_are_taken_depends_on_the_seed() -> None:
    taken = {frozenset(instructions(combine([], [of(*MANY)], instructions=30, seed=seed).examples)) for seed in range(3)}
    assert len(taken) == 3


def test_held_out_are_some_of_the_subset() -> None:
    found = combine(SEEDS, [of(*MANY)], instructions=50, held_out=0.25, seed=1)
    assert len(instructions(found.held_out)) == 10 and len(instructions(found.examples)) == 40
    assert not instructions(found.held_out) & instructions(SEEDS)


def test_the_seeds_alone_can_be_trained_on() -> None:
    found = combine(SEEDS, [])
    assert (found.counts, found.instructions, found.available) == ({"seeds": 10}, 10, 10)
