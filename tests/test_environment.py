"""What a run and an issue hold about the machine: what changes results, what torch sees of it, and no secret."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from shelf import tunebench

from tunebench.runs import environment
from tunebench.runs.environment import BESIDES, PACKAGES, gpus, hardware, torch_report, variables, versions
from tunebench.terminal import env_text

H100 = {"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 81_559 * 2**20, "driver": "580.159.04"}
ONE, NONE = "echo 'NVIDIA H100 80GB HBM3, 81559, 580.159.04'", "exit 9"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, for an nvidia-smi and a torch of our own."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def nvidia_smi(folder: Path, script: str) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


def stub_torch(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A package that answers in place of torch in child processes."""
    (folder / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def torch_code(*, cuda: str | None, names: tuple[str, ...] = (), warning: str = "") -> str:
    return f"""
import warnings
class version: cuda, hip = {cuda!r}, None
class cuda:
    def is_available():
        if {warning!r}: warnings.warn({warning!r})
        return {bool(names)}
    def device_count(): return {len(names)}
    def get_device_name(i): return {names!r}[i]
def get_num_threads(): return 3
__version__ = "9.9"
"""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://user:hf_secret@hub.example:8443/api?x=a@b", "https://hub.example:8443/api?x=a@b"),
        ("https://hf_secret@hub.example", "https://hub.example"),
        ("https://user:p@ss@hub.example/", "https://hub.example/"),
        ("user:hf_secret@hub.example", "hub.example"),
        ("https://hub.example/a@b", "https://hub.example/a@b"),
    ],
)
@pytest.mark.parametrize("name", ["HF_ENDPOINT", "HTTPS_PROXY", "http_proxy", "WANDB_BASE_URL"])
def test_who_signs_in_stays_out_of_an_address(name: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert variables()[name] == shown


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"])
def test_a_secret_is_only_said_to_be_set(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(name, "hf_secret")
    monkeypatch.setattr(environment, "torch_report", lambda: {"device": "cpu", "why": None})
    assert variables()[name] == "set"
    assert "hf_secret" not in tunebench(capsys, "env")[1] + tunebench(capsys, "env", "--json")[1]


def test_a_folder_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/data/@home")
    assert variables()["HF_HOME"] == "/data/@home"


def test_a_run_records_what_has_a_part_in_its_result_and_env_shows_the_rest_too() -> None:
    assert set(versions()) == {"python", "tunebench", *PACKAGES}
    assert set(environment.versions(BESIDES)) == {"python", "tunebench", *BESIDES}
    assert versions(["no-such-package"])["no-such-package"] is None


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (ONE, [H100]),
        ("echo 'A, B, [N/A], 1.2'; echo 'C, 8, 1.2'", [("A, B", None), ("C", 8 * 2**20)]),
        ("echo 'NVIDIA-SMI has failed, because the driver, cannot be reached'; exit 9", []),
        ("echo garbage", []),
    ],
    ids=["one", "unknown memory", "driver fails", "garbage"],
)
def test_gpus_are_what_their_driver_says(machine: Path, script: str, found: list[object]) -> None:
    nvidia_smi(machine, script)
    said = gpus()
    assert [gpu if gpu == H100 else (gpu["name"], gpu["memory_bytes"]) for gpu in said] == found
    assert hardware()["gpus"] == said


def test_without_the_drivers_program_there_is_no_gpu(machine: Path) -> None:
    assert hardware()["gpus"] == []


@pytest.mark.parametrize(
    ("smi", "code", "device", "why"),
    [
        (NONE, torch_code(cuda=None), "cpu", "no accelerator is found"),
        (ONE, torch_code(cuda="12.8", names=("NVIDIA H100 80GB HBM3",)), "cuda", None),
        (ONE, torch_code(cuda=None), "cpu", "NVIDIA H100 80GB HBM3 is there, and this build of torch has no CUDA"),
        (
            ONE,
            torch_code(cuda="12.8", warning="CUDA driver is too old\nmore"),
            "cpu",
            "torch cannot use it: CUDA driver is too old",
        ),
        (ONE, torch_code(cuda="12.8"), "cpu", "look at CUDA_VISIBLE_DEVICES and the driver"),
        (NONE, "raise ImportError('libtorch.so: not found')", None, "cannot be imported: ImportError: libtorch.so: not found"),
        (NONE, "import time; time.sleep(9)", None, "gave no answer within 1 s"),
    ],
    ids=["no gpu", "gpu", "cpu build", "old driver", "hidden", "broken", "slow"],
)
def test_env_says_what_torch_computes_with_and_why(
    machine: Path, monkeypatch: pytest.MonkeyPatch, smi: str, code: str, device: str | None, why: str | None
) -> None:
    nvidia_smi(machine, smi)
    stub_torch(machine, monkeypatch, code)
    found = torch_report(seconds=1 if "sleep" in code else 30)
    assert found["device"] == device
    assert (found["why"] is None) if why is None else (why in found["why"])


def test_without_torch_env_names_the_extra(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    code, out, _ = tunebench(capsys, "env")
    assert code == 0
    assert "torch is not installed; pip install 'tunebench[train]'" in out


def test_env_is_ready_to_paste(machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    nvidia_smi(machine, ONE)
    stub_torch(machine, monkeypatch, torch_code(cuda="12.8", names=("NVIDIA H100 80GB HBM3",)))
    monkeypatch.setenv("HF_HOME", "/data/\x1b[31mhub")
    out = tunebench(capsys, "env")[1]
    shown = dict(re.split(r" {2,}", line, maxsplit=1) for line in out.splitlines() if line)
    assert shown["gpu"] == "NVIDIA H100 80GB HBM3, 79.6 GiB, driver 580.159.04"
    assert shown["torch uses"] == "NVIDIA H100 80GB HBM3"
    assert shown["HF_HOME"] == "/data/\\x1b[31mhub"
    report = json.loads(tunebench(capsys, "env", "--json")[1])
    assert (report["torch"]["device"], report["torch"]["cuda"], report["torch"]["threads"]) == ("cuda", "12.8", 3)
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert env_text(report) + "\n" == out
