"""Journaled token counts: the tokenizer is loaded for what is new, and a replay knows every count that shaped a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from self_instruct import journal
from self_instruct.errors import RunFolderError
from self_instruct.generate.token_counts import TokenCounts

TEXTS = ["one two", "one two three", "\ud800 lone", "", "\udc00 other"]


class Loader:
    """Gives a counter of words, and tells what it was asked for."""

    def __init__(self) -> None:
        self.loaded = 0
        self.counted: list[str] = []

    def __call__(self) -> Callable[[str], int]:
        self.loaded += 1
        return self.count

    def count(self, text: str) -> int:
        self.counted.append(text)
        return len(text.split())


def test_each_text_is_counted_once_also_over_sessions(tmp_path: Path) -> None:
    path, first, second = tmp_path / "token_counts.jsonl", Loader(), Loader()
    counts = TokenCounts(path, first)
    assert first.loaded == 0
    assert [counts(text) for text in [*TEXTS, *TEXTS]] == [2, 3, 2, 0, 2] * 2
    counts.close()
    assert (first.loaded, first.counted) == (1, TEXTS)
    again = TokenCounts(path, second)
    assert [again(text) for text in TEXTS] == [2, 3, 2, 0, 2]
    assert second.loaded == 0
    assert again("a new one") == 3
    again.close()
    assert second.counted == ["a new one"]
    assert len(journal.read(path)) == 6


def test_without_a_tokenizer_an_unknown_text_is_told_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "token_counts.jsonl"
    with pytest.raises(RunFolderError, match="the tokens of a prompt are not in it: 'some prompt'"):
        TokenCounts(path, None)("some prompt")
    assert not path.exists()


@pytest.mark.parametrize("record", [{"text": "ab"}, {"tokens": 3}, {"text": 1, "tokens": 3}, {"text": "ab", "tokens": "3"}])
def test_what_is_no_count_is_refused_with_its_line(tmp_path: Path, record: dict[str, object]) -> None:
    path = tmp_path / "token_counts.jsonl"
    log = journal.Journal(path)
    log.append({"text": "aa", "tokens": 1})
    log.append(record)
    log.close()
    with pytest.raises(RunFolderError, match=r"token_counts\.jsonl:2: not a token count"):
        TokenCounts(path, None)
