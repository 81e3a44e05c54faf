"""Hostile prompts, questions, corpora, conversations and stages: an exit code, words that help, nothing begun or lost."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file
from shelf import tunebench
from test_hostile_input import Capture, digests, refused
from tiny import FILLER, METHODS, write_base, write_csv

from tunebench import jobs

CHAT = "{% for m in messages %}{{ m.role }} {{ m.content }} . {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
STEPS = {"max_steps": 2, "per_device_train_batch_size": 8, "learning_rate": 5e-3, "bf16": False}
HALVES = {"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}
WORDS = {"negative": "bad", "positive": "good"}
FILES = {"classify": "t.csv", "choose": "q.csv", "write": "d.jsonl", "chat": "c.jsonl"}
SOUND: dict[str, dict[str, Any]] = {
    "classify": {
        "task": "prompt-classification",
        "prompt": {"template": "the story is: {text} a film is very", "label_words": WORDS},
    },
    "choose": {
        "task": "multiple-choice",
        "data": {"choices": ["a", "b", "c"]},
        "prompt": {"template": "{passage} {question} {choices} is"},
    },
    "write": {"task": "language-modeling"},
    "chat": {"task": "instruction", "base": {"model": "chatty"}},
}
"""What is changed into something hostile; ``classify`` and ``choose`` train nothing unless they are told."""
ZERO_SHOT = {"method": {"kind": "zero-shot"}, "train": None}
Rows = list[dict[str, Any]]


def asked(number: int = 20) -> Rows:
    words = ("good", "bad", "warm")
    return [
        {"id": f"q{i}", "passage": f"the film {i} is good", "question": "the film is"}
        | {name: words[(i + k) % 3] for k, name in enumerate("abc")}
        | {"answer": i % 3 + 1}
        for i in range(number)
    ]


def written(number: int = 20) -> Rows:
    return [{"id": i, "text": " ".join(FILLER[(i + k * k) % 12] for k in range(10 + i))} for i in range(number)]


def said(*turns: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def talks(number: int = 20) -> Rows:
    return [said(("user", f"is film {i} good"), ("assistant", "the film is good")) for i in range(number)]


ROWS: dict[str, Callable[[], Rows]] = {"choose": asked, "write": written, "chat": talks}


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The settings with others laid over them, group by group; None takes one away."""
    found = dict(one)
    for key, value in other.items():
        inner = merged(found.get(key) or {}, value) if isinstance(value, dict) and key != "method" else value
        found[key] = inner
    return {key: value for key, value in found.items() if value is not None}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``llama`` can write, ``chatty`` has a chat template, ``headless`` has no output layer, ``bert`` is an encoder."""
    folder = tmp_path_factory.mktemp("bases")
    write_base(folder / "llama", "llama", causal=True, positions=128)
    write_base(folder / "headless", "llama", positions=128)
    write_base(folder / "bert")
    with_template(folder / "llama", folder / "chatty", CHAT)
    return folder


def with_template(base: Path, copy: Path, template: str) -> Path:
    shutil.copytree(base, copy)
    settings = json.loads((copy / "tokenizer_config.json").read_text("utf-8"))
    (copy / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}), "utf-8")
    return copy


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(Path("t.csv"))
    for kind, make in ROWS.items():
        write_rows(FILES[kind], make())


def write_rows(name: str, rows: Rows) -> None:
    if name.endswith(".csv"):
        write_csv(Path(name), rows)
    else:
        Path(name).write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")


def settings_of(bases: Path, kind: str, **changes: Any) -> dict[str, Any]:
    """A recipe of a kind; its data stand in the present folder, its base in ``bases``."""
    common = {"name": "x", "seed": 3, "base": {"model": "llama", "max_length": 60}, "data": HALVES | {"train": FILES[kind]}}
    trained = {"method": METHODS["lora"], "train": STEPS}
    found = merged(merged(common | trained, SOUND[kind]), changes)
    if "base" in found and (bases / found["base"]["model"]).is_dir():
        found["base"]["model"] = str(bases / found["base"]["model"])
    return found


def write(settings: dict[str, Any]) -> str:
    Path("x.yaml").write_text(json.dumps(settings), "utf-8")  # with every emoji as two halves, as JSON has them
    return "x.yaml"


def prompted(template: str | None = None, **more: Any) -> dict[str, Any]:
    return {"prompt": more | ({} if template is None else {"template": template})}


def words(negative: Any, positive: Any = "good") -> dict[str, Any]:
    return prompted(label_words={"negative": negative, "positive": positive})


LONG = "the film " * 500
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


def changed(place: int, **cells: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [row | (cells if i == place else {}) for i, row in enumerate(rows)]


def every(**cells: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [row | cells for row in rows]


def only(*texts: Any) -> Callable[[Rows], Rows]:
    return lambda _: [{"id": i, "text": text} for i, text in enumerate(texts)]


def and_one(row: dict[str, Any]) -> Callable[[Rows], Rows]:
    return lambda rows: [*rows, row]


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


def test_a_document_of_five_million_characters_takes_seconds_whatever_it_holds(bases: Path, capsys: Capture) -> None:
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


def stages_of(bases: Path, *changes: dict[str, Any]) -> dict[str, Any]:
    """Two sound stages, changed."""
    first = {"name": "cpt", "merge": True} | settings_of(bases, "write")
    second = {"name": "sft"} | settings_of(bases, "choose")
    own = ("name", "task", "data", "prompt", "method", "train", "merge")
    both = [
        {key: value for key, value in (one | {"name": name}).items() if key in own}
        for one, name in ((first, "cpt"), (second, "sft"))
    ]
    base = {"model": str(bases / "llama"), "max_length": 60}
    return {"name": "x", "base": base, "stages": [merged(one, change) for one, change in zip(both, changes, strict=False)]}


FULL = {"method": {"kind": "full"}}
STAGES: dict[str, tuple[tuple[dict[str, Any], ...] | Any, tuple[str, ...], str]] = {
    "no stages": ((), (), "stages: expected a list of at least 1, found []"),
    "two stages of one name": (({}, {"name": "CPT"}), (), "names are folders, give each stage its own; found twice: CPT, cpt"),
    "a stage that is a path": (({"name": "../x"}, {}), (), "stages.1.name: expected letters, digits"),
    "a stage that is a number": (({"name": 1}, {}), (), "stages.1.name: expected text, found 1"),
    "a stage without whole weights": (({"merge": False}, {}), (), "stages.cpt.merge: the next stage starts from whole weights"),
    "a merge of nothing": ((FULL, {}), (), "stages.cpt.merge: the method 'full' has no adapter to merge; remove it"),
    "a baseline among stages": (
        ({}, {"method": {"kind": "majority"}, "train": None}),
        (),
        "'majority' uses no weights of a stage",
    ),
    "bad data in the last stage": (({}, {"data": {"train": "nothing.csv"}}), (), "nothing.csv: no such file"),
    "a prompt too long for its stage": (({}, {}), ("stages.sft.base={max_length: 8}",), "without any text the template is 8 tok"),
    "an override of no stage": (({}, {}), ("stages.nope.train.max_steps=1",), "no stage of that name; stages are cpt, sft"),
    "an override of a whole stage": (
        ({}, {}),
        ("stages.cpt=3",),
        "which setting of the stage? Write one such as stages.cpt.train",
    ),
    "a setting of stages above them": (({}, {}), ("train.max_steps=1",), "train: stands in each stage; move it below stages"),
    "a path by an override": (({}, {}), ("stages.cpt.name=../x",), "stages.1.name: expected letters"),
    "stages that are a number": (({}, {}), ("stages=3",), "stages: expected a list, found 3"),
    "stages in 4 bits without a GPU": (({}, {}), ("base.quantization=nf4",), "nf4 needs a GPU that torch can use"),
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_that_cannot_follow_each_other_are_refused_before_anything_is_begun(
    name: str, bases: Path, capsys: Capture
) -> None:
    changes, overrides, fault = STAGES[name]
    recipe = write(stages_of(bases, *changes))
    refused(capsys, 2, fault, "train", recipe, *(part for item in overrides for part in ("--set", item)))


@pytest.fixture(scope="module")
def shelf(bases: Path, warm: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs: ``classify`` and ``choose`` as the base is, ``wrote`` by a classifier that writes, ``write`` with LoRA,
    ``majority``."""
    folder = tmp_path_factory.mktemp("shelf")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_csv(Path("t.csv"))
        for kind, make in ROWS.items():
            write_rows(FILES[kind], make())
        generated = prompted(decode="generate", max_new_tokens=64) | {"base": {"max_length": 120}}
        shutil.copytree(bases / "llama", folder / "own")
        recipes = {
            "classify": settings_of(bases, "classify", **ZERO_SHOT),
            "choose": settings_of(bases, "choose", **ZERO_SHOT),
            "wrote": settings_of(bases, "classify", **generated, **ZERO_SHOT),
            "write": settings_of(bases, "write", base={"model": str(folder / "own")}),
            "majority": settings_of(bases, "classify", base=None, train=None, prompt=None, method={"kind": "majority"}),
        }
        for name, settings in recipes.items():
            jobs.train(write(settings | {"name": name}), [], folder / "runs", lambda event: None)
    return folder / "runs"


