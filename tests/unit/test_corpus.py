"""The corpus folder: `load_dataset` opens what was written, and what isn't a corpus is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from self_instruct.corpus import COLUMNS, TRAIN_COLUMNS, features, front_matter, read_rows, read_train, write
from self_instruct.errors import DataError
from self_instruct.records import TrainingExample

pytest.importorskip("datasets")

TABLES: dict[str, list[dict[str, Any]]] = {
    "train": [
        {"id": "t0", "instruction": "Add.", "input": "1 1", "output": "2", "is_classification": False, "instruction_id": "i0"},
        {
            "id": "t1",
            "instruction": "É\u2028?",
            "input": "",
            "output": "\n yes ",
            "is_classification": True,
            "instruction_id": "i1",
        },
    ],
    "instructions": [
        {
            "id": "i0",
            "instruction": "Add.",
            "is_classification": False,
            "margin": -1.5,
            "request": 3,
            "position": 0,
            "parents": ["s1", "s2"],
            "nearest_ids": [],
            "nearest_scores": [],
        }
    ],
    "instances": [{"id": "t0", "instruction_id": "i0", "order": 0, "input": "1 1", "output": "2"}],
    "rejected": [
        {
            "id": f"r{number}",
            "step": "instruction",
            "rule": "not_novel",
            "text": "Add it.",
            "detail": "",
            "parent": "q3",
            "nearest_id": near,
            "nearest_score": score,
        }
        for number, (near, score) in enumerate([("s1", 0.8), (None, None)])
    ],
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder, TABLES, "# A corpus\n")
    return folder


@pytest.mark.parametrize("config", [None, *COLUMNS])
def test_load_dataset_opens_every_config_offline(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None
) -> None:
    import socket

    from datasets import load_dataset

    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    named = [] if config is None else [config]
    opened = load_dataset(str(corpus), *named, split="train", cache_dir=str(tmp_path / "cache"))
    assert opened.features == features(config or "train")
    assert list(opened) == TABLES[config or "train"]


def test_two_corpora_of_one_name_open_as_themselves_with_one_cache(corpus: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    other = tmp_path / "second" / "corpus"
    other.mkdir(parents=True)
    write(
        other, {"train": [{**TABLES["train"][0], "id": "t9"}], **{k: v for k, v in TABLES.items() if k != "train"}}, "# A corpus\n"
    )
    cache = str(tmp_path / "cache")
    opened = [load_dataset(str(folder), split="train", cache_dir=cache)["id"][:] for folder in (corpus, other)]
    assert opened == [["t0", "t1"], ["t9"]]


def test_half_code_points_become_replacement_characters(tmp_path: Path) -> None:
    """A server's JSON can hold them; Parquet and the card are UTF-8."""
    write(tmp_path, {"train": [{**TABLES["train"][0], "output": "a\ud83d"}]}, "# Of \udc00\n")
    assert read_train(tmp_path)[0].output == "a\ufffd"
    assert (tmp_path / "README.md").read_text(encoding="utf-8").endswith("# Of \ufffd\n")


def test_a_config_without_rows_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"train": TABLES["train"], "rejected": []}, "")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train"]
    assert "rejected" not in (tmp_path / "README.md").read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"no corpus there \(data/rejected"):
        list(read_rows(tmp_path, "rejected", ["id"]))


def test_card_follows_the_head(corpus: Path) -> None:
    text = (corpus / "README.md").read_text(encoding="utf-8")
    paths = {config: str(next((corpus / "data" / config).iterdir()).relative_to(corpus)) for config in TABLES}
    assert text == front_matter(paths) + "# A corpus\n"
    assert text.startswith("---\nconfigs:\n- config_name: train\n")
    assert text.count("default: true") == 1


def test_config_without_rows_is_left_out(tmp_path: Path) -> None:
    from datasets import get_dataset_config_names

    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder, {**TABLES, "rejected": []}, "")
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["instances", "instructions", "train"]
    assert get_dataset_config_names(str(folder)) == ["train", "instructions", "instances"]


def test_same_rows_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    write(again, TABLES, "# A corpus\n")
    for path in corpus.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(corpus)).read_bytes()


def test_training_rows_are_read_in_order(corpus: Path) -> None:
    assert read_train(corpus) == (
        TrainingExample(id="t0", instruction="Add.", input="1 1", output="2"),
        TrainingExample(id="t1", instruction="É\u2028?", input="", output="\n yes "),
    )


def test_several_files_are_read_in_the_order_of_their_names(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other, {"train": [{**TABLES["train"][0], "id": "t9"}]}, "")
    next((other / "data/train").iterdir()).rename(corpus / "data/train/train-00001-of-00002.parquet")
    assert [example.id for example in read_train(corpus)] == ["t0", "t1", "t9"]


def rewrite(corpus: Path, columns: dict[str, list[Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path = next((corpus / "data" / "train").iterdir())
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("column", ["id", "instruction", "input", "output"])
def test_missing_column_is_refused_by_name(corpus: Path, column: str) -> None:
    path = rewrite(corpus, {name: ["x"] for name in TRAIN_COLUMNS if name != column})
    with pytest.raises(DataError) as caught:
        read_train(corpus)
    assert caught.value.message.startswith(f"{path}: column '{column}' is missing (found ")


@pytest.mark.parametrize("value", [None, 3])
def test_cell_that_is_no_text_is_refused_with_its_row(corpus: Path, value: object) -> None:
    path = rewrite(corpus, {"id": ["a", "b"], "instruction": ["x", "y"], "input": [value, value], "output": ["x", "y"]})
    with pytest.raises(DataError) as caught:
        read_train(corpus)
    assert caught.value.message == f"{path}: row 0: column 'input' is {value!r}, not text"


def test_corpus_without_rows_is_refused(corpus: Path) -> None:
    rewrite(corpus, {name: [] for name in TRAIN_COLUMNS})
    with pytest.raises(DataError, match="the corpus has no training row"):
        read_train(corpus)


def test_folder_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="no corpus there") as caught:
            read_train(folder)
        assert caught.value.hint == "run the generate stage first, or set train.data"


@pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1" + b"\x00" * 20 + b"PAR1"])
def test_damaged_file_is_refused(corpus: Path, content: bytes) -> None:
    next((corpus / "data" / "train").iterdir()).write_bytes(content)
    with pytest.raises(DataError, match="not a readable Parquet file") as caught:
        read_train(corpus)
    assert "\n" not in caught.value.message
