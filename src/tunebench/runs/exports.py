"""The forms a run can be opened in, and what its exports say of themselves. No backend is imported here.

``export/<format>/`` holds a graph with its weights, ``tokenizer.json``, ``export.json`` and ``README.md``. The run's manifest
holds the digest of that ``export.json``, which holds those of the other files, and the digest of the weights it was made from.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, MissingExtra
from tunebench.recipe.methods import BASELINES
from tunebench.runs.cache import file_digest, folder_digest
from tunebench.runs.chain import MERGED
from tunebench.runs.run import Run

TORCH, TORCH_MERGED, TORCH_INT8 = "torch", "torch-merged", "torch-int8"
"""What was scored, byte for byte; ``merged/``; and what was scored with its linear layers in 8-bit integers, on a CPU."""
ENGINES = {"onnx": "onnxruntime", "onnx-int8": "onnxruntime", "openvino": "openvino", "openvino-int8": "openvino"}
"""The formats of exports, and the package that computes each."""
BACKENDS = (TORCH, TORCH_MERGED, TORCH_INT8, *ENGINES)
MOST_LOST = 0.004
"""Accuracy, as a share of the rows, that an 8-bit export may lose on validation, and that a choice takes as nothing."""
BENCH = "bench.json"
"""What a run keeps of how fast its forms are."""
DESCRIPTION = "export.json"
FAILED = "-failed"
"""What the folder of an export that failed its proof is called behind its format; no backend opens it."""


def export_folder(run: Run, name: str) -> Path:
    """Where the export of a format lies, or would lie."""
    return run.path / "export" / name


def default_backend(run: Run) -> str:
    """What computes where nobody says it: the model as it was scored, until an export has been made the default."""
    return str(run.manifest.get("default_backend") or TORCH)


def exported(run: Run, name: str) -> dict[str, Any] | None:
    """What the export of a format says of itself; None where there is none. One that failed is told too."""
    folder = export_folder(run, name)
    for path in (folder / DESCRIPTION, folder.with_name(name + FAILED) / DESCRIPTION):
        if path.is_file():
            try:
                return dict(json.loads(path.read_text("utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise InputError(str(path), f"not readable as JSON ({error}); {_again(run, name)}") from None
    return None


def forms(run: Run) -> list[str]:
    """The backends that can open this run here and now, ``torch`` first; no weights are read for it."""
    if run.recipe.method.kind in BASELINES:
        return [TORCH]
    torch = [TORCH, TORCH_INT8] if find_spec("torch") else []
    if torch and (run.path / MERGED).is_dir():
        torch.insert(1, TORCH_MERGED)
    return torch + [name for name, engine in ENGINES.items() if find_spec(engine) and _usable(run, name)]


def check_export(run: Run, name: str) -> Path:
    """The folder of an export that passed its proof and is, byte for byte, what was proved.

    InputError where there is none, where it failed, where it was made of other weights than the run has now, or where it
    was changed; MissingExtra where this installation lacks what computes it.
    """
    folder, known = export_folder(run, name), run.manifest.get("exports", {})
    if not (folder / DESCRIPTION).is_file():
        if folder.with_name(name + FAILED).is_dir():
            raise InputError(f"--backend {name}", f"the export of {run.name} failed its proof, and is never used; {_others(run)}")
        raise InputError(f"--backend {name}", f"{run.name} has no such export; {_again(run, name)}; {_others(run)}")
    if find_spec(ENGINES[name]) is None:
        raise MissingExtra(ENGINES[name], extra_of(name), f"--backend {name}")
    told = exported(run, name) or {}
    if told.get("weights") != run.manifest.get("end_weights"):
        raise InputError(str(folder), f"was made of other weights than the run has now; {_again(run, name)}")
    files = told.get("files", {})
    if known.get(name) != file_digest(folder / DESCRIPTION) or any(
        not (folder / file).is_file() or file_digest(folder / file) != digest for file, digest in files.items()
    ):
        raise InputError(str(folder), f"holds other files than the ones that were proved; {_again(run, name)} --force")
    return folder


def check_merged(run: Run) -> str:
    """The name of the merged model's folder; InputError where there is none, or where it was changed since it was proved."""
    folder = run.path / MERGED
    again = f"make it with: tunebench merge {run.path}"
    if not folder.is_dir():
        raise InputError(f"--backend {TORCH_MERGED}", f"{run.name} has no {MERGED}/; {again}; {_others(run)}")
    if run.manifest.get("merged_weights") != folder_digest(folder):
        raise InputError(str(folder), f"holds other files than the ones that were proved; {again}")
    return MERGED


def extra_of(name: str) -> str:
    """The extra of the installation that a format needs."""
    return "openvino" if name.startswith("openvino") else "onnx"


def _usable(run: Run, name: str) -> bool:
    told = exported(run, name)
    return told is not None and told.get("passed") is True and told.get("weights") == run.manifest.get("end_weights")


def _again(run: Run, name: str) -> str:
    return f"make it with: tunebench export {run.path} --format {name}"


def _others(run: Run) -> str:
    return f"it can be opened with --backend {' or '.join(forms(run))}"