VERBS: dict[str, tuple[list[str], str]] = {
    "answers to a run without labels": (
        ["evaluate", "write", "--data", "d.jsonl", "--answers", "t.csv", "--id", "id"],
        "--answers and --id name labels, and language-modeling has none; leave them out",
    ),
    "questions for a run of documents": (["evaluate", "write", "--data", "q.csv"], "q.csv: no column 'text' (setting data.text)"),
    "a text for a run of documents": (["predict", "write", "--text", "a"], "its task is language-modeling, which has no labels"),
    "a file for a run of documents": (["predict", "write", "t.csv", "--output", "o.csv"], "which has no labels to predict"),
    "a text for a run of questions": (
        ["predict", "choose", "--text", "a"],
        "answers questions with options, which no --text has",
    ),
    "texts for a run of questions": (["predict", "choose", "t.csv", "--output", "o.csv"], "no column 'c' (setting data.choices"),
    "nothing to merge": (["merge", "classify"], "its method is 'zero-shot', which has nothing to merge; its base is the model"),
    "8 bits for a baseline": (
        ["evaluate", "majority", "--backend", "torch-int8"],
        "is a baseline, of which there is one form only",
    ),
    "a backend there is not": (
        ["predict", "majority", "--text", "x", "--backend", "fast"],
        "'fast' is not one of 'torch', 'torch-int8'",
    ),
}


