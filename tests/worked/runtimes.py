"""Runs the code that a task's output holds. A language that isn't installed skips the check."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest


def python(code: str, **names: Any) -> dict[str, Any]:
    """The names that the code defines."""
    space: dict[str, Any] = {"__name__": "seed", **names}
    exec(compile(code, "seed", "exec"), space)
    return space


def sqlite(setup: str, query: str) -> list[tuple[Any, ...]]:
    """The rows that a query returns after a setup script."""
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(setup)
        return connection.execute(query).fetchall()


def _require(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} isn't installed")


def run(argv: list[str], text: str = "", folder: str | None = None) -> str:
    """A command's output, without the last line break."""
    _require(argv[0])
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=True, cwd=folder, timeout=60).stdout.rstrip("\n")


def bash(script: str, text: str = "", folder: str | None = None) -> str:
    return run(["bash", "-euc", script], text, folder)


def node(code: str) -> str:
    return run(["node", "-e", code])


def compiled(compiler: str, name: str, code: str, text: str = "") -> str:
    """Output of a C (gcc, main.c) or Rust (rustc, main.rs) program."""
    _require(compiler)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(code)
        subprocess.run([compiler, name, "-o", "program"], cwd=folder, check=True, capture_output=True, timeout=60)
        return run([f"{folder}/program"], text)
