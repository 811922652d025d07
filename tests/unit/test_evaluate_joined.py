"""Several runs side by side: whose names, which base, and what can't be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sample_runs
from self_instruct.errors import DataError
from self_instruct.evaluate import store
from self_instruct.evaluate.joined import join, labels
from self_instruct.evaluate.store import StoredRun, StoredSuite


def run(folder: Path, *suites: StoredSuite, models: tuple[str, ...] = ("base", "tuned"), **digests: str) -> StoredRun:
    return store.read(sample_runs.evaluated(folder, suites or None, models, digests=digests))


def test_one_run_keeps_its_names(tmp_path: Path) -> None:
    found = join([run(tmp_path / "a")])
    assert {name: (one["run"], one["title"]) for name, one in found.models.items()} == {
        "base": ("a", "tiny"),
        "tuned": ("a", "tiny"),
    }
    assert [(suite.facts["name"], list(suite.answers)) for suite in found.suites] == [
        ("user_oriented", ["base", "tuned"]),
        ("superni", ["base", "tuned"]),
    ]


def test_a_base_of_both_runs_stands_once_and_other_models_are_named_apart(tmp_path: Path) -> None:
    found = join([run(tmp_path / "a"), run(tmp_path / "b", tuned="another")])
    assert list(found.models) == ["base", "tuned", "b/tuned"]
    assert found.models["b/tuned"]["run"] == "b"
    assert [list(suite.answers) for suite in found.suites] == [["base", "tuned", "b/tuned"]] * 2


def test_a_base_that_answered_otherwise_stands_by_itself(tmp_path: Path) -> None:
    other = sample_runs.stored_suite(sample_runs.items(6), lambda name, item: "something else")
    found = join([run(tmp_path / "a"), run(tmp_path / "b", other)])
    assert list(found.models) == ["base", "tuned", "b/base", "b/tuned"]


def test_bases_of_other_weights_stand_by_themselves(tmp_path: Path) -> None:
    found = join([run(tmp_path / "a"), run(tmp_path / "b", base="other weights")])
    assert "b/base" in found.models


def test_a_set_that_one_run_has_shows_its_models_alone(tmp_path: Path) -> None:
    user = sample_runs.stored_suite(sample_runs.items(6))
    found = join([run(tmp_path / "a", user), run(tmp_path / "b", tuned="t")])
    assert [(suite.facts["name"], list(suite.answers)) for suite in found.suites] == [
        ("user_oriented", ["base", "tuned", "b/tuned"]),
        ("superni", ["base", "b/tuned"]),
    ]


def test_labels_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    runs = [run(tmp_path / "x" / "demo"), run(tmp_path / "y" / "demo"), run(tmp_path / "y" / "other")]
    assert labels(runs) == ["x/demo", "y/demo", "y/other"]
    assert labels(runs[1:]) == ["demo", "other"]
    with pytest.raises(DataError, match="named twice"):
        labels([runs[0], runs[0]])


def refused(tmp_path: Path, one: StoredSuite, other: StoredSuite) -> str:
    with pytest.raises(DataError) as caught:
        join([run(tmp_path / "a", one), run(tmp_path / "b", other)])
    assert caught.value.message.startswith(
        f"{tmp_path / 'a'} and {tmp_path / 'b'} were measured on different sets named user_oriented: "
    )
    return caught.value.message.split("user_oriented: ")[1]


def test_other_items_are_refused(tmp_path: Path) -> None:
    items = sample_runs.items(6)
    made = sample_runs.stored_suite
    assert refused(tmp_path, made(items), made(items[:4])) == "6 and 4 items, 2 of them in one only, such as task_4"
    changed = (replace(items[0], references=("other",)), *items[1:])
    assert refused(tmp_path / "2", made(items), made(changed)) == "1 items have other texts, such as task_0"
    assert refused(tmp_path / "3", made(items), made(items[::-1])) == "the same items in another order"


@pytest.mark.parametrize(("name", "value"), [("max_tokens", 21), ("prompt_tokens", 512), ("cut", "official")])
def test_other_limits_are_refused(tmp_path: Path, name: str, value: object) -> None:
    items = sample_runs.items(6)
    told = refused(tmp_path, sample_runs.stored_suite(items), sample_runs.stored_suite(items, **{name: value}))
    assert told.startswith(f"{name} was ") and told.endswith(f" and {value}")
