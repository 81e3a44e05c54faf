"""Builds the wheel and tries it as a user without torch would: in an empty environment, away from the sources.

    .venv/bin/python tools/try_wheel.py

The core's dependencies are resolved within the pins of requirements.lock, so what is tried is what was tested.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "peft", "accelerate")


@dataclass(frozen=True)
class Trial:
    """A command line and what it must come to."""

    arguments: tuple[str, ...]
    exit_code: int
    says: str
    holds: Callable[[str], bool]


def is_schema(text: str) -> bool:
    """Recipes with stages and without: one of two groups of settings, each with its keys."""
    try:
        schema = json.loads(text)
        groups = [schema["$defs"][kind["$ref"].rpartition("/")[2]]["properties"] for kind in schema["anyOf"]]
    except (json.JSONDecodeError, KeyError, TypeError):
        return False
    return len(groups) == 2 and all("name" in group for group in groups) and any("stages" in group for group in groups)


TRIALS = (
    Trial(("--help",), 0, "lists the commands", lambda text: "train" in text and "compare" in text),
    Trial(("--version",), 0, "prints a version", lambda text: re.search(r"\d+\.\d+\.\d+", text) is not None),
    Trial(("schema",), 0, "prints the recipe's JSON Schema", is_schema),
    Trial(("runs",), 0, "works in an empty folder", lambda text: True),
    Trial(("train", "starter-lora"), 2, "names the extra that holds torch", lambda text: "tunebench[train]" in text),
)


def build(folder: Path) -> Path:
    """The one wheel, freshly built into an empty ``folder``."""
    for old in folder.glob("*.whl"):
        old.unlink()
    call([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def content_faults(wheel: Path) -> list[str]:
    """Every file of the package must be in the wheel: presets, shapes and the trained starter run too."""
    package = ROOT / "src" / "tunebench"
    wanted = {
        f"tunebench/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {"tunebench/py.typed"}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    faults = [f"{name} is not in {wheel.name}" for name in sorted(wanted - names)]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        faults.append(f"LICENSE is not in {wheel.name}")
    return faults


def install(wheel: Path, folder: Path) -> Path:
    """Install ``wheel`` without extras into an empty environment in ``folder``; returns its ``bin``."""
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / "bin"
    pins = re.findall(r"^([\w.-]+==[^\\\n]*)", (ROOT / "requirements.lock").read_text("utf-8"), flags=re.MULTILINE)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
    pip = [str(scripts / "python"), "-m", "pip"]
    call([*pip, "install", "--quiet", "--only-binary", ":all:", "--constraint", str(constraints), str(wheel)])
    call([*pip, "check"])
    return scripts


def call(command: list[str]) -> None:
    """Run a command that has to work; what it printed is shown only where it did not."""
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"{' '.join(command)} failed with {found.returncode}\n{found.stdout}{found.stderr}")


def outcome_faults(trial: Trial, scripts: Path, folder: Path) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(scripts / "tunebench"), *trial.arguments]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    shown = " ".join(("tunebench", *trial.arguments))
    text = found.stdout if found.returncode == 0 else found.stdout + found.stderr
    faults = []
    if found.returncode != trial.exit_code:
        faults.append(f"{shown}: exit code {found.returncode}, expected {trial.exit_code}")
    if not trial.holds(text):
        faults.append(f"{shown}: does not do what it should ({trial.says})")
    if "Traceback" in found.stderr:
        faults.append(f"{shown}: shows a traceback")
    print(f"  {'FAILED' if faults else 'ok':6} {shown}: {trial.says}")
    return [f"{faults[0]}\n{found.stdout[-1000:]}{found.stderr[-3000:]}", *faults[1:]] if faults else []


def main() -> None:
    wheel = build(ROOT / "dist")
    print(f"{wheel.relative_to(ROOT)}: {wheel.stat().st_size / 1e6:.2f} MB")
    faults = content_faults(wheel)
    with tempfile.TemporaryDirectory(prefix="tunebench-wheel-") as name:
        scripts = install(wheel, Path(name))
        heavy = f"import importlib.util as u; print(*[n for n in {HEAVY!r} if u.find_spec(n)])"
        there = subprocess.run([str(scripts / "python"), "-c", heavy], capture_output=True, text=True, check=True).stdout.split()
        faults += [f"{package} came with the bare wheel" for package in there]
        empty = Path(name) / "empty"
        empty.mkdir()
        for trial in TRIALS:
            faults += outcome_faults(trial, scripts, empty)
    if faults:
        sys.exit("\n".join(["the wheel is not fit:", *(f"- {fault}" for fault in faults)]))
    print("the wheel works without torch")


if __name__ == "__main__":
    main()
