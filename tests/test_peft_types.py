"""Every adapter on every architecture: what it trains, that it starts from the base, saves, reopens, merges and resumes.

docs/methods.json holds the verdicts, from which docs/methods.md is made. ``python tests/test_peft_types.py`` writes it anew.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from reopened import logits_in_a_fresh_process
from tiny import ALL_ARCHITECTURES, write_base
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunebench.data.labels import LabelMap
from tunebench.model.methods import apply_method, merge_adapter, trainable_state
from tunebench.model.parameters import parameter_table
from tunebench.model.pretrained import load_pretrained
from tunebench.model.residual import save_adapter
from tunebench.model.tasks import classification_loss, text_logits
from tunebench.recipe.adapters import Adapter
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.load import method_from
from tunebench.recipe.methods import ADAPTERS
from tunebench.recipe.resolve import resolve_method
from tunebench.runs.bases import weight_names
from tunebench.runs.proof import MERGE_TOLERANCE, RELOAD_TOLERANCE

RECORD = Path(__file__).resolve().parent.parent / "docs" / "methods.json"
STEPS = 3
IDS = torch.arange(4, 28).reshape(2, 12)
GOLD = torch.tensor([0, 1])
VARIANTS = {
    "lora": {},
    "lora, `use_rslora`": {"use_rslora": True},
    "lora, `use_dora`": {"use_dora": True},
    "lora, `gaussian`": {"init_lora_weights": "gaussian"},
    "lora, `pissa`": {"init_lora_weights": "pissa"},
    "lora, `pissa_niter_4`": {"init_lora_weights": "pissa_niter_4"},
    "lora, `pissa`, `use_rslora`, `use_dora`": {"init_lora_weights": "pissa", "use_rslora": True, "use_dora": True},
    "lora, `olora`": {"init_lora_weights": "olora"},
}
# The layers here have 16 to 64 units, the defaults are made for hundreds.
SMALL: dict[str, dict[str, Any]] = {
    "lora": {"r": 3, "lora_alpha": 6},
    "oft": {"oft_block_size": 8},
    "road": {"group_size": 8},
    "gralora": {"r": 4, "alpha": 8},
    "randlora": {"r": 4, "randlora_alpha": 20},
    "vera": {"r": 16},
    "vblora": {"r": 2, "num_vectors": 16, "vector_length": 8},
    "fourierft": {"n_frequency": 50, "scaling": 10.0},
    "waveft": {"n_frequency": 50},
    "c3a": {"block_size": 8},
    "miss": {"r": 8},
}
METHODS = {**{kind: {} for kind in ADAPTERS}, **VARIANTS}
START_TOLERANCE = {"vblora": 0.1}
"""VB-LoRA's vectors begin at random; everything else begins as the base, up to the rounding of PiSSA and OLoRA."""


def method_of(name: str, **more: Any) -> Adapter:
    """The method of a row, in a size that fits tiny layers."""
    kind = name.split(",")[0]
    method = method_from(kind, as_settings(SMALL.get(kind, {}) | METHODS[name] | more))
    assert isinstance(method, Adapter)
    return method


