"""What happens on each message. Chainlit loads this file; what is said comes from ``replies``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import chainlit as cl
from chainlit import socket
from chainlit.context import init_ws_context
from chainlit.mode import Mode, ModeOption
from chainlit.server import app, sio
from chainlit.session import WebsocketSession

from tunebench.asking.client import Asking
from tunebench.chat import replies, tables
from tunebench.chat.guard import Guard
from tunebench.chat.replies import MOST_CHARACTERS, Reply, say
from tunebench.chat.server import VARIABLE
from tunebench.data.readers import FORMATS
from tunebench.errors import TunebenchError
from tunebench.languages import closest
from tunebench.listening import MOST_UPLOADED_MB
from tunebench.runs.index import find_run
from tunebench.runs.run import Run

GIVEN = json.loads(os.environ[VARIABLE])
NAMES: list[str] = list(GIVEN["names"])
RUNS, HOME = Path(GIVEN["runs"]), Path(GIVEN["home"])
ASKING = Asking(RUNS)
OPENED: set[str] = set()
"""Runs that have answered: these answer at once."""
ONE_TABLE = asyncio.Semaphore(1)
"""Every table has a process with a model of its own; one at a time fits into memory."""
QUESTIONS = "multiple-choice"
PICKER = "run"
_SESSION = re.compile(r"[0-9a-f-]{36}")
_MOST_MESSAGE = 16 * 2**20
"""A longer text than is answered still gets a word."""


async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> bool:
    """Chainlit names a folder after the session, in the visitor's words, and removes it in the end."""
    if not _SESSION.fullmatch(str(auth.get("sessionId"))):
        raise ConnectionRefusedError("no session")
    return bool(await socket.connect(sid, environ, auth))


async def stop(sid: str) -> None:
    """Stop answering, and say so in the visitor's language."""
    if session := WebsocketSession.get(sid):
        init_ws_context(session)
        if session.current_task:
            session.current_task.cancel()
        await tell({"text": say(language(), "stopped")})


async def begin() -> None:
    """Let the answering process import what takes seconds while nobody waits for it."""
    await asyncio.to_thread(ASKING.start)


async def end() -> None:
    """End the answering process."""
    ASKING.close()


async def greet() -> None:
    """Say what may be asked, and offer the runs."""
    if len(NAMES) > 1:
        options = [ModeOption(id=name, name=name, default=name == NAMES[0]) for name in NAMES]
        await cl.context.emitter.set_modes([Mode(id=PICKER, name=say(language(), "picker"), options=options)])
    with suppress(TunebenchError):  # gone already: whoever asks it hears so
        asks = asks_questions(NAMES[0])
        await tell(replies.greeting(language(), NAMES[0], others=len(NAMES) > 1, asks_questions=asks))
        if asks:
            await offer_form(NAMES[0])


async def on_message(message: cl.Message) -> None:
    """Answer a text, or the tables that came with it."""
    run = served((message.modes or {}).get(PICKER))
    files = [element for element in message.elements if element.path]

    async def answer() -> None:
        for file in files:
            await answer_table(run, Path(file.path or ""), file.name)
        if message.content.strip() or not files:
            await answer_text(run, message.content)

    await explained(run, answer)


async def ask(action: cl.Action) -> None:
    """Answer a filled-in form."""
    run = served(action.payload.get("run"))
    passage, question = str(action.payload.get("passage", "")), str(action.payload.get("question", ""))
    choices = [str(choice) for choice in action.payload.get("choices", [])]

    async def answer() -> None:
        if replies.question_fault(passage, question, choices):
            await tell({"text": say(language(), "empty_question")})
            return
        await cl.Message(replies.asked(passage, question, choices), type="user_message").send()
        told = await opened(run, ASKING.choose, run, passage, question, choices)
        await tell(replies.chosen(language(), told, choices))

    await explained(run, answer)


async def answer_text(run: str, text: str) -> None:
    """What a run says of a text, after everything that keeps it from being asked."""
    asks = asks_questions(run)
    if not text.strip():
        await tell({"text": say(language(), "empty", run=run)})
    elif len(text) > MOST_CHARACTERS:
        await tell({"text": say(language(), "too_long", count=f"{len(text):,}", most=f"{MOST_CHARACTERS:,}")})
    elif asks:
        await tell({"text": say(language(), "to_form", run=run)})
        await offer_form(run, text)
    else:
        [told] = await opened(run, ASKING.predict, [run], [text])
        await tell(replies.answered(language(), told))


async def opened(run: str, verb: Callable[..., Any], *asked: object) -> Any:
    """What the answering process says; where a model has to be opened first, the visitor is told so meanwhile."""
    if run in OPENED:
        return await asyncio.to_thread(verb, *asked)
    message = await tell({"text": say(language(), "opening", run=run)})
    try:
        answer = await asyncio.to_thread(verb, *asked)
    finally:
        await message.remove()
    OPENED.add(run)
    return answer


