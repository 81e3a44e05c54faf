"""Jinja as transformers sets it up for chat templates: sandboxed, and with the few names that templates use.

All but ``strftime_now``: a prompt with today's date in it would be another one tomorrow, after a resume. Templates that know
the name ask whether it is there, and have a date of their own where it is not.

Imported where a template is rendered, as jinja comes with the extra ``train``.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes, utils
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

FAULTS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
"""What a template may fail with."""


def compiled(source: str) -> Template:
    """The template of a text; one of ``FAULTS`` where it is none."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _as_json
    environment.globals |= {"raise_exception": _refuse, "namespace": _Namespace}
    return environment.from_string(source)


class _Generation(Extension):
    """``{% generation %}``, with which some templates mark answers, writes what it encloses."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own class-level set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(utils.Namespace):
    """A namespace without names that lead into Python."""

    def __init__(*args: Any, **names: Any) -> None:  # so that one of the names may be `self`
        self, *given = args
        utils.Namespace.__init__(self, *given)
        for name, value in names.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"no name in a namespace may begin with an underscore: {name!r}")
        super().__setitem__(name, value)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _as_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - as templates call it
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """JSON without the HTML escapes of jinja's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
