"""What the benchmarks compute from their observations, and that the one without a model runs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from self_instruct.loading import REPOSITORY
from self_instruct.train.masking import Encoded

BENCHMARKS = REPOSITORY / "benchmarks"


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import watching  # type: ignore[import-not-found]

    yield watching


def samples(watching: ModuleType, *running: float) -> list[object]:
    """One a second; the engine writes 10 tokens in each."""
    return [
        watching.Sample(at_s=float(place), counters={watching.RUNNING: count, watching.OUTPUT: 10.0 * place})
        for place, count in enumerate(running)
    ]


def test_the_steady_state_leaves_out_the_ramps_and_no_dip(watching: ModuleType) -> None:
    phase = watching.steady(samples(watching, 0, 2, 4, 1, 4, 3, 1), 4)
    assert (phase.begun_s, phase.ended_s, phase.running) == (2.0, 4.0, 3.0)
    assert phase.output_tokens_per_s == 10.0


def test_no_ramp_down_while_the_run_still_asks(watching: ModuleType) -> None:
    phase = watching.steady(samples(watching, 4, 4, 1, 1, 1), 4, not_before_s=3.5)
    assert (phase.ended_s, phase.running) == (3.0, 2.5)


def test_an_engine_that_was_never_full_has_no_steady_state(watching: ModuleType) -> None:
    with pytest.raises(ValueError, match="at most 3"):
        watching.steady(samples(watching, 1, 3, 2), 4)


def test_busy_seconds_count_once_what_overlaps(watching: ModuleType) -> None:
    assert watching.busy_s([(3.0, 4.0), (0.0, 2.0), (1.0, 1.5), (1.0, 2.5)]) == 3.5


def test_whole_blocks_from_the_start_can_be_cached(watching: ModuleType) -> None:
    head = list(range(8))
    assert watching.cacheable([head], 4) == 0
    assert watching.cacheable([head, [*head, 9]], 4) == 8
    assert watching.cacheable([head, head], 4) == 4, "the last token is computed in any case"
    assert watching.cacheable([head, [*head[:7], 9, 9]], 4) == 4
    assert watching.cacheable([head, [9, *head]], 4) == 0
    assert watching.cacheable([[*head, 9]], 4, warmed=[head]) == 8


def test_the_scheduler_benchmark_runs() -> None:
    command = [sys.executable, str(BENCHMARKS / "scheduler.py"), "--requests", "12"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert [int(row[2]) for row in rows[2:]] == [12, 12]
    assert "- commit: " in printed


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`benchmarks/train.py`, under its own name again afterwards: the stage's folder is called train too."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "train", raising=False)
    made = importlib.import_module("train")
    yield made
    sys.modules.pop("train", None)
    sys.modules.pop("train_exact", None)


def test_the_training_table_compares_medians_with_ours(
    training: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each side runs in every round, and a ratio below its target is told as missed."""
    asked: list[str] = []
    cpu = {"TRL by default": [40.0, 41.0, 90.0], "TRL tuned": [14.0, 14.0, 1.0], "ours": [9.0, 10.0, 11.0]}
    peaks = {"TRL by default": 8.0, "TRL tuned": 3.0, "ours": 4.0}

    def child(side: str, kind: str, options: object = None) -> dict[str, object]:
        number = asked.count(side) % 3
        asked.append(side)
        return {"cpu_s": cpu[side][number], "losses": [2.5], "peak_gb": peaks[side]}

    row = Encoded(id="a", form="", ids=(1, 2, 3), weights=(0.0, 0.0, 1.0), prompt_tokens=2)
    monkeypatch.setattr(training, "child", child)
    monkeypatch.setattr(training, "rows", lambda kind: (None, [[row]]))
    training.speed(3)
    assert asked[:6] == [*cpu, *cpu]
    printed = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    mixed = {cells[1].strip(): [cell.strip() for cell in cells[1:-1]] for cells in printed[2:5]}
    assert mixed["TRL by default"][4:6] == ["4.100", ">= 3.5 x: met"]
    assert mixed["TRL tuned"][4:6] == ["1.400", ">= 1.5 x: missed"]
    assert mixed["TRL by default"][8] == "<= 0.5 x: met"
    assert mixed["TRL tuned"][8] == "<= 1.0 x: missed"


def test_no_row_to_prepare_is_a_repeated_one(training: ModuleType) -> None:
    """Our side drops duplicates, TRL's doesn't: with any, the two would prepare different numbers of rows."""
    import train_exact  # type: ignore[import-not-found]

    rows = train_exact.texts()
    assert len(rows) == train_exact.ROWS == len({(row.instruction, row.input, row.output) for row in rows})


@pytest.mark.parametrize("name", sorted(path.name for path in BENCHMARKS.glob("*.py") if "argparse" in path.read_text()))
def test_help_answers(name: str) -> None:
    printed = subprocess.run([sys.executable, str(BENCHMARKS / name), "--help"], capture_output=True, text=True, check=True).stdout
    assert "usage:" in printed
    assert name in (BENCHMARKS / "README.md").read_text(encoding="utf-8")
