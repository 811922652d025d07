"""Ratings in the report, by `agree` and by the scripted judge: only what exists, beside the paper's."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sample_runs import evaluated, generated, items, stored_suite, whole_corpus
from self_instruct.errors import DataError, RunFolderError
from self_instruct.evaluate import agreement_page, cli, rating_runs, report, store
from self_instruct.evaluate.rating_sets import RatingSet, Subject
from self_instruct.evaluate.ratings import RatingStore
from self_instruct.records import EvalItem

MODELS = ("base", "tuned")
ITEMS = 8


def answer(model: str, item: EvalItem) -> str:
    return f"{model} says {item.id}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = evaluated(tmp_path / "run", [stored_suite(items(ITEMS), answer, MODELS)], MODELS)
    generated(made)
    whole_corpus(made)
    return made


def of(subject: Subject, model: str) -> str:
    return next(answer.key for answer in subject.answers if model in answer.models)


def rate(run: Path, levels: dict[str, dict[str, str]], reviews: dict[str, list[tuple[bool, bool, bool]]] | None = None) -> None:
    """`levels` by rater and model: a letter for each instruction in the set's order, `-` for none."""
    stored = [store.read(run)]
    answers, *rest = rating_runs.load(stored, 200)
    kept = RatingStore(rating_runs.place(run))
    for name in {**levels, **(reviews or {})}:
        rater = kept.enter(name, name.casefold(), None, True, 0.0).rater
        for model, letters in levels.get(name, {}).items():
            for place, level in enumerate(letters):
                subject = answers.subjects[place]
                if level != "-":
                    kept.save(rater, "answers", (subject.key, of(subject, model)), level, "", f"{model}-{place}", float(place))
        for place, said in enumerate((reviews or {}).get(name, [])):
            value = dict(zip(("instruction", "input", "output"), said, strict=True)) | {"format": "right"}
            kept.save(rater, "review", target(rest[0], place), value, "", f"review-{place}", float(place))
    kept.close()


def target(one: RatingSet, place: int) -> tuple[str, str]:
    return one.subjects[place].key, one.subjects[place].answers[0].key


def written(run: Path) -> tuple[dict[str, Any], str]:
    place = report.write_run(run, 0)
    return json.loads(place.with_name("report.json").read_text()), place.with_name("report.md").read_text()


def test_a_run_that_nobody_rated_says_so(run: Path) -> None:
    tree, text = written(run)
    assert tree["ratings"] == {"sets": [], "reviews": [], "elsewhere": {"ratings": 0, "reviews": 0}}
    assert "Nobody has rated this run's answers" in text
    assert "Nobody has reviewed these data" in text
    assert "Fewer than two raters have rated the same answers" in text
    with pytest.raises(DataError, match="nobody has rated it"):
        agreement_page.write([run], None)


def test_partial_ratings_of_one_person(run: Path) -> None:
    rate(run, {"Ann": {"base": "CDD", "tuned": "ABD-"}})
    tree, text = written(run)
    (one,) = tree["ratings"]["sets"]
    (source,) = one["sources"]
    assert [(model["model"], model["counts"], model["rated"], model["of"]) for model in source["models"]] == [
        ("base", [0, 0, 1, 2], 3, 8),
        ("tuned", [1, 1, 0, 1], 3, 8),
    ]
    (pair,) = source["comparisons"]
    assert (pair["better"], pair["same"], pair["worse"], pair["subjects"]) == (2, 1, 0, 3)
    assert pair["a_or_b_points"]["value"] == pytest.approx(66.67)
    assert "| tuned | a person | 1 | 1 | 0 | 1 |" in text
    assert "3 of 8" in text
    assert "GPT3 Self-Inst" in text
    assert one["pairs"] == [] and one["alpha"] is None
    figure = (run / "evaluate" / "report" / "figure-6.svg").read_text()
    assert "tuned" in figure


def test_two_people_agree_by_hand(run: Path) -> None:
    # 12 answers: the table's rows A B C D x columns; equal 9 of 12, by chance (3*3 + 3*3 + 3*3 + 3*3)/144 = 0.25.
    rate(
        run,
        {
            "Ann": {"base": "ABCDAB", "tuned": "CDABCD"},
            "Bob": {"base": "ABCDAB", "tuned": "CDADBC"},  # the last three differ: B-D, C-B, D-C
        },
    )
    tree, text = written(run)
    (one,) = tree["ratings"]["sets"]
    (pair,) = one["pairs"]
    assert (pair["first"], pair["second"], pair["kind"], pair["answers"]) == ("Ann", "Bob", "people", 12)
    assert pair["same_percent"]["value"] == 75.0
    assert pair["kappa"]["value"] == pytest.approx((0.75 - 0.25) / 0.75, abs=1e-3)
    assert pair["confusion"] == [[3, 0, 0, 0], [0, 2, 0, 1], [0, 1, 2, 0], [0, 0, 1, 2]]
    assert one["alpha"]["raters"] == 2
    # The worse of the two counts: D for B-D, C for C-B, D for D-C.
    counts = {model["model"]: model["counts"] for model in one["sources"][0]["models"]}
    assert counts == {"base": [2, 2, 1, 1], "tuned": [1, 0, 2, 3]}
    assert "the paper's two raters" in text
    assert "0.57" in text and "0.81" in text


