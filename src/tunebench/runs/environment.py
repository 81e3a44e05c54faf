"""What machine and which versions a run was made with; read without importing any of them."""

from __future__ import annotations

import os
import platform
import re
import resource
from importlib import metadata
from pathlib import Path
from typing import Any

from tunebench import __version__

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
    "pyarrow",
    "scikit-learn",
)
VARIABLES = (
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "TOKENIZERS_PARALLELISM",
    "TUNEBENCH_HOME",
)
_SECRET = ("HF_TOKEN",)
_USERINFO = re.compile(r"^([A-Za-z][\w+.-]*://)?[^/?#]*@")


def versions() -> dict[str, str | None]:
    """Version per package, None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "tunebench": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores and memory (bytes) of this machine."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def variables() -> dict[str, str]:
    """The environment variables that change what happens; secrets only as ``set``, addresses without who signs in."""
    found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return {name: "set" if name in _SECRET else _USERINFO.sub(r"\1", value) for name, value in found.items()}


def peak_memory_bytes() -> int:
    """Largest resident size of this program, in bytes; what the process was before it became this program does not count."""
    try:  # getrusage keeps the peak of a parent through fork and exec, this figure does not
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
