"""The rows to train on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from self_instruct.errors import DataError
from self_instruct.records import Instance, SeedTask, TrainingExample
from self_instruct.train.sources import combine, fingerprint, from_seeds


def row(identity: str, instruction: str = "Name a bird.", input: str = "", output: str = "gull") -> TrainingExample:
    return TrainingExample(id=identity, instruction=instruction, input=input, output=output)


def test_every_instance_of_a_seed_is_an_example() -> None:
    instances = (Instance(input="", output="a"), Instance(input="x", output="b"))
    task = SeedTask(id="seed_3", name="n", instruction="Do.", instances=instances, is_classification=False)
    assert from_seeds([task]) == (row("seed_3.0", "Do.", "", "a"), row("seed_3.1", "Do.", "x", "b"))


def test_seeds_come_first_and_are_counted() -> None:
    found = combine([row("s", output="owl")], [row("c1"), row("c2", output="wren")])
    assert [one.id for one in found.examples] == ["s", "c1", "c2"]
    assert (found.seed_examples, found.duplicates, found.empty) == (1, 0, 0)


@pytest.mark.parametrize("change", [{"instruction": "Name a fish."}, {"input": "x"}, {"output": "owl"}])
def test_only_whole_triples_are_duplicates(change: dict[str, str]) -> None:
    found = combine([], [row("a"), replace(row("b"), **change), row("c")])
    assert [one.id for one in found.examples] == ["a", "b"]
    assert found.duplicates == 1


def test_a_corpus_row_that_repeats_a_seed_is_dropped() -> None:
    found = combine([row("s")], [row("c"), row("d", output="owl")])
    assert [one.id for one in found.examples] == ["s", "d"]
    assert (found.seed_examples, found.duplicates) == (1, 1)


def test_white_space_around_makes_no_difference() -> None:
    assert combine([], [row("a"), row("b", " Name a bird.\n", " ", "gull ")]).duplicates == 1


@pytest.mark.parametrize("output", ["", " ", "\n\t \n", "\u00a0"])
def test_rows_without_an_output_are_dropped(output: str) -> None:
    found = combine([], [row("a", output=output), row("b")])
    assert [one.id for one in found.examples] == ["b"]
    assert (found.empty, found.duplicates) == (1, 0)


def test_rows_whose_output_has_no_tokens_are_dropped() -> None:
    found = combine([], [row("a", output="</s>"), row("b")], has_tokens=lambda text: text != "</s>")
    assert ([one.id for one in found.examples], found.empty) == (["b"], 1)


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match=r"training data: no row is left \(2 without an output\)") as caught:
        combine([], [row("a", output=" "), row("b", output="")])
    assert caught.value.hint == "name another corpus with train.data"


def test_one_id_for_two_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="id 'a' is given to two different rows"):
        combine([row("a")], [row("a", output="owl")])


def test_the_fingerprint_knows_every_field_and_the_order() -> None:
    base = [row("a"), row("b", output="owl")]
    others = [
        base[::-1],
        base[:1],
        [replace(base[0], id="z"), base[1]],
        [replace(base[0], instruction="z"), base[1]],
        [replace(base[0], input="z"), base[1]],
        [replace(base[0], output="z"), base[1]],
    ]
    found = {fingerprint(rows) for rows in [base, *others]}
    assert len(found) == 7
    assert fingerprint(list(base)) == fingerprint(base)
