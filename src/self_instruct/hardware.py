"""What this machine computes with: cores, number formats, GPUs.

Knows nothing of torch or vLLM, and imports neither: doctor and --help must answer before they are installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_instruct.errors import EngineError


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU as nvidia-smi sees it; memory in MiB. `capability` is the CUDA compute capability, (8, 0) for an A100."""

    name: str
    memory_mib: int
    free_mib: int
    driver: str
    capability: tuple[int, int]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of the first core; empty where the system doesn't tell."""
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.split(":")[0].strip() in ("flags", "Features"):
                return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs; none without a working driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = "--query-gpu=name,memory.total,memory.free,driver_version,compute_cap"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode != 0:
        return []
    found = []
    for line in done.stdout.splitlines():
        parts = [part.strip() for part in line.rsplit(",", 4)]
        if len(parts) != 5:
            continue
        name, total, free, driver, capability = parts
        major, _, minor = capability.partition(".")
        # A GPU that shares the machine's memory tells "[N/A]": 0 here.
        numbers = [int(part) if part.isdigit() else 0 for part in (total, free, major, minor)]
        found.append(Gpu(name=name, memory_mib=numbers[0], free_mib=numbers[1], driver=driver, capability=(numbers[2], numbers[3])))
    return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _visible(found: list[Gpu], visible: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES lets this process see, by number, up to the first invalid one, as CUDA reads it."""
    if visible is None or visible.startswith(("GPU-", "MIG-")):
        return found
    seen = []
    for number in visible.split(","):
        if not number.strip().isdigit() or int(number) >= len(found):
            break
        seen.append(found[int(number)])
    return seen


def choose_dtype(wanted: str, flags: frozenset[str] | None = None, found: list[Gpu] | None = None) -> tuple[str, str]:
    """The number format to compute in, and why, as a sentence's end.

    bfloat16 only where the hardware multiplies it: CUDA from compute capability 8.0; CPUs with AMX or AVX512
    bf16 instructions. Elsewhere bf16 matrix products are 7 to 40 times slower than float32 ones.
    """
    if wanted != "auto":
        return wanted, "model.dtype says so"
    found = gpus() if found is None else found
    if found:
        if all(gpu.capability >= (8, 0) for gpu in found):
            return "bfloat16", f"{found[0].name} computes in it"
        old = next(gpu for gpu in found if gpu.capability < (8, 0))
        return "float16", f"{old.name} has no bfloat16 units"
    units = (cpu_flags() if flags is None else flags) & {"amx_bf16", "avx512_bf16"}
    if units:
        return "bfloat16", f"this CPU has {', '.join(sorted(units))}"
    return "float32", "this CPU has no bfloat16 units"


def determinism() -> str:
    """The level that this process can promise (design.md): `strict` where vLLM's kernels are batch-invariant, else `logical`."""
    return "strict" if gpus() and os.environ.get("VLLM_BATCH_INVARIANT") == "1" else "logical"


def summary() -> dict[str, Any]:
    """The machine in a manifest: processor, cores, memory (GiB), GPUs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(memory, 1),
        "gpus": [f"{gpu.name}, {gpu.memory_mib} MiB, driver {gpu.driver}" for gpu in gpus()],
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def require_gpu_memory(share: float) -> None:
    """Raises EngineError where a GPU has less than `share` of its memory free, naming who holds it."""
    for gpu in gpus()[:1]:
        if gpu.free_mib < share * gpu.memory_mib:
            raise EngineError(
                f"{gpu.name}: {gpu.free_mib / 1024:.1f} of {gpu.memory_mib / 1024:.1f} GiB free, {share:.0%} wanted; "
                f"held by {', '.join(gpu_holders()) or 'processes that nvidia-smi does not show'}",
                hint=f"end them, or lower run.engine.gpu_memory (below {gpu.free_mib / gpu.memory_mib:.2f})",
            )


def gpu_holders() -> list[str]:
    """The processes that hold GPU memory, as "NAME (pid N, M MiB)"."""
    done = subprocess.run(
        ["nvidia-smi", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.count(",") >= 2]
    return [f"{row[1]} (pid {row[0]}, {row[-1]} MiB)" for row in rows]
