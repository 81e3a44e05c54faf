"""What machine and which versions a run was made with; read without importing any of them.

What torch sees of the machine is asked in a child process, so whoever asks stays light.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
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
"""What has a part in a run's result."""
BESIDES = ("matplotlib", "huggingface_hub", "datasets", "gguf", "bitsandbytes", "tensorboard", "wandb", "trackio")
"""What has none, or only where it is asked for."""
VARIABLES = (
    "TUNEBENCH_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "TOKENIZERS_PARALLELISM",
    "WANDB_MODE",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_PROJECT",
    "TRACKIO_DIR",
)
_SECRET = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
_CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Where Linux keeps the limit of a container, what it has in use, and how much of that are copies of files."""
TORCH_SECONDS = 60
"""How long torch may take to be imported and asked."""
_ASK_TORCH = """
import json, warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import torch
    sees = torch.cuda.is_available()
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if sees else []
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda or torch.version.hip,
    "gpus": names,
    "threads": torch.get_num_threads(),
    "fault": "; ".join(str(item.message).split(chr(10))[0] for item in said if "cuda" in str(item.message).lower()),
}))
"""
_USERINFO = re.compile(r"^([A-Za-z][\w+.-]*://)?[^/?#]*@")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Version per package, None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "tunebench": __version__}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def changes(begun: Mapping[str, str | None]) -> list[str]:
    """A warning per package that is another version than the one a run began with."""
    now = versions()
    return [
        f"the run began with {name} {begun[name] or 'not installed'} and goes on with {now[name] or 'none'}: "
        "it may end with other bytes than one that was not interrupted"
        for name in now
        if name in begun and begun[name] != now[name]
    ]


def hardware() -> dict[str, Any]:
    """Processor, cores, memory (bytes) and GPUs of this machine; of the GPUs what their driver knows."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, Any]]:
    """Name, memory (bytes, None where the driver does not tell) and driver of every NVIDIA GPU; empty without any."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    asked = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[cell.strip() for cell in line.rsplit(",", 2)] for line in done.stdout.splitlines()]
    return [
        {"name": row[0], "memory_bytes": int(row[1]) * 2**20 if row[1].isdigit() else None, "driver": row[2]}
        for row in rows
        if done.returncode == 0 and len(row) == 3
    ]


def torch_report(seconds: float = TORCH_SECONDS) -> dict[str, Any]:
    """What torch computes with on this machine: ``device``, and ``why`` where it is not a GPU; then version, CUDA, threads."""
    if find_spec("torch") is None:
        return {"device": None, "why": "torch is not installed; pip install 'tunebench[train]'"}
    command = [sys.executable, "-P", "-c", _ASK_TORCH]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        found = json.loads((done.stdout.strip().splitlines() or [""])[-1])
    except subprocess.TimeoutExpired:
        return {"device": None, "why": f"torch gave no answer within {seconds:g} s"}
    except ValueError:
        return {"device": None, "why": f"torch cannot be imported: {(done.stderr.strip() or 'no message').splitlines()[-1]}"}
    fault = found.pop("fault")
    if found["gpus"]:
        return {"device": "cuda", "why": None, **found}
    return {"device": "cpu", "why": _why_cpu(gpus(), found["cuda"], fault), **found}


def _why_cpu(present: list[dict[str, Any]], cuda: str | None, fault: str) -> str:
    if not present:
        return "no accelerator is found"
    if cuda is None:
        return f"{present[0]['name']} is there, and this build of torch has no CUDA; install one that has"
    return f"{present[0]['name']} is there, and torch cannot use it: {fault or 'look at CUDA_VISIBLE_DEVICES and the driver'}"


def report() -> dict[str, Any]:
    """All of it, for an issue: versions, hardware, what torch sees, variables."""
    return {
        "versions": versions((*PACKAGES, *BESIDES)),
        "hardware": hardware(),
        "torch": torch_report(),
        "variables": variables(),
    }


def variables() -> dict[str, str]:
    """The environment variables that change what happens; secrets only as ``set``, addresses without who signs in."""
    found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return {name: "set" if name in _SECRET else _USERINFO.sub(r"\1", value) for name, value in found.items()}


def available_memory_bytes() -> int:
    """Memory that programs can still have: what the system says, or less where a container has a limit of its own."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")]
    with contextlib.suppress(OSError, StopIteration):  # counts what the system can take back from its own copies of files too
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        free = [next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024]
    for folder, limit, used, copies in _CONTAINERS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            most, held = (int((folder / name).read_text("utf-8")) for name in (limit, used))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text("utf-8").splitlines())
            free.append(max(0, most - held + int(stat.get(copies, 0))))
    return min(free)


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