@pytest.mark.parametrize("name", VERBS)
def test_what_a_run_cannot_do_is_refused(name: str, shelf: Path, capsys: Capture) -> None:
    arguments, fault = VERBS[name]
    before = digests(shelf)
    refused(capsys, 2, fault, *arguments, "--runs", shelf)
    assert digests(shelf) == before


def test_documents_and_answers_are_not_compared(shelf: Path, capsys: Capture) -> None:
    code, out, err = tunebench(capsys, "compare", shelf / "write", shelf / "classify")
    assert (code, out) == (2, "")
    assert "write: its task is language-modeling, which has no accuracy; its perplexities stand in" in err
    assert not (Path("comparison") / "comparison.csv").exists()


ODD = [
    "</s> the film <unk>",
    "<s><s></s>",
    "{text} {choices} {labels} {0}",
    "{ text } { choices } { labels } { 0 }",
    "\u200b",
    "😀",
    "{{ messages }} {% raise %} %s %(a)s \\n",
    LONG,
]


@pytest.mark.parametrize("backend", ["torch", "torch-int8"])
def test_texts_that_look_like_a_prompt_are_texts(backend: str, shelf: Path, capsys: Capture) -> None:
    write_csv(Path("odd.csv"), [{"text": text} for text in ODD])
    command = ["predict", "classify", "odd.csv", "--output", "o.parquet", "--backend", backend, "--runs", shelf]
    code, _, err = tunebench(capsys, *command)
    assert code == 0, err
    table = pq.read_table("o.parquet").to_pydict()
    assert table["text"] == ODD
    assert table["error"] == [None] * len(ODD)
    assert table["truncated"] == [False] * (len(ODD) - 1) + [True]
    assert table["probability_positive"][2] == pytest.approx(table["probability_positive"][3], abs=1e-6)


