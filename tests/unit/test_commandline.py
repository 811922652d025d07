"""Exit statuses, what is printed where, and the shared flags."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from self_instruct.commandline import loaded, parser, run
from self_instruct.errors import ConfigError, DataError, EngineDiedError, SelfInstructError
from self_instruct.runlog import log


def ending(error: BaseException) -> int:
    def main(argv: Sequence[str]) -> int:
        raise error

    return run(main, [])


def test_status_and_arguments_pass_through() -> None:
    seen: list[Sequence[str]] = []

    def main(argv: Sequence[str]) -> int:
        seen.append(argv)
        return 5

    assert run(main, ["a", "b"]) == 5
    assert seen == [["a", "b"]]


def test_log_goes_to_the_stderr_of_the_day_once(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> int:
        log.info("said")
        return 0

    for _ in range(2):
        run(main, [])
        assert capsys.readouterr() == ("", "said\n")


@pytest.mark.parametrize("kind", [ConfigError, DataError, EngineDiedError, SelfInstructError])
def test_expected_error_is_one_line_a_hint_and_2(kind: type[SelfInstructError], capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(kind("a.yaml:3: 'x' is 4", hint="make it 5")) == 2
    assert capsys.readouterr() == ("", "error: a.yaml:3: 'x' is 4\nhint: make it 5\n")


def test_expected_error_without_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(ConfigError("no")) == 2
    assert capsys.readouterr().err == "error: no\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_system_error_names_the_file_and_is_2(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(OSError(number, os.strerror(number), "/x/y")) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: /x/y: {os.strerror(number)}\nhint: ") and "Traceback" not in error


@pytest.mark.parametrize("words", ["I/O error: No space left on device (os error 28)", "Permission denied (os error 13)"])
def test_a_system_error_that_is_only_told_in_words_is_2_too(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What safetensors and tokenizers raise is no OSError."""
    assert ending(Exception(f"Error while serializing: {words}")) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {words.split('error: ')[-1].split(' (')[0]}\nhint: ") and "Traceback" not in error


@pytest.mark.parametrize("error", [ValueError("odd"), AssertionError("odd"), OSError("odd"), Exception("odd (os error 2)")])
def test_bug_is_a_traceback_and_1(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(error) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" in printed.err and "odd" in printed.err and "this is a bug" in printed.err


def test_interrupt_says_how_to_go_on_and_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(KeyboardInterrupt()) == 130
    error = capsys.readouterr().err
    assert "run the same command again to go on" in error and "Traceback" not in error


def test_sigterm_ends_in_the_same_order_and_is_143(capsys: pytest.CaptureFixture[str]) -> None:
    before, closed = signal.getsignal(signal.SIGTERM), []

    def main(argv: Sequence[str]) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            closed.append(True)
        return 0

    assert run(main, []) == 143
    assert closed
    assert "run the same command again to go on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_cancels_what_asyncio_runs(capsys: pytest.CaptureFixture[str]) -> None:
    cancelled = []

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # what closes an engine may await
            cancelled.append(True)
            raise

    def main(argv: Sequence[str]) -> int:
        asyncio.run(work())
        return 0

    begun = time.monotonic()
    assert run(main, []) == 143
    assert cancelled and time.monotonic() - begun < 10
    assert "Traceback" not in capsys.readouterr().err


def test_usage_error_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> int:
        return len(vars(parser("train", "Train.").parse_args(argv)))

    with pytest.raises(SystemExit) as caught:
        run(main, ["--nonsense"])
    assert caught.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


def test_flags_are_not_abbreviated() -> None:
    with pytest.raises(SystemExit):
        parser("train", "Train.").parse_args(["--conf", "a.yaml"])


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser("train", "Train.").parse_args(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(flag in printed for flag in ("--config", "--set", "--out", "--dry-run", "self-instruct train"))


def test_flags_become_settings() -> None:
    flags = ["--config", "configs/demo.yaml", "--config", "configs/tiny.yaml", "--set", "run.seed=1", "--set", "run.threads=2"]
    arguments = parser("train", "Train.").parse_args([*flags, "--out", "there", "--dry-run"])
    found = loaded(arguments)
    assert arguments.dry_run
    assert (found.name, found.settings.run.seed, found.settings.run.threads, str(found.run_dir)) == ("tiny", 1, 2, "there")


def test_no_flags_mean_the_defaults() -> None:
    arguments = parser("train", "Train.").parse_args([])
    assert not arguments.dry_run and loaded(arguments).name == "default"


@pytest.mark.parametrize("status", [0, 2, 130])
def test_the_status_is_told_to_the_file_that_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("SELF_INSTRUCT_STATUS", str(tmp_path / "status"))
    run(lambda argv: status, [])
    assert (tmp_path / "status").read_text() == f"{status}\n"


def test_a_usage_errors_status_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELF_INSTRUCT_STATUS", str(tmp_path / "status"))

    def main(argv: Sequence[str]) -> int:
        parser("x", "y").parse_args(["--none"])
        return 0

    with pytest.raises(SystemExit):
        run(main, [])
    assert (tmp_path / "status").read_text() == "2\n"
