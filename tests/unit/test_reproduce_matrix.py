"""Rows, their roles, and the cells that come of them: pure, so every case is quick."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from self_instruct import reproduce_matrix
from self_instruct.errors import ConfigError
from self_instruct.loading import load
from self_instruct.reproduce_matrix import Matrix, build
from self_instruct.settings import Settings
from self_instruct.settings_reproduce import TEST

OUT = Path("runs/matrix")
BOTH = ("data.superni=some/superni", "data.t0=some/t0", "reproduce.encoder_decoder=toy-seq2seq", "reproduce.sizes=[]")
ROLES = {
    "base": "base",
    "t5-lm": "t5_lm",
    "t5-t0": "t5_t0",
    "t5-superni": "t5_superni",
    "instruct": "instruct",
    "t0": "t0",
    "superni": "superni",
    "self-instruct": "self_inst",
    "self-instruct+superni": "self_inst_superni",
    "seeds": "seeds",
    "better-outputs": "outputs",
}


def settings(*overrides: str) -> Settings:
    return load(overrides=overrides).settings


def made(
    *overrides: str, instructions: dict[str, int] | None = None, faults: dict[str, str] | None = None, seeds: int = 175
) -> Matrix:
    return build(settings(*overrides), OUT, seeds=seeds, instructions=instructions or {}, faults=faults or {})


def cells(matrix: Matrix) -> list[str]:
    return [cell.name for cell in matrix.cells]


def of(matrix: Matrix, name: str) -> dict[str, Any]:
    return dict(next(cell.overrides for cell in matrix.cells if cell.name == name))


def why(matrix: Matrix) -> dict[str, str]:
    return {plan.row.name: plan.why for plan in matrix.rows if plan.why}


def test_the_standard_rows_have_the_papers_roles() -> None:
    assert {plan.row.name: plan.role for plan in made(*BOTH).rows} == ROLES


def test_with_all_data_every_row_is_run_and_no_cell_comes_before_what_it_waits_for() -> None:
    matrix = made(*BOTH)
    assert why(matrix) == {}
    names = cells(matrix)
    assert len(names) == len(set(names))
    for cell in matrix.cells:
        assert all(names.index(before) < names.index(cell.name) for before in cell.after)
    assert {name for name in names if name.endswith("/generate")} == {"self-instruct/generate", "better-outputs/generate"}


def test_without_data_their_rows_say_so_and_the_others_are_run() -> None:
    matrix = made("reproduce.sizes=[]", "model.name=some/base")
    assert why(matrix) == {
        "t5-lm": "reproduce.encoder_decoder isn't set",
        "t5-t0": "reproduce.encoder_decoder isn't set",
        "t5-superni": "reproduce.encoder_decoder isn't set",
        "instruct": "model.instruct isn't set",
        "t0": "data.t0 isn't set",
        "superni": "data.superni isn't set",
        "self-instruct+superni": "data.superni isn't set",
        "better-outputs": "model.instruct isn't set",
    }
    assert set(cells(matrix)) == {
        "base/evaluate", "self-instruct/generate", "self-instruct/train", "self-instruct/evaluate", "seeds/train", "seeds/evaluate",
    }  # fmt: skip


def test_a_fault_of_the_data_is_told_and_nothing_is_measured_on_it() -> None:
    matrix = made(*BOTH, faults={"superni": "data.superni: x: no train tasks"})
    assert why(matrix)["superni"] == why(matrix)["t5-superni"] == "data.superni: x: no train tasks"
    assert of(matrix, "base/evaluate")["evaluate.superni.folder"] == "some/superni"
    matrix = made(*BOTH, faults={TEST: "data.superni: x: no test tasks"})
    assert "superni" not in why(matrix), "it can be trained on"
    assert of(matrix, "base/evaluate")["evaluate.superni.folder"] is None
    assert "t0/train" in cells(matrix)


def test_a_row_with_nothing_left_to_measure_says_what_is_missing() -> None:
    rows = json.dumps([{"name": "s", "measure": ["superni"]}, {"name": "u"}])
    assert why(made(f"reproduce.rows={rows}", "evaluate.user_oriented=[]")) == {
        "s": "data.superni isn't set",
        "u": "data.superni isn't set, evaluate.user_oriented is empty",
    }
    assert why(made(f"reproduce.rows={rows}", "data.superni=x", faults={TEST: "data.superni: x: bad"})) == {
        "s": "data.superni: x: bad"
    }


@pytest.mark.parametrize(
    ("row", "role"),
    [
        ({"data": ["seeds", "t0"]}, "other"),
        ({"prompt": "chat"}, "other"),
        ({"model": "instruct", "prompt": "completion"}, "other"),
        ({"data": ["seeds", "other-own"]}, "other"),
        ({"data": ["own"]}, "self_inst"),
        ({"data": ["seeds", "own"], "prompt": "chat"}, "other"),
    ],
)
def test_only_what_a_papers_model_is_has_its_role(row: dict[str, Any], role: str) -> None:
    rows = [{"name": "own", "generate": True}, {"name": "other-own", "model": "x/y", "generate": True}, {"name": "r", **row}]
    matrix = made(f"reproduce.rows={json.dumps(rows)}", "reproduce.sizes=[]")
    assert matrix.rows[-1].role == role


def test_a_corpus_that_nobody_is_tuned_on_is_written_all_the_same() -> None:
    rows = json.dumps([{"name": "own", "generate": True}])
    assert wanted(f"reproduce.rows={rows}", "reproduce.sizes=[]") == ["own/generate", "own/evaluate"]


def test_a_row_stands_for_a_size_if_it_is_measured_on_as_much() -> None:
    rows = json.dumps([{"name": "own", "generate": True}, {"name": "seeds", "data": ["seeds"], "measure": ["superni"]}])
    assert made(f"reproduce.rows={rows}", "reproduce.sizes=[175]", "data.superni=x").rows[-1].same_as is None


def test_what_each_row_is_trained_on() -> None:
    matrix = made(*BOTH)
    corpus = "runs/matrix/rows/self-instruct/generate/corpus"
    told = {name: (of(matrix, f"{name}/train")["train.data"], of(matrix, f"{name}/train")["train.include_seeds"]) for name in (
        "t0", "superni", "self-instruct", "self-instruct+superni", "seeds", "better-outputs", "t5-t0",
    )}  # fmt: skip
    assert told == {
        "t0": (("some/t0",), False),
        "superni": (("some/superni",), False),
        "self-instruct": ((corpus,), True),
        "self-instruct+superni": ((corpus, "some/superni"), True),
        "seeds": ((), True),
        "better-outputs": (("runs/matrix/rows/better-outputs/generate/corpus",), True),
        "t5-t0": (("some/t0",), False),
    }


def test_the_models_of_the_rows() -> None:
    matrix = made(*BOTH, "model.name=some/base", "model.revision=main", "model.instruct=some/instruct")
    assert of(matrix, "instruct/evaluate") | {} == {
        "model.name": "some/instruct", "model.revision": None, "model.prompt": "chat", "evaluate.adapters": (),
        "evaluate.superni.folder": "some/superni", "evaluate.user_oriented": "shipped",
    }  # fmt: skip
    assert of(matrix, "t5-t0/train")["model.name"] == "toy-seq2seq"
    assert of(matrix, "t5-lm/evaluate")["model.engine"] == "transformers"
    assert of(matrix, "better-outputs/generate") == {
        "model.name": "some/instruct", "model.revision": None, "model.prompt": "chat",
        "generate.outputs_of": "runs/matrix/rows/self-instruct/generate/corpus",
    }  # fmt: skip
    assert "model.name" not in of(matrix, "better-outputs/train")
    assert "model.name" not in of(matrix, "base/evaluate")


def test_the_embedded_model_is_its_own_instruct_version() -> None:
    matrix = made("reproduce.only=[instruct]")
    assert of(matrix, "instruct/evaluate")["model.prompt"] == "chat"
    assert "model.name" not in of(matrix, "instruct/evaluate")


def test_the_scripted_engine_answers_for_every_row() -> None:
    assert "model.engine" not in of(made(*BOTH, "model.engine=scripted"), "t5-lm/evaluate")


def test_a_whole_model_is_measured_instead_of_an_adapter() -> None:
    asked = of(made(*BOTH, "train.method=full"), "seeds/evaluate")
    assert (asked["model.name"], asked["evaluate.adapters"]) == ("runs/matrix/rows/seeds/train/model", ())


def test_sizes_are_rows_of_the_same_corpus_and_measured_on_what_people_ask() -> None:
    matrix = made("reproduce.sizes=[175, 800, 7500]")
    told = of(matrix, "size-800/train")
    assert (told["train.instructions"], told["train.include_seeds"]) == (800, True)
    assert told["train.data"] == ("runs/matrix/rows/self-instruct/generate/corpus",)
    assert of(matrix, "size-800/evaluate")["evaluate.superni.folder"] is None
    assert {plan.row.name: plan.same_as for plan in matrix.rows if plan.same_as} == {"size-175": "seeds"}
    assert {plan.role for plan in matrix.rows if plan.row.instructions} == {"size"}


@pytest.mark.parametrize(("there", "same"), [(799, True), (800, True), (801, False), (None, False)])
def test_a_size_beyond_the_corpus_is_the_whole_corpus(there: int | None, same: bool) -> None:
    counted = {} if there is None else {"self-instruct": there}
    matrix = made("reproduce.sizes=[800]", instructions=counted)
    assert matrix.rows[-1].same_as == ("self-instruct" if same else None)
    assert ("size-800/train" in cells(matrix)) is not same


def wanted(*overrides: str, **more: Any) -> list[str]:
    matrix = made(*overrides, **more)
    return [name for name in cells(matrix) if name in matrix.wanted]


def test_only_some_rows_with_what_they_need() -> None:
    assert wanted(*BOTH, "reproduce.only=[self-instruct+superni]") == [
        "self-instruct/generate", "self-instruct+superni/train", "self-instruct+superni/evaluate",
    ]  # fmt: skip
    assert wanted("reproduce.only=[size-800]") == ["self-instruct/generate", "size-800/train", "size-800/evaluate"]
    assert (
        wanted("reproduce.sizes=[800]", "reproduce.only=[size-800]", instructions={"self-instruct": 300})[-1]
        == "self-instruct/evaluate"
    )
    everything = made(*BOTH)
    assert everything.wanted == set(cells(everything))
    assert [plan.row.name for plan in made(*BOTH, "reproduce.only=[base]").rows] == list(ROLES)


def test_outputs_of_outputs_wait_for_one_another() -> None:
    rows = [
        {"name": "teacher", "model": "some/teacher", "prompt": "chat"},
        {"name": "own", "generate": True},
        {"name": "second", "outputs_of": "own", "outputs_by": "teacher"},
        {"name": "third", "outputs_of": "second", "outputs_by": "teacher", "data": ["third"]},
    ]
    names = wanted(f"reproduce.rows={json.dumps(rows)}", "reproduce.only=[third]", "reproduce.sizes=[]")
    assert names == ["own/generate", "second/generate", "third/generate", "third/train", "third/evaluate"]


def test_an_external_model_and_a_path_of_data() -> None:
    rows = [
        {"name": "zephyr", "model": "some/zephyr", "prompt": "chat"},
        {"name": "mine", "data": ["seeds", "my/rows.jsonl"], "measure": ["user_oriented"]},
        {"name": "talk", "data": ["./talks.jsonl"], "prompt": "chat"},
    ]
    matrix = made(f"reproduce.rows={json.dumps(rows)}", "reproduce.sizes=[]")
    assert [plan.role for plan in matrix.rows] == ["other", "other", "other"]
    assert of(matrix, "zephyr/evaluate")["model.name"] == "some/zephyr"
    assert of(matrix, "mine/train")["train.data"] == ("my/rows.jsonl",)
    assert of(matrix, "talk/train")["train.template"] == "chat"


def test_weights_of_another_number_of_sources_are_left_out() -> None:
    matrix = made(*BOTH, "train.data=[a, b]", "train.weights=[1, 0.5]")
    assert of(matrix, "t0/train")["train.weights"] == ()
    assert "train.weights" not in of(matrix, "self-instruct+superni/train")


def test_every_cells_settings_load() -> None:
    for cell in made(*BOTH, "reproduce.sizes=[800]").cells:
        load(overrides=reproduce_matrix.flags(cell)[1::2])


def test_flags_are_read_as_they_were_meant() -> None:
    for cell in made(*BOTH).cells:
        words = reproduce_matrix.flags(cell)
        assert words[::2] == ["--set"] * len(cell.overrides)
        read = dict(word.split("=", 1) for word in words[1::2])
        assert {name: yaml.safe_load(text) for name, text in read.items()} == json.loads(json.dumps(dict(cell.overrides)))


NAMES = st.sampled_from(["a", "b", "c", "d"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "generate": st.booleans(),
            "data": st.lists(NAMES | st.sampled_from(["seeds", "t0", "superni", "x/y"]), max_size=3, unique=True),
            "outputs_of": NAMES,
            "outputs_by": NAMES,
            "instructions": st.integers(1, 300),
        },
    ),
    min_size=1,
    max_size=4,
)


@given(rows=ROWS, only=st.lists(NAMES, max_size=2))
def test_any_rows_are_refused_or_make_cells_in_order(rows: list[dict[str, Any]], only: Sequence[str]) -> None:
    try:
        matrix = made(f"reproduce.rows={json.dumps(rows)}", f"reproduce.only={json.dumps(list(only))}")
    except ConfigError as error:
        assert "reproduce." in error.message
        return
    names = cells(matrix)
    assert len(names) == len(set(names))
    for cell in matrix.cells:
        assert all(names.index(before) < names.index(cell.name) for before in cell.after)
    assert matrix.wanted <= set(names)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"name": "a"}, {"name": "a"}], "two rows named 'a'"),
        ([{"name": "a", "data": ["b"]}], "'a' is tuned on 'b', no row among a"),
        ([{"name": "a"}, {"name": "b", "data": ["a"]}], "'a', which writes no corpus"),
        ([{"name": "a", "generate": True, "outputs_of": "a", "outputs_by": "a"}], "both `generate` and `outputs_of`"),
        ([{"name": "a", "outputs_of": "a"}], "needs both `outputs_of` and `outputs_by`"),
        ([{"name": "a", "instructions": 5}], "`instructions`, but no `data`"),
        (
            [
                {"name": "t"},
                {"name": "a", "outputs_of": "b", "outputs_by": "t"},
                {"name": "b", "outputs_of": "a", "outputs_by": "t"},
            ],
            "in a circle: the outputs of a of b of a",
        ),
        (
            [{"name": "a", "generate": True, "data": ["a"]}, {"name": "b", "outputs_of": "a", "outputs_by": "a"}],
            "outputs by 'a', which is tuned",
        ),
        ([{"name": "t0", "generate": True}], "its name means other data"),
        ([{"name": "a", "colour": 1}], "item 1, `colour`: extra inputs"),
        ([{"name": "a/b"}], "item 1, `name`"),
        ([{"name": "a", "model": "instrct"}], "'instrct'; did you mean 'instruct'?"),
        ([{"name": "a", "data": ["seeds", "seeds"]}], "`data` of 'a' names something twice"),
    ],
)
def test_what_can_be_wrong_with_rows(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(overrides=[f"reproduce.rows={json.dumps(rows)}"])
    assert said in refused.value.message, refused.value.message


def test_a_size_is_no_row_where_nobody_writes_a_corpus() -> None:
    with pytest.raises(ConfigError, match="'size-800' is none of: base"):
        load(overrides=["reproduce.rows=[{name: base}]", "reproduce.only=[size-800]"])


def test_a_key_that_stands_twice_in_a_row_is_refused() -> None:
    with pytest.raises(ConfigError, match="YAML"):
        load(overrides=["reproduce.rows=[{name: a, name: b}]"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("reproduce.only=[nobody]", "'nobody' is none of: base, "),
        ("reproduce.sizes=[800, 800]", "must not name a size twice"),
        ("reproduce.sizes=[0]", "item 1"),
        ("reproduce.only=[size-1]", "better-outputs, size-800, size-7500"),
    ],
)
def test_only_and_sizes_are_checked(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(overrides=[override])
    assert said in refused.value.message
