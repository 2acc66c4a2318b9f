"""What the figures belong to: the machine, and the version of everything that is measured or measures."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import proc
from bench.servers import ROOT, envoy_binary
from bench.upstreams import nginx_binary

PACKAGES = ("breakwater-gateway", "uvicorn", "httptools", "uvloop", "aiohttp", "fastapi", "orjson")
LOOK_SECONDS = 0.5


def versions() -> dict[str, str]:
    """By name; what is not installed is left out."""
    found = {"python": platform.python_version(), "commit": _first_line("git", "describe", "--always", "--dirty")}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    number = re.compile(r"\d+\.\d+\.\d+[\w.+-]*")
    commands = {"envoy": (envoy_binary(), "--version"), "nginx": (nginx_binary(), "-v"), "wrk": ("wrk", "-v")}
    for name, (binary, flag) in commands.items():
        if binary is not None and (seen := number.search(_first_line(str(binary), flag))):
            found[name] = seen[0]
    return {name: said for name, said in found.items() if said}


def machine() -> dict[str, str | int | float]:
    """``busy_before`` is the share of all cores that others took just before anything was started here."""
    processors = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": processors[1] if processors else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "busy_before": round(proc.busy_share(LOOK_SECONDS), 2),
    }


def _first_line(*command: str) -> str:
    """Of what the command says; nothing if it cannot be run."""
    try:
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return next(iter((done.stdout + done.stderr).strip().splitlines()), "")
