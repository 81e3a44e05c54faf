"""The chat without its server: what it says, whom it lets in, what becomes of a dropped table."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import shelf
from tiny import write_csv, write_recipe

from tunebench import jobs, listening
from tunebench.chat import guard, home, replies, server, tables
from tunebench.cli import main
from tunebench.errors import InputError, MissingExtra, TunebenchError
from tunebench.languages import LANGUAGES, closest, sentences
from tunebench.runs.run import Run

TOLD = {"run": "films", "device": "cpu", "backend": "torch", "load_seconds": 0.0, "seconds": 0.0123}


def answer(**changes: Any) -> dict[str, Any]:
    shares = {"negative": 0.25, "positive": 0.75}
    display = {"negative": "negative", "positive": {"zh-Hant": "正面", "en": "good"}}
    return {"predicted": "positive", "display": display, "probabilities": shares, "truncated": False, "error": None} | changes


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en-GB", "en"),
        ("zh-TW", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("zh-Hant-MO", "zh-Hant"),
        ("zh_Hans_TW", "zh-Hans"),
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("fr-FR", "en"),
        ("xx", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_the_nearest_to_what_the_browser_asks_for(tag: str, language: str) -> None:
    assert closest(tag) == language


def test_every_language_says_everything_with_the_same_values() -> None:
    words = {language: sentences(replies.WORDS / f"{language}.yaml") for language in LANGUAGES}
    for language, said in words.items():
        assert said.keys() == words["en"].keys(), language
        for name in words["en"].keys() - {"interface"}:
            assert set(re.findall(r"{\w+}", said[name])) == set(re.findall(r"{\w+}", words["en"][name])), (language, name)
        assert words["en"]["interface"].keys() <= said["interface"].keys() | {"chat.input.actions.stop"}


def test_an_answer_has_label_confidence_and_a_bar_per_label_in_the_language_of_the_visitor() -> None:
    reply = replies.answered("zh-Hant", TOLD | {"answers": [answer()]})
    assert (reply["title"], reply["text"]) == ("正面", "信心 75.0 %")
    assert [(bar["name"], bar["share"], bar["shown"]) for bar in reply["bars"]] == [
        ("negative", 0.25, "25.0 %"),
        ("正面", 0.75, "75.0 %"),
    ]
    assert reply["notes"] == ["films · 12 ms · CPU"]
    assert replies.answered("en", TOLD | {"answers": [answer(truncated=True)]})["notes"][0].startswith("Only the beginning")


def test_of_many_labels_the_likeliest_are_shown_and_the_rest_counted() -> None:
    shares = {f"l{i}": i / 300 for i in range(25)}
    reply = replies.answered("en", TOLD | {"answers": [answer(predicted="l24", display={}, probabilities=shares)]})
    assert [bar["name"] for bar in reply["bars"]] == [f"l{i}" for i in range(24, 12, -1)]
    assert reply["notes"][0] == "Labels not shown: 13"


@pytest.mark.parametrize(
    ("share", "shown"), [(1.0, "100.0 %"), (0.99999, "> 99.9 %"), (0.00001, "< 0.1 %"), (0.0, "0.0 %"), (0.5, "50.0 %")]
)
def test_what_is_not_certain_never_reads_as_certain(share: float, shown: str) -> None:
    assert replies.percent(share) == shown


def test_what_cannot_be_answered_is_one_sentence_and_the_reason() -> None:
    expected = {"text": "films cannot answer this.", "notes": ["the text is empty"]}
    assert replies.answered("en", TOLD | {"answers": [answer(predicted=None, error="the text is empty")]}) == expected
    assert replies.answered("en", {"run": "films", "error": "the text is empty"}) == expected


def test_a_missing_run_names_the_command_that_makes_one() -> None:
    for language in LANGUAGES:
        reply = replies.missing(language, "films", Path("/my runs"))
        assert "films" in reply["text"]
        assert reply["code"] == "tunebench train RECIPE --runs '/my runs'"


def test_the_chosen_option_is_told_by_number_and_text() -> None:
    told = TOLD | {"predicted": "2", "probabilities": {"1": 0.2, "2": 0.8}, "truncated": False, "error": None}
    reply = replies.chosen("en", told, ["red", "<b>blue</b>"])
    assert (reply["title"], [bar["name"] for bar in reply["bars"]]) == (
        "Option 2: <b>blue</b>",
        ["Option 1: red", "Option 2: <b>blue</b>"],
    )
    assert replies.chosen("en", told | {"predicted": None, "error": "too long"}, ["red", "blue"])["notes"] == ["too long"]


@pytest.mark.parametrize(
    ("passage", "question", "choices", "fault"),
    [
        ("a", "b", ["c", "d"], False),
        (" ", "b", ["c", "d"], True),
        ("a", "", ["c", "d"], True),
        ("a", "b", ["c", " "], True),
        ("a", "b", ["c", "c "], True),
    ],
)
def test_a_question_is_asked_only_whole(passage: str, question: str, choices: list[str], fault: bool) -> None:  # noqa: FBT001
    assert replies.question_fault(passage, question, choices) is fault


@pytest.mark.parametrize(
    ("given", "plain", "suffix", "back"),
    [
        ("reviews.csv", "reviews.csv", ".csv", "reviews-films.csv"),
        ("../../x.CSV", "x.CSV", ".csv", "x-films.csv"),
        (r"C:\Users\me\x.tsv", "x.tsv", ".tsv", "x-films.tsv"),
        ("rows.json", "rows.json", ".json", "rows-films.jsonl"),
        ("/etc/passwd", "passwd", None, "passwd-films"),
        ("program.exe", "program.exe", None, "program-films.exe"),
        ("..", "..", None, "..-films"),
        ("", "table", None, "table-films"),
        ("x" * 300 + ".csv", "x" * 80 + ".csv", ".csv", "x" * 80 + "-films.csv"),
    ],
)
def test_a_files_name_is_never_a_path(given: str, plain: str, suffix: str | None, back: str) -> None:
    assert (tables.plain_name(given), tables.table_suffix(given), tables.name_back(given, "films")) == (plain, suffix, back)
    assert "/" not in tables.name_back(given, "../../x/films")
    assert "\x1b" not in tables.plain_name(f"\x1b[31m{given}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that needs no model."""
    folder = tmp_path_factory.mktemp("chat")
    recipe = write_recipe(folder / "films.yaml", data=write_csv(folder / "texts.csv"), method={"kind": "majority"})
    return jobs.train(str(recipe), [], folder / "runs", lambda event: None).run


