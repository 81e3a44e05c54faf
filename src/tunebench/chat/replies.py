"""What the chat says, as data: one part of the page draws it as plain text, so nothing in it is ever read as markup."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebench.data.labels import Display, shown_name
from tunebench.languages import sentences

WORDS = Path(__file__).with_name("words")
MOST_LABELS = 12
"""Bars that one answer shows."""
MOST_CHARACTERS = 100_000
"""Of a pasted text; a table takes longer ones."""

Reply = dict[str, Any]
"""``title``, ``text``, ``bars`` (``name``, ``share`` from 0 to 1, ``shown``), ``notes``, ``code``: a command. All optional."""


def say(language: str, name: str, **values: object) -> str:
    """The words of that name in a language, with the values in their places."""
    return str(sentences(WORDS / f"{language}.yaml")[name]).format(**values)


def greeting(language: str, run: str, *, others: bool, asks_questions: bool) -> Reply:
    """What the chat takes, and that runs can be switched where there are ``others``."""
    lines = [say(language, "greeting_table")] + ([say(language, "greeting_switch")] if others else [])
    return {"text": say(language, "greeting_question" if asks_questions else "greeting", run=run), "notes": lines}


def answered(language: str, told: Mapping[str, Any]) -> Reply:
    """One text's answer, out of what ``Asking.predict`` tells of a run."""
    if "error" in told:
        return failed(language, told["run"], told["error"])
    answer = told["answers"][0]
    if answer["error"] is not None or answer["predicted"] is None:
        return failed(language, told["run"], answer["error"] or "")
    display: Display = answer["display"]
    names = {name: shown_name(display, name, language) for name in answer["probabilities"]}
    notes = [say(language, "truncated")] if answer["truncated"] else []
    return _with_bars(language, names[answer["predicted"]], answer, names, notes, told)


def chosen(language: str, told: Mapping[str, Any], choices: Sequence[str]) -> Reply:
    """The option that was taken, out of what ``Asking.choose`` tells."""
    if told["error"] is not None or told["predicted"] is None:
        return failed(language, told["run"], told["error"] or "")
    shares = zip(told["probabilities"], choices, strict=True)
    names = {number: f"{say(language, 'option', number=number)}: {choice}" for number, choice in shares}
    notes = [say(language, "truncated_question")] if told["truncated"] else []
    return _with_bars(language, names[told["predicted"]], told, names, notes, told)


def _with_bars(
    language: str,
    title: str,
    answer: Mapping[str, Any],
    names: Mapping[str, str],
    notes: list[str],
    told: Mapping[str, Any],
) -> Reply:
    shares: dict[str, float] = answer["probabilities"]
    order = sorted(shares, key=lambda name: -shares[name]) if len(shares) > MOST_LABELS else list(shares)
    bars = [{"name": names[name], "share": shares[name], "shown": percent(shares[name])} for name in order[:MOST_LABELS]]
    if len(order) > MOST_LABELS:
        notes = [say(language, "more_labels", count=len(order) - MOST_LABELS), *notes]
    seconds = told["seconds"]
    took = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    line = say(language, "told", run=told["run"], seconds=took, device=told["device"].upper())
    confidence = say(language, "confidence", share=percent(shares[answer["predicted"]]))
    return {"title": title, "text": confidence, "bars": bars, "notes": [*notes, line]}


def percent(share: float) -> str:
    """A probability for people; what is not certain never reads 100 %."""
    shown = f"{100 * share:.1f}"
    return "> 99.9 %" if shown == "100.0" and share < 1 else "< 0.1 %" if shown == "0.0" and share > 0 else f"{shown} %"


def failed(language: str, run: str, error: str) -> Reply:
    """One sentence in the visitor's language, and the reason as tunebench says it."""
    return {"text": say(language, "failed", run=run), "notes": [error] if error else []}


def missing(language: str, run: str, runs: Path) -> Reply:
    """A run that is gone, and the command that makes one."""
    at = f" --runs {shlex.quote(str(runs))}"
    return {"text": say(language, "missing", run=run), "code": f"tunebench train RECIPE{at}"}


def table_done(language: str, file: str, result: Mapping[str, Any]) -> Reply:
    """What became of a table's rows, out of what ``tunebench predict --json`` tells."""
    notes = [
        say(language, name, count=f"{result[key]:,}")
        for key, name in (("errors", "table_errors"), ("truncated", "table_truncated"))
        if result[key]
    ]
    notes += [say(language, "table_renamed", column=name) for name in result["renamed_columns"].values()]
    return {"text": say(language, "table_done", file=file, count=f"{result['rows']:,}"), "notes": notes}


def question_fault(passage: str, question: str, choices: Sequence[str]) -> bool:
    """Whether something of a question is not filled in, or two options say the same."""
    options = [choice.strip() for choice in choices]
    return not all([passage.strip(), question.strip(), *options]) or len(set(options)) < len(options)


def asked(passage: str, question: str, choices: Sequence[str]) -> str:
    """A question as its visitor's own message."""
    lines = [f"{number}. {choice.strip()}" for number, choice in enumerate(choices, 1)]
    return "\n".join([passage.strip(), "", question.strip(), *lines])
