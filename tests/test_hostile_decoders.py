"""Hostile stages and hostile questions to runs of decoders: an exit code, words that help, nothing lost."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from prompted import (
    LONG,
    ZERO_SHOT,
    Rows,
    asked,
    changed,
    every,
    merged,
    prompted,
    settings_of,
    write,
    write_bases,
    write_files,
)
from safetensors.numpy import load_file, save_file
from shelf import tunebench
from test_hostile_input import Capture, digests, refused
from tiny import write_csv

from tunebench import jobs
from tunebench.runs.run import Run


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()


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
        write_files()
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
        "'fast' is not one of 'torch', 'torch-merged', 'torch-int8', 'onnx'",
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


def test_only_the_passage_is_cut_and_long_questions_say_so(shelf: Path, capsys: Capture) -> None:
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
        reshape(run / "adapter" / "adapter_model.safetensors", "lora_A")
        Run(run).write_json("manifest.json", Run(run).manifest | {"end_weights": Run(run).weights_digest()})
    try:
        fault = "was trained on another" if what == "base" else "adapter: does not fit its base"
        refused(capsys, 2, fault, "merge", "write")
    finally:
        own.write_bytes(whole)
    assert not (run / "merged").exists()