def test_a_scripted_judge_is_a_rater_and_said_to_be_scripted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rate(run, {"Ann": {"base": "DDDDDDDD", "tuned": "ABABABAB"}})
    assert cli.main(["judge", str(run), "--set", "model.engine=scripted"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["ratings"], told["requests"]) == (2 * ITEMS, 2 * ITEMS * 4)
    tree, text = written(run)
    (one,) = tree["ratings"]["sets"]
    assert [source["source"] for source in one["sources"]] == ["people", told["judge"]]
    assert [pair["kind"] for pair in one["pairs"]] == ["people and judge"]
    (judge,) = one["judges"]
    assert judge["scripted"] and (judge["answers"], judge["of"]) == (16, 16)
    assert "a fake for tests: its levels say nothing" in text
    journals = list(rating_runs.place(run).parent.glob("judge-*/completions.jsonl"))
    assert [len(path.read_text().splitlines()) for path in journals] == [64]
    assert cli.main(["judge", str(run), "--set", "model.engine=scripted"]) == 0  # nothing is asked again
    assert [len(path.read_text().splitlines()) for path in journals] == [64]
    assert len(written(run)[0]["ratings"]["sets"][0]["sources"]) == 2


def test_a_judge_nobody_rated_beside_is_doubted(run: Path) -> None:
    assert cli.main(["judge", str(run), "--set", "model.engine=scripted", "--set", "evaluate.judge.orders=1"]) == 0
    _, text = written(run)
    assert "nobody has rated the same answers, so what its levels are worth isn't known" in text
    assert "Nobody has rated this run's answers" in text


def test_the_review_stands_in_table_2(run: Path) -> None:
    rate(run, {}, {"Ann": [(True, True, True), (True, False, True), (True, True, False)], "Bob": [(True, True, True)]})
    tree, text = written(run)
    (one,) = tree["ratings"]["reviews"]
    assert (one["reviewed"], one["instances"], one["reviewers"]) == (3, 4, ["Ann", "Bob"])
    assert {name: (row["yes"], row["of"]) for name, row in one["yes"].items()} == {
        "instruction": (3, 3),
        "input": (2, 3),
        "output": (2, 3),
        "all": (1, 3),
    }
    assert "33.3 %" in text and "1 of 3" in text
    assert "3 of 4 instructions by Ann, Bob" in text


def test_agree_writes_every_rating_with_its_models(run: Path, tmp_path: Path) -> None:
    rate(run, {"Ann": {"base": "AB", "tuned": "CD"}}, {"Ann": [(True, True, True)]})
    out = tmp_path / "out"
    text = agreement_page.write([run], out)
    assert sorted(path.name for path in out.iterdir()) == sorted(agreement_page.FILES)
    assert (out / "agreement.md").read_text() == text
    rows = [json.loads(line) for line in (out / "ratings.jsonl").read_text().splitlines()]
    assert sorted((row["models"][0], row["level"]) for row in rows) == [
        ("base", "A"),
        ("base", "B"),
        ("tuned", "C"),
        ("tuned", "D"),
    ]
    (review,) = csv.DictReader((out / "reviews.csv").open(encoding="utf-8"))
    assert (review["instruction_ok"], review["format"]) == ("yes", "right")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty"):
        agreement_page.write([run], tmp_path / "other")


def test_ratings_of_one_run_count_for_another_that_gives_the_same_answers(run: Path, tmp_path: Path) -> None:
    rate(run, {"Ann": {"base": "ABCD"}})
    again = evaluated(tmp_path / "again", [stored_suite(items(ITEMS), answer, ("base", "third"))], ("base", "third"))
    tree = report.assemble([store.read(again), store.read(run)], 0)
    (one,) = tree["ratings"]["sets"]
    assert {model["model"]: model["rated"] for model in one["sources"][0]["models"]} == {"base": 4, "third": 0, "tuned": 0}


def test_ratings_of_answers_that_are_gone_are_counted_and_exported(run: Path, tmp_path: Path) -> None:
    rate(run, {"Ann": {"base": "ABCD"}})
    (run / "evaluate" / "results").rename(tmp_path / "old")
    evaluated(run, [stored_suite(items(ITEMS), lambda name, item: f"{name} says something else", MODELS)], MODELS)
    tree, text = written(run)
    assert tree["ratings"]["elsewhere"] == {"ratings": 4, "reviews": 0}
    assert "4 ratings are about texts that aren't in these runs (any more)" in text
    agreement_page.write([run], tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "ratings.jsonl").read_text().splitlines()]
    assert [(row["level"], row["models"], row["set"]) for row in rows] == [(level, [], "not in these runs") for level in "ABCD"]


