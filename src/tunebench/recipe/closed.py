"""The kind of value every part of a recipe is: closed (an unknown key is a fault) and frozen (it never changes under a job)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
STARTER = "starter:"
PACKAGE = "pypi:"


class Spec(BaseModel):
    """A closed, frozen group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


def _as_label(value: Any) -> Any:
    """Labels are names: ``1`` and ``true`` in YAML are the labels ``1`` and ``true`` of the data."""
    return str(value).lower() if isinstance(value, int) else value


Names = Annotated[list[str], Field(min_length=1)]
Label = Annotated[str, BeforeValidator(_as_label, json_schema_input_type=str | int | bool)]