async def answer_table(run: str, uploaded: Path, name: str) -> None:
    """Give a dropped table back with answers, telling how far it is."""
    here, shown = language(), tables.plain_name(name)
    if tables.table_suffix(name) is None:
        await tell({"text": say(here, "table_format", file=shown, endings=", ".join(FORMATS))})
        return
    find_run(run, RUNS)
    message = await tell({"text": say(here, "table_waiting" if ONE_TABLE.locked() else "table_begun", file=shown, run=run)})
    async with ONE_TABLE:
        table = tables.Table(HOME / "tables" / uuid.uuid4().hex, uploaded, name, run, RUNS)
        loop = asyncio.get_running_loop()

        def on_rows(rows: int) -> None:
            words = {"text": say(here, "table_rows", file=shown, count=f"{rows:,}")}
            asyncio.run_coroutine_threadsafe(retell(message, words), loop)

        try:
            result = await asyncio.to_thread(table.answer, on_rows)
            await retell(message, replies.table_done(here, shown, result))
            file = cl.File(
                name=tables.name_back(name, run), path=str(table.output), display="inline", mime="application/octet-stream"
            )
            await file.send(for_id=message.id)
        except TunebenchError as error:
            await retell(message, {"text": say(here, "table_failed", file=shown), "notes": [str(error)]})
        finally:
            table.stop()
            table.remove()


async def explained(run: str, answer: Callable[[], Any]) -> None:
    """Answer; what goes wrong is one sentence, never a traceback."""
    try:
        await answer()
    except TunebenchError as error:
        gone = _lost(run)
        await tell(replies.missing(language(), run, RUNS) if gone else replies.failed(language(), run, str(error)))
    except Exception:  # Chainlit would show its text; it goes to the log, and a sentence of ours to the page
        logging.getLogger(__name__).exception("an answer failed")
        await tell({"text": say(language(), "unexpected")})


async def offer_form(run: str, passage: str = "") -> None:
    """Show the form of a question."""
    here, number = language(), len(_found(run).manifest["labels"]["names"])
    words = {
        "passage": say(here, "passage"),
        "question": say(here, "question"),
        "options": [say(here, "option", number=place) for place in range(1, number + 1)],
        "ask": say(here, "ask"),
    }
    given = {"id": uuid.uuid4().hex, "run": run, "passage": passage, "options": number, "words": words}
    await cl.Message("", elements=[cl.CustomElement(name="Question", props=given, display="inline")]).send()


async def tell(reply: Reply) -> Any:
    """Show a reply."""
    message = cl.Message("", elements=[cl.CustomElement(name="Said", props=reply, display="inline")])
    await message.send()
    return message


async def retell(message: Any, reply: Reply) -> None:
    """Show another reply in the place of one."""
    [element] = [element for element in message.elements if isinstance(element, cl.CustomElement)]
    element.props, element.content = reply, json.dumps(reply)
    await element.update()


def served(asked: object) -> str:
    """The run that a visitor asks, which is one of ours whatever the page sends."""
    return next((name for name in NAMES if name == asked), NAMES[0])


def language() -> str:
    """The language that the visitor's browser asks for."""
    return closest(str(getattr(cl.context.session, "language", "")))


def asks_questions(run: str) -> bool:
    """Whether a run takes questions with options; TunebenchError where it is gone."""
    return _found(run).recipe.task == QUESTIONS


def _found(run: str) -> Run:
    return find_run(run, RUNS)


def _lost(run: str) -> bool:
    try:
        _found(run)
    except TunebenchError:
        return True
    return False


def keep_empty_files() -> None:
    """Chainlit fails at an upload without a byte; here it is a table like others, and is told what it lacks."""
    keep = WebsocketSession.persist_file

    async def persist_file(
        session: Any, name: str, mime: str, path: str | None = None, content: bytes | str | None = None
    ) -> Any:
        return await keep(session, name, mime, path, content if path or content else b"\n")

    WebsocketSession.persist_file = persist_file


def register() -> None:
    """Hand everything above to Chainlit."""
    app.add_middleware(Guard, host=GIVEN["host"], most_bytes=(MOST_UPLOADED_MB + 1) * 2**20)
    keep_empty_files()
    sio.eio.max_http_buffer_size = _MOST_MESSAGE
    sio.on("connect", connect)
    sio.on("stop", stop)
    cl.on_app_startup(begin)
    cl.on_app_shutdown(end)
    cl.on_chat_start(greet)
    cl.on_message(on_message)
    cl.action_callback("ask")(ask)


register()