def as_settings(values: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


@dataclass(frozen=True)
class Ground:
    """A tiny base: its folder, and the model with a new head, of which every cell takes a copy."""

    architecture: str
    folder: Path
    model: PreTrainedModel

    def composed(self, method: Adapter) -> nn.Module:
        """The method on a fresh copy; the same bytes every time."""
        architecture = ARCHITECTURES[self.architecture].over(weight_names(self.folder))
        torch.manual_seed(3)
        return apply_method(copy.deepcopy(self.model), resolve_method(method, architecture, "cls"), "cls")


@dataclass
class Cell:
    """What was found of one method on one architecture."""

    logits: Tensor
    faults: list[str] = field(default_factory=list)
    reload: float = 0.0
    merge: float = 0.0


def ground(architecture: str, folder: Path) -> Ground:
    write_base(folder, architecture)
    torch.manual_seed(5)
    model, _ = load_pretrained(folder, LabelMap(("negative", "positive"), None), "cls")
    model.config.pad_token_id = 0
    return Ground(architecture, folder, model)


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return text_logits(model.eval(), "cls", IDS, torch.ones_like(IDS))


def largest(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def train(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(trainable_state(model).values(), lr=0.01)
    for step in range(STEPS):
        torch.manual_seed(step)
        classification_loss(text_logits(model.train(), "cls", IDS, torch.ones_like(IDS)), GOLD).backward()
        optimizer.step()
        optimizer.zero_grad()


def examine(on: Ground, name: str, folder: Path) -> Cell:
    """One cell, but for what another process finds in ``folder``, where the adapter is left."""
    model, twin = on.composed(method_of(name)), on.composed(method_of(name))
    start, again = ({key: tensor.clone() for key, tensor in one.state_dict().items()} for one in (model, twin))
    composed = logits(model)
    train(model)
    trained, parameters = logits(model), trainable_state(model)
    with torch.no_grad():
        for key, tensor in trainable_state(twin).items():
            tensor.copy_(parameters[key])
    save_adapter(model, folder)
    cell = Cell(logits(model))
    merged = merge_adapter(model)
    cell.merge = largest(logits(merged), cell.logits)
    laws = {
        "seed": all(torch.equal(tensor, again[key]) for key, tensor in start.items()),
        "start": largest(composed, logits(on.model)) <= START_TOLERANCE.get(name, 1e-5),
        "matters": largest(trained, composed) > 1e-3,
        "trains": not any(torch.equal(start[key], tensor) for key, tensor in parameters.items()),
        "resume": torch.equal(logits(twin), trained),
        "saved as trained": largest(cell.logits, trained) <= 1e-5,
        "merge": cell.merge <= MERGE_TOLERANCE and shapes(merged) == shapes(on.model),
    }
    cell.faults = [law for law, holds in laws.items() if not holds]
    return cell


@contextmanager
def one_thread() -> Iterator[None]:
    """As in the other process: two thread counts differ in the last bits, and tiny layers gain nothing from a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def examine_all(scratch: Path) -> dict[tuple[str, str], Cell]:
    """Every cell, by method and architecture."""
    cells: dict[tuple[str, str], Cell] = {}
    adapters: list[tuple[Path, Path]] = []
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(PeftModel, "create_or_update_model_card", lambda *_: None)  # takes a while, and is not kept
        for architecture in ALL_ARCHITECTURES:
            on = ground(architecture, scratch / architecture)
            for number, name in enumerate(METHODS):
                folder = scratch / f"{architecture}-{number}"
                cells[name, architecture] = examine(on, name, folder)
                adapters.append((on.folder, folder))
    found = logits_in_a_fresh_process(adapters, IDS.tolist(), scratch)
    for cell, reopened in zip(cells.values(), found, strict=True):
        cell.reload = largest(cell.logits, torch.from_numpy(reopened))
        if not cell.reload <= RELOAD_TOLERANCE:
            cell.faults.append("reload")
    return cells


def record(cells: dict[tuple[str, str], Cell]) -> dict[str, Any]:
    """What docs/methods.json holds: sizes on bert-base with default settings, and which laws fail where."""
    methods: dict[str, Any] = {}
    for name in METHODS:
        report = parameter_table("bert-base", method_from(name.split(",")[0], as_settings(METHODS[name])))
        faults = {kind: cells[name, kind].faults for kind in ALL_ARCHITECTURES if cells[name, kind].faults}
        methods[name] = {"weights": report.adapter_parameters, "saved_bytes": report.saved_bytes, "faults": faults}
    tolerances = {"reload": RELOAD_TOLERANCE, "merge": MERGE_TOLERANCE}
    return {"architectures": list(ALL_ARCHITECTURES), "tolerances": tolerances, "methods": methods}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Cell]:
    return examine_all(tmp_path_factory.mktemp("adapters"))


@pytest.mark.parametrize("name", METHODS)
def test_the_laws_hold_on_every_architecture(cells: dict[tuple[str, str], Cell], name: str) -> None:
    assert {kind: cells[name, kind].faults for kind in ARCHITECTURES} == {kind: [] for kind in ARCHITECTURES}


def test_the_record_that_the_docs_are_made_from_is_what_was_found(cells: dict[tuple[str, str], Cell]) -> None:
    assert json.loads(RECORD.read_text("utf-8")) == record(cells), "run: python tests/test_peft_types.py && make docs"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = examine_all(Path(scratch))
    RECORD.write_text(json.dumps(record(found), indent=2) + "\n", "utf-8")
    worst = {law: max(getattr(cell, law) for cell in found.values()) for law in ("reload", "merge")}
    sys.stdout.write(f"{len(found)} cells, largest differences: {worst}\n{RECORD} is written; run: make docs\n")
