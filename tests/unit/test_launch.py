"""The front door, without its long rooms: each test runs launch.sh for about a second."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACCELERATE = "--quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What launch.sh reads before it installs anything, in a folder of its own without an environment."""
    copy = tmp_path / "checkout"
    (copy / "src").mkdir(parents=True)
    shutil.copy(ROOT / "launch.sh", copy)
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(ROOT / "requirements", copy / "requirements")
    shutil.copytree(ROOT / "src" / "self_instruct", copy / "src" / "self_instruct", symlinks=True)
    return copy


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder that is first on PATH, for fake commands; python3 in it is the Python of the tests."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(sys.executable)
    fake(folder, "nvidia-smi", "exit 9")
    return folder


def fake(folder: Path, name: str, body: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def launch(
    checkout: Path, commands: Path, *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    kept = {"HOME": str(checkout.parent), "PATH": path, "LANG": "C.UTF-8", **environment}
    command = [str(checkout / "launch.sh"), *arguments]
    return subprocess.run(command, cwd=cwd or checkout, env=kept, capture_output=True, text=True, check=False, timeout=60)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(checkout: Path, commands: Path, *arguments: str, python: str = "python3") -> str:
    """One line, a hint, status 2, and not a file written."""
    before = names(checkout)
    done = launch(checkout, commands, *arguments, PYTHON=python)
    assert done.returncode == 2, done.stderr
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert names(checkout) == before
    return done.stderr


def prepared(checkout: Path) -> Path:
    """An environment whose stamp is right and whose commands print what they are called with."""
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    said = 'echo "$(basename "$0") $*"; echo "in $PWD"'
    fake(venv / "bin", "accelerate", said)
    real = f'case "$1" in -c | -B) exec {sys.executable} "$@" ;; esac'
    fake(venv / "bin", "python", f"{real}\n{said}")
    pins = [checkout / "requirements" / f"{name}.txt" for name in ("cpu", "overrides", "embedded")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*pins, checkout / "pyproject.toml"))).hexdigest()
    (venv / ".self-instruct").write_text(f"cpu {digest} {checkout}\n")
    return venv


# Help and commands


def test_help_answers_within_a_second_and_lists_everything(checkout: Path, commands: Path) -> None:
    begun = time.monotonic()
    done = launch(checkout, commands, "--help")
    assert time.monotonic() - begun < 1
    assert done.returncode == 0
    for word in (
        "generate",
        "train",
        "evaluate",
        "all",
        "reproduce",
        "doctor",
        "test",
        "--gpu",
        "--config",
        "--set",
        "--out",
        "--dry-run",
    ):
        assert word in done.stdout
    assert not (checkout / ".venv").exists()


def test_help_of_a_stage_installs_nothing(checkout: Path, commands: Path) -> None:
    done = launch(checkout, commands, "train", "--help")
    assert (done.returncode, (checkout / ".venv").exists()) == (0, False)
    assert "--set" in done.stdout


def test_an_unknown_command_names_the_known_ones(checkout: Path, commands: Path) -> None:
    assert "no command 'trian'\nhint: one of generate, train, evaluate" in refused(checkout, commands, "trian")