def test_skips_and_lone_comments_are_in_the_export_and_nowhere_else(run: Path, tmp_path: Path) -> None:
    answers, _ = rating_runs.load([store.read(run)], 200)
    kept = RatingStore(rating_runs.place(run))
    rater = kept.enter("Ann", "ann", None, True, 0.0).rater
    for place, (value, comment) in enumerate([("skip", "broken"), (None, "odd"), ("A", "")]):
        subject = answers.subjects[place]
        kept.save(rater, "answers", (subject.key, of(subject, "base")), value, comment, f"nonce-{place}", float(place))
    kept.close()
    agreement_page.write([run], tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "ratings.jsonl").read_text().splitlines()]
    assert [(row["level"], row["skipped"], row["comment"]) for row in rows] == [
        (None, True, "broken"),
        (None, False, "odd"),
        ("A", False, ""),
    ]
    tree, _ = written(run)
    assert [rater["rated"] for rater in tree["ratings"]["sets"][0]["raters"]] == [1]


def test_two_runs_that_were_judged_apart_are_reported_together(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = evaluated(tmp_path / "again", [stored_suite(items(ITEMS), answer, ("base", "third"))], ("base", "third"))
    for one in (run, again):
        assert cli.main(["judge", str(one), "--set", "model.engine=scripted"]) == 0
    (one,) = report.assemble([store.read(run), store.read(again)], 0)["ratings"]["sets"]
    assert [(judge["judge"], judge["answers"], judge["of"]) for judge in one["judges"]] == [("judge scripted", 24, 24)]
    rate(run, {"ann": {"base": "AB"}})
    rate(again, {"ANN": {"third": "CD"}})  # the same person
    (one,) = report.assemble([store.read(run), store.read(again)], 0)["ratings"]["sets"]
    assert [(rater["rater"], rater["rated"]) for rater in one["raters"] if rater["kind"] == "person"] == [("ann", 4)]


def test_a_review_says_of_how_many_that_were_drawn(run: Path) -> None:
    rate(run, {}, {"Ann": [(True, True, True)]})
    kept = RatingStore(rating_runs.place(run))
    kept.put_note("review", "3")
    kept.close()
    assert written(run)[0]["ratings"]["reviews"][0]["instances"] == 3


def test_a_persons_verdict_comes_first_from_twenty_instructions_on(tmp_path: Path) -> None:
    made = evaluated(tmp_path / "run", [stored_suite(items(24), answer, MODELS)], MODELS)
    rate(made, {"Ann": {"base": "D" * 24, "tuned": "A" * 20 + "DDDD"}})
    text = written(made)[1]
    said = "rated by a person: tuned better than base on 20, as good on 4, worse on 0 of 24 instructions: **+83.33"
    assert text.index(said) < text.index("ROUGE-L of tuned")
    assert "> **Better.** **User-oriented instructions**, rated by a person" in text


def test_a_judge_beside_another_judge_alone_is_doubted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["judge", str(run), "--set", "model.engine=scripted"]) == 0
    kept = RatingStore(rating_runs.place(run))
    facts = dict(kept.raters()["judge scripted"].facts)
    ratings = [dataclasses.replace(one, rater="judge other") for one in kept.ratings()]
    kept.put_judge("judge other", facts, ratings)
    kept.close()
    assert written(run)[1].count("nobody has rated the same answers") == 2


def test_the_same_ratings_give_the_same_bytes(run: Path) -> None:
    rate(run, {"Ann": {"base": "ABCDABCD", "tuned": "AABBCCDD"}, "Bob": {"base": "ABCDABCC", "tuned": "BABBCCDD"}})
    first = {path.name: path.read_bytes() for path in (report.write_run(run, 2).parent).iterdir()}
    second = {path.name: path.read_bytes() for path in (report.write_run(run, 2).parent).iterdir()}
    assert first == second
