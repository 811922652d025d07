"""What must never be committed: paths and hosts of one machine, and other people's texts."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from self_instruct.loading import REPOSITORY

# Put together here, so that this file doesn't hold them itself.
MACHINE_PATHS = re.compile(
    r"(?<![\w.~/-])/(?:" + "|".join(("work", "tmp", "opt", "root", "mnt", r"home/\w+", r"Users/\w+")) + r")/"
)
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"), ("npmjs", "org"))]
INDEX_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "HF_ENDPOINT")
SHINGLE = 8  # words in a row that two authors don't write by chance


def committed() -> list[Path]:
    """The files that git has or would take."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    paths = [REPOSITORY / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in committed():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.split("\n"), start=1)
            if pattern.search(line)
        ]
    return found


def test_git_lists_files() -> None:
    assert REPOSITORY / "src" / "self_instruct" / "loading.py" in committed()


def test_no_file_names_a_machines_path() -> None:
    assert lines_with(MACHINE_PATHS) == []


def test_no_file_names_a_package_registry() -> None:
    """Users bring their own index; this machine's own hosts are named by its environment."""
    values = [word for name in INDEX_VARIABLES for word in os.environ.get(name, "").split()]
    hosts = {*HOSTS, *(host for host in (urlsplit(value).hostname for value in values) if host)} - {"huggingface.co"}
    assert lines_with(re.compile("|".join(re.escape(host) for host in sorted(hosts)))) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [("cd /" + "opt/x", True), ('"/' + 'tmp/a"', True), ("runs/tmp/x", False), ("/proc/cpuinfo", False), ("../work/x", False)],
)
def test_pattern_finds_absolute_paths_only(line: str, found: bool) -> None:
    assert bool(MACHINE_PATHS.search(line)) == found


def shingles(text: str) -> set[str]:
    words = re.sub(r"[^a-z0-9]+", " ", text.lower()).split()
    return {" ".join(words[start : start + SHINGLE]) for start in range(len(words) - SHINGLE + 1)}


def test_shingles() -> None:
    assert shingles("One, two three\nfour: five six seven EIGHT nine") == {
        "one two three four five six seven eight",
        "two three four five six seven eight nine",
    }


def test_no_text_of_the_authors_is_in_our_seeds(shared_data: Path) -> None:
    theirs: dict[str, str] = {}
    for path in sorted((shared_data / "self_instruct").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for text in (
                row["instruction"],
                *(part for instance in row["instances"] for part in (instance["input"], instance["output"])),
            ):
                theirs |= dict.fromkeys(shingles(text), row["id"])
    assert len(theirs) > 10_000
    shared = []
    for path in sorted((REPOSITORY / "seeds").rglob("*")):
        if path.suffix in (".jsonl", ".yaml"):
            content = path.read_text(encoding="utf-8")
            ours = yaml.safe_load(content) if path.suffix == ".yaml" else [json.loads(line) for line in content.splitlines()]
            shared += [f"{path.name}: {s} ({theirs[s]})" for text in strings(ours) for s in shingles(text) & theirs.keys()]
    assert shared == []


def strings(value: object) -> list[str]:
    """Every text inside a JSON value."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for inner in value.values() for text in strings(inner)]
        case list():
            return [text for inner in value for text in strings(inner)]
    return []


def test_the_readme_names_only_what_there_is() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([\w./-]+)\)", text)) | set(re.findall(r"configs/[\w.-]+\.yaml", text))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []
    usage = subprocess.run([str(REPOSITORY / "launch.sh"), "--help"], capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"\./launch\.sh +([a-z]+)", text))
    assert commands >= {"all", "test", "doctor"}
    assert [command for command in sorted(commands) if f"./launch.sh {command}" not in usage] == []
