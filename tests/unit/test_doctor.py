"""Doctor's ten lines and the checks before an install, on fake machines."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from self_instruct import doctor

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "src" / "self_instruct" / "doctor.py"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on PATH for fake commands, an empty home, no hub, no token, no GPU."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING_FACE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    fake(commands, "nvidia-smi", "exit 9")
    return commands


def fake(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def fake_gpu(folder: Path, driver: str, free_mib: int) -> None:
    fake(
        folder,
        "nvidia-smi",
        'case "$1" in\n'
        f'  --query-gpu=driver_version) echo "{driver}" ;;\n'
        f'  --query-gpu=*) echo "NVIDIA Test 80GB, 81920, {free_mib}, {driver}, 9.0" ;;\n'
        '  --query-compute-apps=*) echo "4711, /usr/bin/other, 40000" ;;\n'
        f'  *) echo "| Driver Version: {driver}   CUDA Version: 13.1 |" ;;\n'
        "esac",
    )


def line(name: str) -> str:
    found = [text for text in doctor.report() if text.startswith(name)]
    assert len(found) == 1
    return found[0]


def test_ten_lines_each_with_its_own_name(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [text.split()[0] for text in lines] == [
        *("Python", "System", "Driver", "GPU", "Disk", "Compiler", "Models", "Hub", "Versions", "Config")
    ]
    assert all(len(text.split(maxsplit=1)) == 2 for text in lines)


def test_it_runs_as_a_script_with_nothing_installed(machine: Path) -> None:
    """-I -S: no site-packages, no PYTHONPATH; what a bare Python has."""
    done = subprocess.run([sys.executable, "-I", "-S", "-B", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
    assert "packages aren't installed yet" in done.stdout


def test_a_machine_without_a_gpu(machine: Path) -> None:
    assert "no NVIDIA driver answers, though nvidia-smi is there: the extra `cpu` fits" in line("Driver")
    assert line("GPU").split() == ["GPU", "none"]
    assert "configs/demo.yaml" in line("Config")
    assert doctor.extra() == "cpu"


@pytest.mark.parametrize(
    ("free_mib", "config"), [(80000, "configs/qwen3-8b.yaml"), (24000, "configs/qwen3-1.7b.yaml"), (9000, "configs/demo.yaml")]
)
def test_a_gpu_its_holders_and_the_config_that_fits(machine: Path, free_mib: int, config: str) -> None:
    fake_gpu(machine, "580.65.06", free_mib)
    assert "NVIDIA 580.65.06, up to CUDA 13.1" in line("Driver")
    assert line("Driver").endswith(": fits")
    assert f"{free_mib / 1024:.1f} of 80.0 GiB free; held by /usr/bin/other (pid 4711, 40000 MiB)" in line("GPU")
    assert config in line("Config")
    assert (ROOT / config).is_file()
    assert doctor.extra() == "gpu"


def test_the_wheels_cuda_is_the_pinned_one() -> None:
    pins = (ROOT / "requirements" / "gpu.txt").read_text()
    cuda = re.search(r"^cuda-toolkit==(\d+\.\d+)", pins, re.MULTILINE)
    assert cuda and cuda.group(1) == doctor.WHEEL_CUDA


def test_the_versions_in_the_docs_are_the_pinned_ones() -> None:
    pins = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in ("gpu", "cpu")}
    rows = re.findall(
        r"^\| ([\w-]+)(?: / ([\w-]+))? \| (\d\S*)(?: \(.*\))? \| (\S*) ?\|$", (ROOT / "docs/gpu.md").read_text(), re.MULTILINE
    )
    assert len(rows) >= 10
    for gpu_name, cpu_name, gpu_version, cpu_version in rows:
        assert f"\n{gpu_name}=={gpu_version}\n" in pins["gpu"]
        if cpu_version:
            assert re.search(rf"^{re.escape(f'{cpu_name or gpu_name}=={cpu_version}')}( |$)", pins["cpu"], re.MULTILINE)
    packages = sum("==" in text for text in pins["gpu"].splitlines())
    assert f"gives {packages} packages" in (ROOT / "docs/gpu.md").read_text()


def test_where_the_token_is_but_never_the_token(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "token: none" in line("Hub")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "token: in HF_TOKEN" in line("Hub")
    monkeypatch.delenv("HF_TOKEN")
    token = Path(os.environ["HF_HOME"]) / "token"
    token.parent.mkdir()
    token.write_text("hf_secret")
    assert f"token: in {token}" in line("Hub")
    assert "hf_secret" not in "".join(doctor.report())


def test_the_hub_is_tried_unless_offline(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not asked: HF_HUB_OFFLINE" in line("Hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert " answers; " in line("Hub")
    assert "is not reachable" in line("Hub")


def test_the_cache_is_measured(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Path(os.environ["HF_HOME"]) / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "one").open("wb") as file:
        file.truncate(3 * 2**30)
    (blobs / "again").symlink_to(blobs / "one")
    assert "Hugging Face cache 3.0 GiB" in line("Models")


# Before an install


def test_a_fit_machine_passes_and_nothing_is_written(machine: Path, tmp_path: Path) -> None:
    assert doctor.preflight(tmp_path / "env") is None
    assert not (tmp_path / "env").exists()


def refused(capsys: pytest.CaptureFixture[str], environment: Path) -> str:
    assert doctor.main(["--preflight", str(environment)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [text.split(": ")[0] for text in lines] == ["error", "hint"]
    assert not environment.exists()
    return "\n".join(lines)


def test_a_driver_too_old_for_the_wheel(machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_gpu(machine, "535.183.01", 80000)
    assert "driver 535.183.01 is too old for vLLM's wheel: CUDA 13.0 needs 580" in refused(capsys, tmp_path / "env")


def test_too_little_disk(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=2**30))
    assert "1.0 GiB free on this disk, 5 GiB needed" in refused(capsys, tmp_path / "env")
    fake_gpu(machine, "580.65.06", 80000)
    assert "12 GiB needed" in refused(capsys, tmp_path / "env")


@pytest.mark.parametrize("libc", [("", ""), ("glibc", "2.28"), ("musl", "1.2")])
def test_another_c_library(
    machine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    libc: tuple[str, str],
) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    assert "the wheels need glibc 2.31" in refused(capsys, tmp_path / "env")


def test_python_without_venv(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ensurepip" else object())
    assert "apt-get install python3-venv" in refused(capsys, tmp_path / "env")