def test_of_questions_only_the_passage_is_cut_and_what_does_not_fit_carries_its_error(shelf: Path, capsys: Capture) -> None:
    rows = asked(4)
    rows[1]["passage"] = rows[2]["question"] = LONG
    rows[3]["b"] = " "
    write_csv(Path("ask.csv"), [{key: row[key] for key in ("id", "passage", "question", *"abc")} for row in rows])
    command = ["predict", "choose", "ask.csv", "--runs", shelf, "--output"]
    assert tunebench(capsys, *command, "o.parquet")[0] == 0
    table = pq.read_table("o.parquet").to_pydict()
    assert table["truncated"] == [False, True, False, False]
    assert [error and error.split(":")[0] for error in table["error"]] == [None, None, "its prompt does not fit", "'b' is empty"]
    assert tunebench(capsys, *command, "o.csv", "--answers-only")[0] == 0
    answers = list(csv.reader(Path("o.csv").read_text("utf-8").splitlines()))
    assert answers == [["ID", "Answer"], *([str(i + 1), table["predicted"][i] or ""] for i in range(4))]


def test_64_generated_tokens_are_read_and_counted(shelf: Path) -> None:
    run = shelf / "wrote"
    test = json.loads((run / "metrics.json").read_text("utf-8"))["test"]
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    assert test["accuracy"]["n"] == len(table["predicted"]) == 12
    assert test["invalid"] == table["predicted"].count(None)
    assert all("names no label" in error for error in table["error"] if error)


ASKED: dict[str, tuple[Callable[[Rows], Rows], str | None]] = {
    "without ids": (lambda rows: [{key: row[key] for key in row if key != "id"} for row in rows], "no column 'id'"),
    "with doubled ids": (every(id="q"), "the id 'q' stands 20 times; an id belongs to one row"),
    "without rows": (lambda rows: [], "has a header but no rows"),
    "with an empty option": (changed(2, b=""), "row 3: 'b' is empty"),
    "none of which fits": (every(question=LONG), "data.predict: 12 faults"),
    "one of which does not fit": (changed(2, question=LONG), None),
}


@pytest.mark.parametrize("name", ASKED)
def test_rows_to_answer_that_cannot_be_answered_are_refused_or_carry_their_error(
    name: str, bases: Path, warm: None, capsys: Capture
) -> None:
    change, fault = ASKED[name]
    rows = change(asked())
    write_csv(Path("p.csv"), rows or asked())
    if not rows:
        Path("p.csv").write_text(Path("p.csv").read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    settings = settings_of(bases, "choose", **(ZERO_SHOT | {"data": {"id": "id", "predict": "p.csv"}}))
    if fault is not None:
        refused(capsys, 2, fault, "train", write(settings))
        return
    code, _, err = tunebench(capsys, "train", write(settings), "--runs", Path("runs").absolute())
    assert code == 0, err
    answers = list(csv.reader(Path("runs/x/answers.csv").read_text("utf-8").splitlines()))[1:]
    assert [key for key, answer in answers if not answer] == ["q2"]


def test_test_rows_that_cannot_be_scored_are_told(bases: Path, warm: None, capsys: Capture) -> None:
    write_csv(Path("odd.csv"), changed(2, question=LONG)(asked()))
    settings = settings_of(bases, "choose", **ZERO_SHOT) | {"data": {"train": "q.csv", "test": "odd.csv", "choices": list("abc")}}
    code, _, err = tunebench(capsys, "train", write(settings), "--runs", Path("runs").absolute())
    assert code == 0, err
    assert "warning: 1 test rows could not be scored and count nowhere; predictions.parquet says why" in err


def reshape(path: Path, name: str) -> None:
    """Cut the first weights of that name in half."""
    tensors = load_file(path)
    key = next(key for key in sorted(tensors) if name in key)
    save_file(tensors | {key: np.ascontiguousarray(tensors[key][: len(tensors[key]) // 2])}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("what", ["base", "adapter"])
def test_what_has_another_shape_is_not_merged(what: str, shelf: Path, capsys: Capture) -> None:
    shutil.copytree(shelf, "runs")
    run, own = Path("runs/write"), shelf.parent / "own" / "model.safetensors"
    whole = own.read_bytes()
    if what == "base":
        reshape(own, "q_proj")
    else:
        from tunebench.runs.run import Run

        reshape(run / "adapter" / "adapter_model.safetensors", "lora_A")
        Run(run).write_json("manifest.json", Run(run).manifest | {"end_weights": Run(run).weights_digest()})
    try:
        fault = "was trained on another" if what == "base" else "adapter: does not fit its base"
        refused(capsys, 2, fault, "merge", "write")
    finally:
        own.write_bytes(whole)
    assert not (run / "merged").exists()
