"""Hostile prompts, questions, corpora and conversations: an exit code, words that help, and nothing is begun."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prompted import (
    CHAT,
    LONG,
    ROWS,
    STEPS,
    ZERO_SHOT,
    Rows,
    and_one,
    changed,
    every,
    only,
    prompted,
    said,
    settings_of,
    talks,
    with_template,
    words,
    write,
    write_bases,
    write_files,
    write_rows,
)
from shelf import tunebench
from test_hostile_input import Capture, refused


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()


PLACE = "is no place of prompt-classification; known are {labels}, {text}"
SETTINGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a place that no row has": ("classify", prompted("{review} is {text}"), f"prompt.template: {{review}} {PLACE}"),
    "a place of another task": ("classify", prompted("{passage} {text}"), f"{{passage}} {PLACE}"),
    "a template of options that names a text": ("choose", prompted("{text} {question} {choices}"), "{text} is no place of multi"),
    "empty braces": ("classify", prompted('{"a": {text}} {}'), f"prompt.template: {{}} {PLACE}"),
    "the text twice": ("classify", prompted("{text} or {text} is"), "{text} stands twice; it may be cut to fit and stands once"),
    "a template of spaces": ("classify", prompted(" \n\t "), "prompt.template: lacks {text}; put it where it belongs"),
    "an empty template": ("classify", prompted(""), "prompt.template: expected text that is not empty"),
    "a template of 200,000 characters": (
        "classify",
        prompted("x " * 100_000 + "{text}"),
        "without any text the template is 100,0",
    ),
    "a template with half a character": ("classify", prompted("\ud83d {text}"), r"'\ud83d' is no character of a text"),
    "a template that is no text": ("classify", {"prompt": {"template": ["{text}"]}}, "prompt.template: expected text, found"),
    "a line of an option without the option": (
        "choose",
        prompted(choice_template="{num})"),
        "prompt.choice_template: {num} is no place of an option; known are {number} and {choice}",
    ),
    "label words that begin alike": ("classify", words("good film"), "'good' and 'good film' begin with the same token"),
    "label words that are the same": ("classify", words("good"), "'good' and 'good' begin with the same token"),
    "an empty label word": ("classify", words(""), "prompt.label_words: 'negative' has an empty word"),
    "a label word of spaces": ("classify", words(" \t"), "prompt.label_words: 'negative' has an empty word"),
    "a label word of nothing visible": ("classify", words("\u200b"), "leaves no token in this base's tokenizer; choose a word"),
    "an emoji as label word": ("classify", words("😀"), "'😀' becomes '<unk>', which no answer is written with"),
    "half a character as label word": ("classify", words("\ud83d"), r"'\ud83d' is no character of a text"),
    "a label word of 10,000 letters": ("classify", words("b" * 10_000), "characters left out"),
    "a label word of 3,000 words": ("classify", words("bad " * 3000), "base.max_length leaves 0 beside the longest answer"),
    "a special token as label word": ("classify", words("</s>"), "'</s>' becomes '</s>', which no answer is written with"),
    "a place as label word": ("classify", words("{text}"), "'{text}' holds {text}, a place of templates; choose another"),
    "a number as label word": ("classify", words(0), "prompt.label_words.negative: expected text, found 0"),
    "a word of no label": ("classify", prompted(label_words={"bda": "x"}), "'bda' is no label; labels are negative, positive"),
    "label words for options": ("choose", prompted(label_words={"1": "one"}), "answers with the options' numbers; remove it"),
    "no label for what is invalid": (
        "choose",
        prompted(decode="generate", on_invalid="7"),
        "prompt.on_invalid: '7' is no label; give error or one of 1, 2, 3",
    ),
    "invalid answers that are scored": ("choose", prompted(on_invalid="1"), "on_invalid belongs to decode: generate"),
    "65 new tokens": (
        "classify",
        prompted(decode="generate", max_new_tokens=65),
        "max_new_tokens: expected at most 64, found 65",
    ),
    "nine options": ("choose", {"data": {"choices": list("abcdefghi")}}, "data.choices: expected a list of at most 8"),
    "one option": ("choose", {"data": {"choices": ["a"]}}, "data.choices: expected a list of at least 2, found ['a']"),
    "no options": ("choose", {"data": {"choices": None}}, "data.train: which columns hold the options? give choices:"),
    "a column that is two options": ("choose", {"data": {"choices": ["a", "a"]}}, "options and answer are all different ones"),
    "a column of options that is missing": (
        "choose",
        {"data": {"choices": ["a", "z"]}},
        "no column 'z' (setting data.choices, opt",
    ),
    "a context shorter than the template": ("choose", {"base": {"max_length": 8}}, "without any text the template is 8 tokens"),
    "a context longer than the base's": (
        "choose",
        {"base": {"max_length": 999}},
        "is more than the base has positions for (128)",
    ),
    "an encoder that is to write": (
        "classify",
        {"base": {"model": "bert"}},
        "its architecture is 'bert'; prompt-classification is",
    ),
    "a decoder without its output layer": (
        "write",
        {"base": {"model": "headless"}},
        "hold no output layer (lm_head.weight), so it",
    ),
    "a base without a chat template": (
        "classify",
        prompted(chat=True),
        "has no chat template; take a base that was tuned on conv",
    ),
    "conversations for such a base": ("chat", {"base": {"model": "llama"}}, "of instruction the columns prompt and completion"),
    "4 bits without a GPU": ("write", {"base": {"quantization": "nf4"}}, "nf4 needs a GPU that torch can use, and there is none"),
    "5 bits": ("write", {"base": {"quantization": "int5"}}, "base.quantization: expected 'nf4' or 'int8', found 'int5'"),
    "zero-shot with steps": ("classify", {"method": {"kind": "zero-shot"}}, "'zero-shot' has no use for it; remove it"),
    "zero-shot writing": (
        "write",
        ZERO_SHOT,
        "'zero-shot' belongs to prompt-classification and multiple-choice; the task is lang",
    ),
    "word overlap of texts": (
        "classify",
        {"method": {"kind": "word-overlap"}, "train": None, "base": None},
        "method.kind: 'word-overlap' belongs to multiple-choice",
    ),
    "packed questions": ("choose", {"train": {"packing": True}}, "train.packing: belongs to task: language-modeling; remove it"),
    "a prompt for documents": ("write", prompted("{text}"), "prompt: belongs to prompt-classification and multiple-choice"),
    "documents to answer": (
        "write",
        {"data": {"predict": "d.jsonl"}},
        "data.predict: language-modeling has no labels; remove it",
    ),
    "the accuracy of documents": ("write", {"train": {"metric_for_best_model": "accuracy"}}, "has no labels; set it to loss, or"),
    "a pattern that matches nothing": ("write", {"data": {"train": "nothing/*.json"}}, "nothing/*.json: matches no file in"),
    "a pattern that is none": ("write", {"data": {"train": "**x"}}, "**x: is no pattern"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_cannot_work_are_refused_before_anything_is_begun(name: str, bases: Path, capsys: Capture) -> None:
    kind, changes, fault = SETTINGS[name]
    recipe = write(settings_of(bases, kind, **changes))
    refused(capsys, 2, fault, "train", recipe)
    assert len(tunebench(capsys, "train", recipe)[2]) < 10_000


NUMBER = "expected the number of the right option, 1 to 3"
DATA: dict[str, tuple[str, Callable[[Rows], Rows] | str | bytes, str]] = {
    "an empty option": ("choose", changed(4, b=" "), "row 5: 'b' is empty; correct or remove the row"),
    "an option twice": ("choose", changed(4, b="x", c=" x "), "row 5: 'c' is the same option as 'b' ('x'); options must differ"),
    "an answer outside the options": ("choose", changed(4, answer=4), f"row 5: 'answer' holds '4'; {NUMBER}"),
    "an answer written as text": ("choose", changed(4, answer="選項2"), f"row 5: 'answer' holds '選項2'; {NUMBER}"),
    "options in a list": ("choose", every(a=["x", "y"]), "row 1: 'a' holds a list; expected text"),
    "half a question": ("choose", changed(3, question="is\ud83d"), r"row 4: holds half a character ('\ud83d')"),
    "a question longer than the context": (
        "choose",
        every(question=LONG),
        "tokens, 58 are left by base.max_length\n",
    ),
    "an option longer than the context": ("choose", every(a=LONG), "raise base.max_length, or shorten what is not the row's own"),
    "one document": ("write", only("a film"), "is a corpus of one document, and training needs two or more"),
    "documents of spaces": ("write", only(" ", "\n", None), "none of its 3 rows is left (dropped 3 (empty text)); give files"),
    "half a document": ("write", changed(2, text="a\udc00"), r"row 3: holds half a character ('\udc00')"),
    "a document that is a list": ("write", changed(2, text=[["a"]]), "row 3: 'text' holds a list; expected text"),
    "documents without their column": ("write", lambda rows: [{"body": "x"}], "no column 'text' (setting data.text)"),
    "lists in lists": ("write", "[[[1]], [2]]", "no row is sound; the first one: expected a JSON object with named columns"),
    "100,000 brackets": ("write", "[" * 100_000, "no row is sound; the first one: is not a line of JSON"),
    "no JSON": ("write", "a film\nis good\n", "is not a line of JSON: Expecting value"),
    "no file with rows": ("chat", b"", "is empty: expected a header or at least one row"),
    "only a system's turn": (
        "chat",
        and_one(said(("system", "x"))),
        "row 21: 'messages' has no answer: no message of the assist",
    ),
    "an answer first": ("chat", and_one(said(("assistant", "x"), ("user", "y"))), "row 21: 'messages' begins with an answer"),
    "a message of nothing": (
        "chat",
        and_one(said(("user", None), ("assistant", "x"))),
        "row 21: 'messages' message 1: holds no t",
    ),
    "a message in parts": (
        "chat",
        and_one(said(("user", [{"text": "x"}]), ("assistant", "y"))),
        "message 1: holds no text; expec",
    ),
    "a role that is a number": ("chat", and_one(said((5, "x"))), "message 1: said by 5; expected one of system, user, human"),
    "half a message": (
        "chat",
        and_one(said(("user", "\ud83d"), ("assistant", "x"))),
        r"row 21: holds half a character ('\ud83d')",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_teach_nothing_are_refused_before_anything_is_begun(name: str, bases: Path, capsys: Capture) -> None:
    kind, content, fault = DATA[name]
    file = "h.jsonl"
    if callable(content):
        write_rows(file, content(ROWS[kind]()))
    else:
        Path(file).write_bytes(content.encode() if isinstance(content, str) else content)
    refused(capsys, 2, fault, "train", write(settings_of(bases, kind, data={"train": file})))


def test_a_document_of_five_million_characters_takes_seconds(bases: Path, capsys: Capture) -> None:
    cleaned = {"html": "strip", "urls": "drop", "paragraph_numbers": "drop", "punctuation": "normalize"}
    cleaned |= {"min_chars": 1, "max_chars": 2048, "deduplicate": True}
    recipe = write(settings_of(bases, "write", data={"train": "h.jsonl", "clean": cleaned}))
    begun = time.monotonic()
    for text in ("(", "的"):
        write_rows("h.jsonl", [{"text": text * 5_000_000}, {"text": "a film"}])
        refused(capsys, 2, "of 2442 rows leaves 0 to train on", "train", recipe)  # in pieces that stay together
    assert time.monotonic() - begun < 60


TEMPLATES: dict[str, tuple[str, str]] = {
    "that says the text twice": ("{% for m in messages %}{{ m.content }} {{ m.content }}{% endfor %}", "once and as it is"),
    "that says nothing": ("a film", "once and as it is, so a row's text has no place in it; leave prompt.chat out"),
    "that changes the text": ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "once and as it is"),
    "that refuses": ("{{ raise_exception('never') }}", "does not take these turns (user): never"),
    "that is none": ("{% for %}", "cannot be read: "),
    "that never ends": ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
    "that fills the memory": ("{{ ('x' * 1000) * 10**15 }}", "does not take these turns (user): MemoryError"),
    "that looks into Python": ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_does_not_do_is_refused(name: str, bases: Path, capsys: Capture) -> None:
    template, fault = TEMPLATES[name]
    base = with_template(bases / "llama", Path("odd").absolute(), template)
    refused(capsys, 2, fault, "train", write(settings_of(bases, "classify", prompt={"chat": True}, base={"model": str(base)})))


def test_conversations_that_a_template_does_not_take_are_refused_in_every_split(bases: Path, capsys: Capture) -> None:
    template = CHAT + "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    base = with_template(bases / "llama", Path("strict").absolute(), template)
    write_rows("test.jsonl", [*talks(3), said(("system", "x"), ("user", "y"), ("assistant", "z"))])
    settings = settings_of(bases, "chat", base={"model": str(base)}) | {"data": {"train": "c.jsonl", "test": "test.jsonl"}}
    settings["train"] = STEPS | {"eval_strategy": "no"}
    refused(capsys, 2, "does not take these turns (system, user, assistant): no system", "train", write(settings))