def test_a_table_comes_back_with_every_row(run: Run, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_text("text\na fine <b>film</b>\n=1+1 dull\n\n", "utf-8")
    table = tables.Table(tmp_path / "own", upload, "../../x.csv", run.name, run.path.parent)
    result = table.answer(lambda rows: None)
    lines = table.output.read_text("utf-8").splitlines()
    assert (result["rows"], result["errors"], len(lines)) == (3, 1, 4)
    assert lines[1].startswith("a fine <b>film</b>,")
    assert sorted(os.listdir(tmp_path)) == ["own", "upload"]
    table.remove()
    assert os.listdir(tmp_path) == ["upload"]


def test_a_program_named_as_a_table_is_refused_by_its_own_name(run: Run, tmp_path: Path) -> None:
    table = tables.Table(tmp_path / "own", Path(sys.executable), "program.csv", run.name, run.path.parent)
    with pytest.raises(TunebenchError, match=r"^program\.csv: ") as refused:
        table.answer(lambda rows: None)
    assert str(tmp_path) not in str(refused.value)


def test_how_far_a_table_is_is_heard_while_it_is_answered() -> None:
    ours, theirs = os.openpty()
    os.write(theirs, b"\r12 rows, 5 rows/s \r1,234 rows, 99 rows/s ")
    os.close(theirs)
    heard: list[int] = []
    tables._listen(ours, heard.append)
    os.close(ours)
    assert heard == [1234]


OURS = "http://localhost:8000"


@pytest.mark.parametrize(
    ("listens", "headers", "status"),
    [
        ("localhost", {"host": "localhost:8000"}, 200),
        ("localhost", {"host": "127.0.0.1:8000"}, 200),
        ("localhost", {"host": "[::1]:8000"}, 200),
        ("localhost", {"host": "localhost:8000", "origin": OURS}, 200),
        ("localhost", {"host": "localhost:8000", "origin": "http://evil.example"}, 403),
        ("localhost", {"host": "localhost:8000", "origin": "http://localhost:9000"}, 403),
        ("localhost", {"host": "localhost:8000", "origin": "null"}, 403),
        ("localhost", {"host": "evil.example:8000"}, 403),
        ("localhost", {"host": "evil.example:8000", "origin": "http://evil.example:8000"}, 403),
        ("localhost", {}, 403),
        ("0.0.0.0", {"host": "my.machine:8000", "origin": "http://my.machine:8000"}, 200),
        ("0.0.0.0", {"host": "my.machine:8000", "origin": "http://evil.example"}, 403),
        ("localhost", {"host": "localhost", "content-length": "1000"}, 200),
        ("localhost", {"host": "localhost", "content-length": "1001"}, 413),
        ("localhost", {"host": "localhost", "content-length": "-1"}, 413),
        ("localhost", {"host": "localhost", "transfer-encoding": "chunked"}, 413),
    ],
)
def test_only_the_chats_own_page_may_talk_to_it(listens: str, headers: dict[str, str], status: int) -> None:
    for kind, path in (("http", "/"), ("websocket", "/ws/socket.io/")):
        sent = guarded(kind, path, listens, headers)
        assert ("app" in sent) == (status == 200), kind
        if status == 200:
            continue
        assert sent[0] == ({"type": "websocket.close", "code": 1008} if kind == "websocket" else sent[0])
        assert kind == "websocket" or sent[0]["status"] == status


def test_pages_load_nothing_from_elsewhere_and_uploads_are_no_pages() -> None:
    (started, _) = guarded("http", "/", "localhost", {"host": "localhost"})
    headers = dict(started["headers"])
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert not re.search(rb"https?:|\*", headers[b"content-security-policy"])
    assert b"content-disposition" not in headers
    (started, _) = guarded("http", "/project/file/1", "localhost", {"host": "localhost"})
    assert dict(started["headers"])[b"content-disposition"] == b"attachment"


def guarded(kind: str, path: str, listens: str, headers: dict[str, str]) -> list[Any]:
    """What goes out for a request: the app's own answer, or ``app`` where it was let in without one."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": f"{kind}.response.start" if kind == "http" else "websocket.accept", "status": 200, "headers": []})
        sent.append("app")

    async def receive() -> Any:
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(guard.Guard(app, host=listens, most_bytes=1000)(scope, receive, send))
    return sent


def test_all_runs_that_cannot_be_asked_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.finished_run(tmp_path, "good")
    (tmp_path / "good" / "events.jsonl").rename(tmp_path / "events.jsonl")
    monkeypatch.setattr(sys, "argv", ["tunebench", "chat", "good", "nix", "--runs", str(tmp_path), "--no-browser"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "2 faults" in said
    assert "nix: no such run" in said
    assert "`tunebench train RECIPE` makes one" in said
    assert "good: is interrupted" in said


def test_without_chainlit_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.finished_run(tmp_path, "good")
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=re.escape("tunebench[chat]")):
        server.serve(["good"], tmp_path, "localhost", 8000, print, browser=False)


def test_a_taken_port_and_an_open_address_are_told() -> None:
    with listening.socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="--port"):
            listening.require_port("127.0.0.1", taken.getsockname()[1])
    assert listening.exposed("localhost", "ask") == []
    assert "nobody is asked for a password" in listening.exposed("0.0.0.0", "ask")[0]


@pytest.fixture
def furnished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a Chainlit that holds only what is looked at."""
    theirs = tmp_path / "chainlit"
    (theirs / "frontend" / "dist" / "assets").mkdir(parents=True)
    links = '<link rel="preconnect" href="https://fonts.example" />\n<link\n  href="https://cdn.example/x.css"\n/>'
    (theirs / "frontend" / "dist" / "index.html").write_text(f'<head>{links}<link href="/own.css"></head>', "utf-8")
    (theirs / "translations").mkdir()
    texts = {
        "chat": {"input": {"placeholder": "?", "actions": {}}, "watermark": "?"},
        "navigation": {"newChat": {"dialog": {}}},
    }
    for tag in ("en-US", "zh-TW", "zh-CN", "fr-FR"):
        (theirs / "translations" / f"{tag}.json").write_text(json.dumps(texts), "utf-8")
    monkeypatch.setattr(home, "chainlit_folder", lambda: theirs)
    (tmp_path / "home").mkdir()
    home.furnish(tmp_path / "home")
    return tmp_path / "home"


def test_the_page_names_no_other_machine(furnished: Path) -> None:
    page = (furnished / "page" / "index.html").read_text("utf-8")
    assert "http" not in page
    assert '<link href="/own.css">' in page
    assert (furnished / "page" / "assets").is_dir()


def test_markup_is_never_read_and_nothing_is_kept_open(furnished: Path) -> None:
    settings = tomllib.loads((furnished / ".chainlit" / "config.toml").read_text("utf-8"))
    features = settings["features"]
    assert (features["unsafe_allow_html"], features["latex"], features["user_message_markdown"]) == (False, False, False)
    assert features["spontaneous_file_upload"]["max_size_mb"] == listening.MOST_UPLOADED_MB
    assert settings["project"]["allow_origins"] == []
    assert not features["mcp"]["enabled"]


def test_chainlits_own_words_are_in_the_same_language_as_ours(furnished: Path) -> None:
    said = {}
    for tag in ("en-US", "fr-FR", "zh-TW", "zh-Hant-HK", "zh-CN", "zh"):
        texts = json.loads((furnished / ".chainlit" / "translations" / f"{tag}.json").read_text("utf-8"))
        said[tag] = texts["chat"]["input"]["placeholder"]
    assert said == {
        "en-US": "Paste a review",
        "fr-FR": "Paste a review",
        "zh-TW": "貼上一則評論",
        "zh-Hant-HK": "貼上一則評論",
        "zh-CN": "粘贴一则评论",
        "zh": "粘贴一则评论",
    }


def test_nothing_around_the_chat_makes_it_report_or_keep_conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ("LITERAL_API_KEY", "DATABASE_URL", "SLACK_BOT_TOKEN", "CHAINLIT_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "RUN", "ROOT")
    for name in theirs:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "1")
    around = home.environment(tmp_path, "localhost", 8000)
    assert not set(theirs) & set(around)
    assert around["KEPT"] == "1"
    assert (around["CHAINLIT_APP_ROOT"], around["CHAINLIT_ENV_FILE"]) == (str(tmp_path), os.devnull)
    assert (around["OTEL_SDK_DISABLED"], around["TRACELOOP_TELEMETRY"]) == ("true", "false")


def test_the_chat_loads_neither_torch_nor_jobs() -> None:
    code = (
        "import sys, tunebench.asking.client, tunebench.chat.guard, tunebench.chat.server, tunebench.chat.tables;"
        "print([name for name in ('torch', 'transformers', 'tunebench.jobs', 'chainlit') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
