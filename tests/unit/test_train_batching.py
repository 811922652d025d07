"""The plan of the steps is a pure function of (seed, epoch, weights); the rows are one of (seed, epoch, example)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_training import byte_level, examples
from self_instruct.errors import ConfigError, DataError
from self_instruct.records import ChatExample, PromptExample
from self_instruct.template import CHAT, VERBATIM, WITH_INPUT, WITHOUT_INPUT
from self_instruct.train.batching import Preparation, epoch_examples, epoch_steps, steps
from self_instruct.train.tokens import Tokens


@given(seed=st.integers(0, 5), epoch=st.integers(0, 3), count=st.integers(1, 70), size=st.integers(1, 20))
def test_an_epoch_shows_every_example_once(seed: int, epoch: int, count: int, size: int) -> None:
    plan = steps(seed, epoch, [1.0] * count, size)
    assert sorted(i for step in plan for i in step) == list(range(count))
    assert all(len(step) == size for step in plan[:-1])
    assert 1 <= len(plan[-1]) <= size


def test_the_order_is_keyed_by_seed_and_epoch() -> None:
    plans = {(seed, epoch): steps(seed, epoch, [1.0] * 50, 8) for seed in (1, 2) for epoch in (0, 1)}
    assert len(set(plans.values())) == 4
    assert steps(1, 0, [1.0] * 50, 8) == plans[1, 0]
    assert plans[1, 0] != tuple(tuple(range(i, min(i + 8, 50))) for i in range(0, 50, 8))


def test_the_order_stays_what_it_was() -> None:
    """A change here would make old runs impossible to repeat."""
    assert steps(42, 0, [1.0] * 7, 3) == ((1, 3, 5), (2, 4, 6), (0,))
    assert steps(42, 1, [1.0, 1.0, 0.5, 0.5, 2.0], 3) == ((1, 4, 3), (0, 4))


@given(
    weights=st.lists(st.sampled_from([0.3, 0.5, 1.0, 1.5, 2.0]), min_size=1, max_size=60),
    epoch=st.integers(0, 5),
    size=st.integers(1, 20),
)
def test_an_epoch_shows_each_example_as_often_as_its_weight(weights: list[float], epoch: int, size: int) -> None:
    plan = steps(1, epoch, weights, size)
    counts = Counter(i for step in plan for i in step)
    assert all(math.floor(weight) <= counts[i] <= math.ceil(weight) for i, weight in enumerate(weights))
    for weight in set(weights):
        rows = [i for i, other in enumerate(weights) if other == weight]
        assert sum(counts[i] for i in rows) == math.floor(weight) * len(rows) + round((weight - math.floor(weight)) * len(rows))
    assert sum(counts.values()) == epoch_examples(weights)
    assert len(plan) == epoch_steps(weights, size)


def test_a_part_of_the_rows_is_followed_by_the_others() -> None:
    seen = [sorted(i for step in steps(3, epoch, [0.25] * 40, 8) for i in step) for epoch in range(4)]
    assert sorted(i for rows in seen for i in rows) == list(range(40))
    assert seen[0] != list(range(10))


def preparation(draw: str = "epoch", seed: int = 42, limit: int = 256) -> Preparation:
    tokenizer = byte_level()
    return Preparation(
        tokens=Tokens(tokenizer),
        eos_id=tokenizer.eos_token_id,
        limit=limit,
        prompt_weight=0.25,
        seed=seed,
        template_draw=draw,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("draw", "same"), [("epoch", False), ("once", True)])
def test_templates_are_drawn_anew_each_epoch_or_once(draw: str, same: bool) -> None:
    chosen = preparation(draw)
    first, second = ([chosen.render(example, epoch) for example in examples(30)] for epoch in (0, 1))
    assert (first == second) is same


def test_a_template_depends_on_the_seed_and_the_example_alone() -> None:
    rows = examples(30)
    chosen = preparation()
    forward = [chosen.render(row, 1) for row in rows]
    assert [chosen.render(row, 1) for row in reversed(rows)][::-1] == forward
    assert [preparation(seed=43).render(row, 1) for row in rows] != forward


def test_all_forms_are_drawn() -> None:
    chosen = preparation()
    counts = Counter(chosen.render(row, epoch).form for row in examples(60) for epoch in range(10))
    assert set(counts) == set(WITH_INPUT + WITHOUT_INPUT)


def test_an_example_is_encoded_as_the_preparation_says() -> None:
    row = examples(60)[59]
    long = replace(row, instruction=row.instruction * 5)
    one = preparation(limit=64).encode(long, 0)
    assert one.id == long.id
    assert len(one.ids) == 64 and one.prompt_cut > 0
    assert set(one.weights) == {0.0, 0.25, 1.0}
    assert one.form == preparation().render(long, 0).form


def test_rows_of_every_kind_are_encoded_together_as_each_alone() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    tokenizer.chat_template += "{% if add_generation_prompt %}assistant: {% endif %}"
    rows = [
        *examples(3),
        PromptExample(id="p", prompt="Name a bird. ", completion="gull"),
        ChatExample(id="c", messages=(("user", "Hi"), ("assistant", "Hello"))),
        *examples(5)[3:],
    ]
    chosen = Preparation(tokens=Tokens(tokenizer), eos_id=tokenizer.eos_token_id, limit=256)
    found = chosen.encode_all(rows, 0)
    assert found == [chosen.encode(row, 0) for row in rows]
    assert [one.id for one in found] == [row.id for row in rows]
    assert [one.form for one in found[3:5]] == [VERBATIM, CHAT]
    assert [tokenizer.decode(one.ids) for one in found[3:5]] == ["Name a bird. gull</s>", "user: Hi</s>assistant: Hello</s>"]
    assert {one.form for one in replace(chosen, template="chat").encode_all(rows[:3], 0)} == {CHAT}


CHAT_ROW = ChatExample(id="c7", messages=(("user", "Hi"), ("assistant", "Hello")))


def test_a_tokenizer_without_chat_template_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.name: its tokenizer has no chat template") as caught:
        preparation().encode(CHAT_ROW, 0)
    assert "train.template=forms" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("chat_template", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "row 'c7': the chat template .* refuses it: roles must alternate"),
        (
            "{{ messages | length }}{{ messages[-1].content }}",
            "row 'c7': the chat template .* otherwise than the prompt .* in '1Hi'",
        ),
    ],
)
def test_a_conversation_that_the_template_does_not_take_is_named(chat_template: str, message: str) -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = chat_template
    with pytest.raises(DataError, match=message):
        Preparation(tokens=Tokens(tokenizer), eos_id=tokenizer.eos_token_id, limit=256).encode(CHAT_ROW, 0)
