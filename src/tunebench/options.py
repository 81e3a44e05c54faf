"""What the commands share: their common options, and how a result is shown. Imports nothing but click."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

RUNS = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder with the run directories."
)
EXPORTS = ("onnx", "onnx-int8", "openvino", "openvino-int8")
BACKENDS, FORMATS = ("torch", "torch-merged", "torch-int8", *EXPORTS), (*EXPORTS, "torch")
BACKEND = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    help="What computes: torch (the model as it was scored), merged, with 8-bit linear layers on a CPU, or an export. "
    "By default torch, or the export that `tunebench export --default` chose.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object or list instead of text.")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, such as method.r=16. May be repeated."
)


def show(value: Any, as_json: bool, as_text: Callable[[Any], str]) -> None:
    """Print a result, for programs or for people."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False) if as_json else as_text(value))
