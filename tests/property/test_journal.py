"""Any records that Python can hold come back from a journal as they were, wherever the file is torn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from self_instruct.journal import Journal, read
from strategies import json_records


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journal") / "drawn.jsonl"


def write(path: Path, records: list[dict[str, Any]]) -> None:
    log = Journal(path, fresh=True)
    for record in records:
        log.append(record)
    log.close()


@given(records=st.lists(json_records, max_size=5))
@settings(deadline=None)
def test_records_round_trip_lone_surrogates_included(path: Path, records: list[dict[str, Any]]) -> None:
    write(path, records)
    assert read(path) == records


@given(records=st.lists(json_records, min_size=1, max_size=5), data=st.data())
@settings(deadline=None)
def test_a_file_cut_anywhere_reads_as_its_whole_lines_and_goes_on(
    path: Path, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    write(path, records)
    whole = path.read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole)), label="cut")]
    path.write_bytes(cut)
    kept = records[: cut.count(b"\n")]
    assert read(path) == kept
    log = Journal(path)
    log.append({"next": 1})
    log.close()
    assert read(path) == [*kept, {"next": 1}]
