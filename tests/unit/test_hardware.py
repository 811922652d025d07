"""What the machine computes with, from fake processors and a fake nvidia-smi."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from self_instruct import hardware
from self_instruct.errors import EngineError
from self_instruct.hardware import Gpu, choose_dtype, cpu_flags, gpu_holders, gpus, require_gpu_memory


def gpu(capability: tuple[int, int], name: str = "A") -> Gpu:
    return Gpu(name=name, memory_mib=1000, free_mib=900, driver="600.1", capability=capability)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that prints the file `gpus` or, asked for applications, `apps`."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncase "$1" in *compute-apps*) cat {tmp_path}/apps ;; *) cat {tmp_path}/gpus ;; esac\n')
    program.chmod(0o755)
    (tmp_path / "apps").write_text("")
    return tmp_path / "gpus"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse avx2", "float32"),
        ("avx2 avx512f", "float32"),
        ("avx512f avx512_bf16", "bfloat16"),
        ("avx2 amx_bf16 amx_tile", "bfloat16"),
        ("", "float32"),
    ],
)
def test_dtype_follows_the_cpus_flags(tmp_path: Path, flags: str, expected: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: avx512_bf16\n")
    found = cpu_flags(cpuinfo)
    assert found == frozenset(flags.split())
    dtype, reason = choose_dtype("auto", found, [])
    assert dtype == expected
    assert ("no bfloat16 units" in reason) == (expected == "float32")


def test_cpu_that_says_nothing_computes_in_float32(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "missing") == frozenset()
    (tmp_path / "arm").write_text("Features\t: fp asimd bf16\n")
    assert cpu_flags(tmp_path / "arm") == {"fp", "asimd", "bf16"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([gpu((8, 0))], "bfloat16"),
        ([gpu((9, 0)), gpu((7, 5), "B")], "float16"),
        ([gpu((7, 5))], "float16"),
        ([gpu((12, 0))], "bfloat16"),
    ],
)
def test_dtype_follows_the_gpu_before_the_cpu(found: list[Gpu], expected: str) -> None:
    dtype, reason = choose_dtype("auto", frozenset({"avx512_bf16"}), found)
    assert dtype == expected
    assert reason.startswith(next((gpu.name for gpu in found if gpu.capability < (8, 0)), found[0].name))


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_dtype_that_was_asked_for_is_taken(wanted: str) -> None:
    assert choose_dtype(wanted, frozenset(), [gpu((9, 0))]) == (wanted, "model.dtype says so")


def test_gpus_are_read_from_nvidia_smi(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("NVIDIA X, 80 GB, 81559, 81000, 600.10, 9.0\nOld, 12000, 11, 500.1, 7.5\n")
    assert gpus() == [
        Gpu(name="NVIDIA X, 80 GB", memory_mib=81559, free_mib=81000, driver="600.10", capability=(9, 0)),
        Gpu(name="Old", memory_mib=12000, free_mib=11, driver="500.1", capability=(7, 5)),
    ]


def test_gpu_that_tells_no_memory_is_kept_and_noise_is_not(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("Warning: something\nShared, [N/A], [N/A], 600.10, 12.1\n")
    assert gpus() == [Gpu(name="Shared", memory_mib=0, free_mib=0, driver="600.10", capability=(12, 1))]
    require_gpu_memory(0.9)


@pytest.mark.parametrize(
    ("visible", "names"), [("", []), ("-1", []), ("1", ["B"]), ("1,0", ["B", "A"]), ("0,7,1", ["A"]), ("GPU-8a", ["A", "B"])]
)
def test_hidden_gpus_are_not_found(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]) -> None:
    nvidia_smi.write_text("A, 10, 9, 600.1, 9.0\nB, 10, 9, 600.1, 9.0\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [found.name for found in gpus()] == names


def test_no_driver_means_no_gpu(nvidia_smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    assert gpus() == []

    def hang(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 30)

    monkeypatch.setattr(subprocess, "run", hang)
    assert gpus() == []
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert gpus() == []


def test_gpu_that_others_hold_is_refused_with_their_names(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("A, 10240, 2048, 600.1, 9.0\n")
    nvidia_smi.with_name("apps").write_text("77, python train, 8000\n")
    assert gpu_holders() == ["python train (pid 77, 8000 MiB)"]
    require_gpu_memory(0.2)
    with pytest.raises(EngineError) as caught:
        require_gpu_memory(0.9)
    assert caught.value.message == "A: 2.0 of 10.0 GiB free, 90% wanted; held by python train (pid 77, 8000 MiB)"
    assert caught.value.hint == "end them, or lower run.engine.gpu_memory (below 0.20)"


def test_summary_holds_plain_values() -> None:
    summary = hardware.summary()
    assert summary["cores"] == hardware.cores() >= 1
    assert summary["memory_gib"] > 0 and summary["processor"] and summary["system"]
