"""One page over a comparison, or over one run: a single file that opens from disk, without network, and prints.

Nothing of it is fetched, and its Content-Security-Policy forbids that anything ever is; style and script are its own, allowed by
their digests. Whatever users wrote is text there: escaped, with control characters written out.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.compare import contents, shown
from tunebench.compare.charts import charts
from tunebench.errors import MissingExtra
from tunebench.runs.cache import write_atomic

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_SECTIONS = {
    "verdict": "Verdict",
    "table": "Table",
    "speed": "Speed",
    "statements": "Statements",
    "pareto": "Costs",
    "curves": "Curves",
    "parameters": "Parameters",
    "confusion": "Confusion",
    "reliability": "Reliability",
    "length": "Length",
    "errors": "Mistakes",
    "provenance": "Provenance",
    "how": "Method",
}


def require() -> None:
    """MissingExtra where this installation cannot write reports; said before hours of work."""
    for package, module in (("fpdf2", "fpdf"), ("jinja2", "jinja2"), ("matplotlib", "matplotlib")):
        if util.find_spec(module) is None:
            raise MissingExtra(package, "report", "writing a report")


def write_html(comparison: dict[str, Any], path: Path) -> None:
    """Write the page of a comparison, as ``assemble`` gives it. Raises MissingExtra without jinja2 or matplotlib."""
    write_atomic(path, html(comparison))


def html(comparison: dict[str, Any]) -> str:
    """The page as text; the same comparison gives the same text."""
    page = _environment().get_template("report.html.j2").render(_view(comparison))
    return page.encode("utf-8", "replace").decode("utf-8")


def _view(comparison: dict[str, Any]) -> dict[str, Any]:
    """What the template shows, in the order in which it shows it."""
    rows, test = contents.placed(comparison), comparison["test"]
    finished = [row for row in rows if row["error"] is None]
    css, js = (_file(f"report.{kind}") for kind in ("css", "js"))
    found = {(row["place"]): contents.confusion_of(row, test["labels"]) for row in finished}
    view = {
        **{name: comparison[name] for name in ("created", "tunebench", "hardware", "test", "choice", "statements", "browser")},
        "statement_notes": comparison.get("statement_notes") or [],
        "title": contents.title_of(comparison),
        "several": len(rows) > 1,
        "rows": rows,
        "cells": [cell for row in rows for cell in row["cells"]],
        "rates": [row for row in finished if row["rows_per_second"]],
        "forms": list(contents.forms_of(finished)),
        "limits": contents.limits_in_words(comparison["choice"]["limits"]) if comparison["choice"] else [],
        "remarks": contents.remarks(finished),
        "timing_notes": comparison["timing_notes"],
        "ratios": contents.ratios(finished),
        "confusions": [(row, matrix) for row in finished if (matrix := found[row["place"]]) is not None],
        "summed": any(row["seeds"] > 1 for row in finished),
        "charts": charts(comparison),
        "notes": contents.footnotes(comparison),
        "css": css,
        "js": js,
        "policy": _policy(css, js),
    }
    return view | {"sections": _sections(view)}


def _sections(view: dict[str, Any]) -> list[tuple[str, str]]:
    """The sections that the page has, for its navigation."""
    browser = view["browser"]
    there = {
        "verdict": view["several"],
        "statements": view["statements"],
        "confusion": view["confusions"],
        "errors": browser["all_wrong"] or browser["disagree"] or browser["confident"],
        **{name: view["charts"][name] for name in ("pareto", "curves", "parameters", "reliability", "length")},
    }
    return [(name, words) for name, words in _SECTIONS.items() if there.get(name, True)]


def _environment() -> Environment:
    try:
        import jinja2  # noqa: PLC0415 - needed for reports only
        from markupsafe import Markup  # noqa: PLC0415 - needed for reports only
    except ImportError:
        raise MissingExtra("jinja2", "report", "writing a report") from None

    def finalize(value: Any) -> Any:
        """Every expression of the template: markup of our own as it is, everything else as text without control characters."""
        if isinstance(value, Markup):
            return value
        return shown.NONE if value is None else shown.written(str(value), keep=shown.LINES)

    loader = jinja2.DictLoader({"report.html.j2": _file("report.html.j2")})
    environment = jinja2.Environment(
        loader=loader, autoescape=True, finalize=finalize, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for function in (shown.count, shown.size, shown.figure, shown.percent, shown.interval, shown.duration, shown.rate):
        environment.filters[function.__name__] = function
    environment.filters |= {
        "milliseconds": shown.milliseconds,
        "probability": shown.probability,
        "times": shown.times,
        "told": shown.told,
        "proof": shown.proof,
        "provenance": contents.provenance,
        "words": lambda key: str(key).replace("_", " "),
        "name": lambda text: shown.short(str(text), 80),
        "plain": lambda value: "" if value is None else repr(value),
        "code": lambda text: _code(Markup, str(text)),
        "svg": Markup,
        "own": Markup,
    }
    return environment


def _code(markup: type[Markup], text: str) -> Markup:
    """Prose in which commands stand between backticks, as they do on a terminal."""
    parts = [markup.escape(shown.written(part, keep=shown.LINES)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # one backtick has no other
        return markup("`").join(parts)
    return markup("").join(markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _file(name: str) -> str:
    return (resources.files("tunebench.compare") / "templates" / name).read_text(encoding="utf-8")


def _policy(css: str, js: str) -> str:
    """Nothing may be loaded; of styles and scripts only these two."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in (css, js))
    return f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
