"""What the command lines of all stages share: the flags, the errors' exit codes, the logging.

Knows nothing of what a stage does. Imports neither torch, vLLM, transformers nor datasets.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from self_instruct import runlog
from self_instruct.errors import SelfInstructError
from self_instruct.loading import Loaded, load

# What a user can mend about a disk. Another OSError is a bug: a missing file must be told by whoever opens it.
MENDABLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG,
}  # fmt: skip


def parser(stage: str, description: str) -> argparse.ArgumentParser:
    """The flags that every stage takes: --config, --set, --out, --dry-run."""
    made = argparse.ArgumentParser(prog=f"self-instruct {stage}", description=description, allow_abbrev=False)
    add_flags(made)
    return made


def add_flags(made: argparse.ArgumentParser) -> None:
    add_settings_flags(made)
    made.add_argument("--out", metavar="DIR", help="the run folder (default: runs/<config name>)")
    made.add_argument("--dry-run", action="store_true", help="check everything, say what would be done, and stop")


def add_settings_flags(made: argparse.ArgumentParser) -> None:
    """The flags of a command that reads settings and makes no run: --config, --set."""
    made.add_argument(
        "--config", action="append", default=[], metavar="FILE", help="YAML settings; several are merged left to right"
    )
    add_set_flag(made, "one setting, such as train.epochs=1")


def add_set_flag(made: argparse.ArgumentParser, help: str) -> None:
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=help)


def loaded(arguments: argparse.Namespace) -> Loaded:
    """The settings that the flags ask for. Raises ConfigError."""
    return load(arguments.config, arguments.overrides, getattr(arguments, "out", None))


def run(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Call `main` and turn its end into an exit status: 2 for what a user can mend, 1 for a bug, 130 for Ctrl-C, 143 for
    SIGTERM, which stops a command in the same order.

    The status also goes to the file that SELF_INSTRUCT_STATUS names, if any: accelerate turns every failure into 1,
    and launch.sh wants to know.
    """
    status: int | str | None = 1
    try:
        status = _status(main, list(sys.argv[1:] if argv is None else argv))
        return status
    except SystemExit as end:  # argparse's
        status = end.code
        raise
    finally:
        place = os.environ.get("SELF_INSTRUCT_STATUS")
        if place and os.environ.get("RANK", "0") == "0":  # of several ranks the first speaks
            Path(place).write_text(f"{status}\n", encoding="utf-8")


def _status(main: Callable[[Sequence[str]], int], arguments: list[str]) -> int:
    terminated = False

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        interrupt = signal.getsignal(signal.SIGINT)  # asyncio's own while it runs
        if callable(interrupt):
            interrupt(number, frame)
        else:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)
        runlog.configure()
        return main(arguments)
    except SelfInstructError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
        return 143 if terminated else 130
    except BrokenPipeError:  # whoever read what is printed has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        number = _system_error(error)
        if number in MENDABLE:
            place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            print(f"error: {place}{os.strerror(number)}", file=sys.stderr)
            print("hint: free disk space or fix the permissions; then run the same command again to go on", file=sys.stderr)
            return 2
        traceback.print_exc()
        print("error: this is a bug in self-instruct; please report the lines above", file=sys.stderr)
        return 1
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _system_error(error: Exception) -> int:
    """The system's number of an error, 0 for any other. safetensors and tokenizers, written in Rust, only tell it in words."""
    if isinstance(error, OSError):
        return error.errno or 0
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else 0