def test_doctor_needs_no_environment(checkout: Path, commands: Path) -> None:
    done = launch(checkout, commands, "doctor", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
    assert not (checkout / ".venv").exists()


# What this can't run on


def test_an_old_python(checkout: Path, commands: Path) -> None:
    fake(commands, "python3", 'if [[ $1 == -V ]]; then echo "Python 3.10.13"; else exit 1; fi')
    for other in ("python3.11", "python3.12", "python3.13"):
        fake(commands, other, "exit 127")
    assert "python3 is Python 3.10.13; Python 3.11 to 3.13 is needed\nhint: install one" in refused(checkout, commands)
    (commands / "python3.12").unlink()
    (commands / "python3.12").symlink_to(sys.executable)
    assert "hint: PYTHON=python3.12 ./launch.sh test" in refused(checkout, commands, "test")


def test_no_python_at_all(checkout: Path, commands: Path) -> None:
    assert "no-such-python is missing" in refused(checkout, commands, python="no-such-python")


@pytest.mark.parametrize(("system", "processor"), [("Darwin", "arm64"), ("Linux", "riscv64")])
def test_another_system_or_processor(checkout: Path, commands: Path, system: str, processor: str) -> None:
    fake(commands, "uname", f"[[ $1 == -s ]] && echo {system} || echo {processor}")
    assert f"{system} on {processor} isn't supported" in refused(checkout, commands)


def test_python_without_venv(checkout: Path, commands: Path) -> None:
    """A Python whose ensurepip can't be found, as Debian's is without python3-venv."""
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'ensurepip' else f(n, *a)"
    fake(commands, "python3", f'PYTHONPATH={commands.parent} exec {sys.executable} "$@"')
    (commands.parent / "sitecustomize.py").write_text(hide)
    assert "apt-get install python3-venv" in refused(checkout, commands)


def test_a_driver_too_old_for_the_wheel(checkout: Path, commands: Path) -> None:
    fake(commands, "nvidia-smi", "echo 535.183.01")
    assert "driver 535.183.01 is too old" in refused(checkout, commands, "all", "--config", "configs/demo.yaml")


def test_an_active_environment_without_python_is_not_written_over(checkout: Path, commands: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("kept")
    done = launch(checkout, commands, "train", VIRTUAL_ENV=str(tmp_path / "mine"))
    assert done.returncode == 2
    assert f"VIRTUAL_ENV={tmp_path / 'mine'} has no Python in it" in done.stderr
    assert names(tmp_path / "mine") == {"work.txt"}


def test_an_environment_of_an_old_python_is_named(checkout: Path, commands: Path) -> None:
    fake(prepared(checkout) / "bin", "python", 'if [[ $1 == -V ]]; then echo "Python 3.10.13"; else exit 1; fi')
    assert f"hint: {checkout}/.venv is too old or new: delete it, or deactivate it, then" in refused(checkout, commands)


# What it passes on


def test_a_finished_demo_tells_where_the_report_is(checkout: Path, commands: Path) -> None:
    report = checkout / "runs" / "demo" / "evaluate" / "report" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("# report")
    done = launch(checkout, commands)
    assert done.returncode == 0
    assert str(report) in done.stdout
    assert "./launch.sh all --config configs/demo.yaml --out runs/second" in done.stdout
    assert not (checkout / ".venv").exists()


def test_stages_get_their_flags_and_run_in_the_root(checkout: Path, commands: Path) -> None:
    prepared(checkout)
    done = launch(checkout, commands, "generate", "replay", "RUN", "--set", "run.seed=1", "--dry-run")
    assert done.stdout.splitlines() == ["python generate replay RUN --set run.seed=1 --dry-run", f"in {checkout}"]
    done = launch(checkout, commands, "train", "--config=configs/demo.yaml")
    assert done.stdout.splitlines() == [f"accelerate launch {ACCELERATE} train --config configs/demo.yaml", f"in {checkout}"]


def test_a_run_to_replay_is_the_callers_too(checkout: Path, commands: Path, tmp_path: Path) -> None:
    prepared(checkout)
    done = launch(checkout, commands, "generate", "replay", "mine", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == f"python generate replay {tmp_path}/mine"
    done = launch(checkout, commands, "generate", "lineage", "mine", "task-000001-00-i0", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == f"python generate lineage {tmp_path}/mine task-000001-00-i0"
    done = launch(checkout, commands, "train", "merge", "mine", "--set", "run.threads=1", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == f"python train merge {tmp_path}/mine --set run.threads=1", "not through accelerate"
    assert launch(checkout, commands, "generate", "replay", "--help", cwd=tmp_path).stdout.startswith(
        "python generate replay --help"
    )


def test_all_runs_the_three_in_a_row(checkout: Path, commands: Path) -> None:
    prepared(checkout)
    done = launch(checkout, commands, "all", "--config", "configs/tiny.yaml")
    called = [line for line in done.stdout.splitlines() if not line.startswith("in ")]
    config = "--config configs/tiny.yaml"
    assert called == [f"python generate {config}", f"accelerate launch {ACCELERATE} train {config}", f"python evaluate {config}"]


def test_the_comparison_gets_its_flags(checkout: Path, commands: Path, tmp_path: Path) -> None:
    prepared(checkout)
    (tmp_path / "clone").mkdir()
    words = ("reproduce", "--config", "configs/reproduce/demo.yaml", "--set", "data.superni=clone", "--out", "mine")
    done = launch(checkout, commands, *words, cwd=tmp_path)
    flags = f"--config configs/reproduce/demo.yaml --set data.superni={tmp_path}/clone --out {tmp_path}/mine"
    assert done.stdout.splitlines() == [f"python -m self_instruct reproduce {flags}", f"in {checkout}"]


def test_a_report_to_verify_is_the_callers(checkout: Path, commands: Path, tmp_path: Path) -> None:
    prepared(checkout)
    (tmp_path / "mine" / "report").mkdir(parents=True)
    for named in ("mine", "mine/report"):
        done = launch(checkout, commands, "verify", named, cwd=tmp_path)
        assert done.stdout.splitlines() == [f"python -m self_instruct verify {tmp_path}/{named}", f"in {checkout}"]


def test_paths_are_the_callers(checkout: Path, commands: Path, tmp_path: Path) -> None:
    prepared(checkout)
    here = tmp_path / "my folder"
    here.mkdir()
    (here / "mine.yaml").write_text("")
    (here / "seeds.jsonl").write_text("")
    done = launch(
        checkout,
        commands,
        *("generate", "--config", "configs/demo.yaml", "--config", "mine.yaml", "--out", "new run"),
        *("--set", "generate.seeds=seeds.jsonl", "--set", "run.seed=1"),
        cwd=here,
    )
    assert done.stdout.splitlines()[0] == (
        f"python generate --config configs/demo.yaml --config {here}/mine.yaml --out {here}/new run "
        f"--set generate.seeds={here}/seeds.jsonl --set run.seed=1"
    )


@pytest.mark.parametrize("status", [1, 2])
def test_a_failing_stage_keeps_its_status_and_says_how_to_go_on(checkout: Path, commands: Path, status: int) -> None:
    venv = prepared(checkout)
    fake(venv / "bin", "python", f'case "$1" in -c | -B) exec {sys.executable} "$@" ;; generate) exit {status} ;; esac')
    log = checkout / "out" / "generate" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("")
    done = launch(checkout, commands, "all", "--config", "configs/tiny.yaml", "--out", str(log.parents[1]))
    assert done.returncode == status
    assert f"launch.sh stopped at the step: generate (exit status {status})" in done.stderr
    assert f"its log: {log}" in done.stderr
    again = f"run the same command again: ./launch.sh all --config configs/tiny.yaml --out {log.parents[1]}"
    assert (again in done.stderr) == (status == 1)  # status 2 came with a hint of its own
    assert "accelerate" not in done.stdout


@pytest.mark.parametrize(("said", "status"), [("2", 2), ("130", 130), ("", 1), ("0", 1)])
def test_trains_own_status_survives_accelerate(checkout: Path, commands: Path, said: str, status: int) -> None:
    venv = prepared(checkout)
    fake(venv / "bin", "accelerate", f'printf "%s" "{said}" >"$SELF_INSTRUCT_STATUS"; exit 1')
    done = launch(checkout, commands, "all", "--config", "configs/tiny.yaml")
    assert done.returncode == status
    assert f"stopped at the step: train (exit status {status})" in done.stderr
    assert ("something killed it" in done.stderr) == (not said)
    assert "python evaluate" not in done.stdout


def test_an_install_that_fails_names_its_step(checkout: Path, commands: Path) -> None:
    (prepared(checkout) / ".self-instruct").unlink()
    fake(commands, "uv", 'echo "no network" >&2; exit 3')
    done = launch(checkout, commands, "generate", "--config", "configs/tiny.yaml")
    assert done.returncode == 3
    assert "stopped at the step: install the packages (cpu)" in done.stderr
    assert not (checkout / ".venv" / ".self-instruct").exists()


@pytest.mark.parametrize(("held", "backend"), [("torch-2.13.0+cpu-cp311.whl", False), ("other-1.whl", True)])
def test_torch_comes_from_the_wheelhouse_or_from_its_own_index(
    checkout: Path, commands: Path, tmp_path: Path, held: str, backend: bool
) -> None:
    (prepared(checkout) / ".self-instruct").write_text("cpu older")
    wheelhouse = tmp_path / "wheels"
    wheelhouse.mkdir()
    (wheelhouse / held).write_text("")
    fake(commands, "uv", 'echo "$UV_FIND_LINKS $*"')
    done = launch(checkout, commands, "generate", PIP_FIND_LINKS=str(wheelhouse))
    first = next(line for line in done.stdout.splitlines() if line.startswith(str(wheelhouse)))
    assert ("--torch-backend cpu" in first) == backend
    assert "--overrides requirements/overrides.txt" in first
    assert "-r requirements/cpu.txt" in first


# A browser for the tests


def set_up_browser(folder: Path) -> subprocess.CompletedProcess[str]:
    """The step alone, with no other command than the fakes in the folder."""
    text = (ROOT / "launch.sh").read_text(encoding="utf-8")
    body = text[text.index("set_up_browser() {") : text.index("\n}\n", text.index("set_up_browser() {")) + 3]
    script = f'begin() {{ echo "== $1" >&2; }}\n{body}\nset_up_browser'
    return subprocess.run(["/bin/bash", "-euc", script], env={"PATH": str(folder)}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_a_browser_that_is_there_is_taken(tmp_path: Path, name: str) -> None:
    fake(tmp_path, name, "exit 1")
    done = set_up_browser(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_root_gets_a_browser_also_from_stale_lists(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    fake(tmp_path, "id", "echo 0")
    fake(tmp_path, "apt-get", f'echo "$@" >>{log}; if [[ $1 == update ]]; then : >{tmp_path}/fresh; fi; [[ -e {tmp_path}/fresh ]]')
    done = set_up_browser(tmp_path)
    assert done.returncode == 0 and done.stderr.startswith("== install chromium") and "skipped" not in done.stderr
    asked = [line.split()[0] for line in log.read_text().splitlines()]
    assert asked == ["install", "update", "install"]


@pytest.mark.parametrize("user", ["0", "1000"])
def test_without_a_way_to_a_browser_the_tests_go_on(tmp_path: Path, user: str) -> None:
    fake(tmp_path, "id", f"echo {user}")
    fake(tmp_path, "apt-get", "exit 100" if user == "0" else f": >{tmp_path}/asked")
    done = set_up_browser(tmp_path)
    assert done.returncode == 0
    assert "no browser: the tests of the report in one are skipped; to have them: sudo apt-get install chromium" in done.stderr
    assert not (tmp_path / "asked").exists()
