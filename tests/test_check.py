"""`tunebench check`: what is planted in the data is counted, gates hold, and nothing of a test row is ever shown."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from shelf import tunebench
from tiny import World, write_base, write_csv, write_recipe

from tunebench.data import audit, leaks
from tunebench.data.dataset import bind
from tunebench.data.lookalikes import look_alikes
from tunebench.data.parts import cut_parts
from tunebench.data.reading import reading_of
from tunebench.data.scan import scan
from tunebench.data.tables import open_source
from tunebench.data.writers import table_writer
from tunebench.predict.prompts import open_prompts
from tunebench.recipe.load import load_recipe
from tunebench.recipe.sources import Data

Capture = pytest.CaptureFixture[str]
Row = dict[str, Any]
HEAVY = ("torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "pandas", "matplotlib")
LIGHT = f"""
import sys
from tunebench.cli import main
try:
    main()
finally:
    print("heavy:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def sound(number: int = 60, *, seed: int = 1, mark: str = "") -> list[Row]:
    """Rows with nothing wrong: unrelated texts of ten words and two labels in turn."""
    draw = random.Random(f"{seed}{mark}")

    def text() -> str:
        return " ".join([mark + "".join(draw.choices("abcdefgh", k=5)) for _ in range(10)])

    return [{"id": f"{mark}r{i}", "text": text(), "label": ("negative", "positive")[i % 2]} for i in range(number)]


def found(capsys: Capture, recipe: Path, *arguments: str) -> dict[str, Any]:
    """What ``check --json`` prints."""
    code, out, err = tunebench(capsys, "check", recipe, "--json", *arguments)
    report: dict[str, Any] = json.loads(out)
    assert (code == 3) == (not report["passed"]) == ("gates failed" in err)
    return report


def files(folder: Path, **splits: list[Row]) -> Path:
    """A recipe for ``majority`` with a file for each of these splits."""
    paths = {name: str(write_csv(folder / f"{name}.csv", rows)) for name, rows in splits.items()}
    return told(folder, paths | {"id": "id"})


def told(folder: Path, data: dict[str, Any]) -> Path:
    """A recipe for ``majority`` with this ``data`` section."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"name": "recipe", "seed": 3, "data": data, "method": {"kind": "majority"}}))
    return recipe


def failed(report: dict[str, Any]) -> list[str]:
    return [gate["name"] for gate in report["gates"] if not gate["passed"]]


def test_sound_data_passes_every_gate(tmp_path: Path, capsys: Capture) -> None:
    recipe = files(tmp_path, train=sound(), validation=sound(20, mark="v"), test=sound(20, mark="t"))
    report = found(capsys, recipe)
    assert (report["passed"], report["refused"], report["warnings"], report["examples"]) == (True, [], [], [])
    assert {name: part["rows"] for name, part in report["splits"].items()} == {"train": 60, "validation": 20, "test": 20}
    assert [(item["exact"], item["near"], item["looked_up"]) for item in report["shared"]] == [(0, 0, 20)] * 3


def test_what_is_unsound_is_counted_where_training_would_refuse_it(tmp_path: Path, capsys: Capture) -> None:
    rows = sound()
    rows[3]["text"] = rows[4]["text"] = " "
    rows[5]["label"] = ""
    rows[6]["id"] = rows[7]["id"]
    test = [{**row, "label": "neutral"} for row in sound(5, mark="t")]
    recipe = files(tmp_path, train=rows, test=test)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("too,many,cells,here\n")
    report = found(capsys, recipe)
    assert report["files"][0]["unsound"] == {"rows without a text": 2, "rows without a label": 1, "rows that cannot be read": 1}
    assert (report["files"][0]["rows"], report["files"][0]["doubled_ids"], report["splits"]["train"]["rows"]) == (61, 1, 57)
    assert report["files"][0]["examples"] == ["row 4: 'text' is empty", "row 5: 'text' is empty", "row 6: 'label' is empty"]
    assert "test.csv" not in str(report["refused"])
    assert "test: labels that no training row has: 'neutral' (5 rows)" in report["refused"]
    assert "train.csv: rows with the 'id' of an earlier row: 1" in report["refused"]
    assert failed(report) == ["reasons why train would refuse"]
    code, _, err = tunebench(capsys, "train", recipe)
    assert (code, "faults" in err) == (2, True)


def test_texts_that_stand_twice_are_counted(tmp_path: Path, capsys: Capture) -> None:
    rows = sound()
    rows[10]["text"] = rows[0]["text"].upper()  # same label
    rows[11]["text"] = rows[1]["text"].replace(" ", "  ")
    rows[2]["text"] = rows[21]["text"] = rows[31]["text"] = "a very long text " * 20  # under both labels
    report = found(capsys, files(tmp_path, train=rows))
    part = report["splits"]["train"]
    assert (part["repeated"], part["contradictory"]) == (4, 3)
    start = ("a very long text " * 20)[:60]
    assert report["examples"] == [f"train rows 3 and 22 have one text under 'negative' and 'positive': {start}…"]
    assert failed(report) == ["train rows whose text stands under another label too"]
    assert any("4 of 60 rows (6.7 %) have a text that an earlier row has" in line for line in report["warnings"])


def test_rows_shared_by_splits_are_counted_exactly_and_nearly(tmp_path: Path, capsys: Capture) -> None:
    train, validation, test = sound(), sound(20, mark="v"), sound(20, mark="t")
    validation[0]["text"] = train[5]["text"].upper()
    validation[1]["text"] = "changed " + train[6]["text"].split(" ", 1)[1]
    for i in range(3):
        test[i]["text"] = train[i]["text"]
    test[3]["text"] = validation[3]["text"] + " and more!"
    recipe = files(tmp_path, train=train, validation=validation, test=test)
    report = found(capsys, recipe)
    counts = {f"{item['later']} in {item['earlier']}": (item["exact"], item["near"]) for item in report["shared"]}
    assert counts == {"validation in train": (1, 1), "test in train": (3, 0), "test in validation": (0, 1)}
    data = bind(load_recipe(str(recipe)).data, 3, Path)
    assert {pair: exact for pair, (exact, _) in counts.items()} == data.shared_texts()
    assert failed(report) == ["validation rows that stand in train", "test rows that stand in train"]
    assert [line[: line.index(":")] for line in report["examples"]] == [
        "validation row 1 is train row 6",
        "validation row 2 is nearly train row 7",
    ]
    assert any("5.0 % of the rows stand in validation" in line for line in report["warnings"])


def test_of_the_test_split_there_are_counts_only(tmp_path: Path, capsys: Capture) -> None:
    train, test = sound(), sound(40, mark="sealed")
    test[0]["text"], test[1]["text"] = test[2]["text"], test[3]["text"]  # also under another label
    test[5]["text"] = test[4]["text"]
    test[6] = {**test[6], "text": train[0]["text"] + " sealed"}
    test[7]["id"] = test[8]["id"]
    test[9]["text"] = ""
    recipe = files(tmp_path, train=train, validation=sound(20, mark="v"), test=test)
    with (tmp_path / "test.csv").open("a") as file:
        file.write("sealed\n")
    text = tunebench(capsys, "check", recipe)
    report = found(capsys, recipe)
    assert (report["splits"]["test"]["repeated"], report["splits"]["test"]["contradictory"]) == (3, 2)
    assert report["files"][2]["unsound"] == {"rows without a text": 1, "rows that cannot be read": 1}
    assert [item["near"] for item in report["shared"]] == [0, 1, 0]
    assert report["splits"]["test"]["lengths"]["quantiles"] is None
    assert not any("sealed" in part for part in (*text[1:], json.dumps(report)))
    assert not any("test row" in line for line in report["examples"])
    assert report["files"][2]["examples"] == []


@pytest.mark.parametrize(
    "data",
    [
        {"validation": {"fraction": 0.2}, "test": {"fraction": 0.25}, "id": "id"},
        {"validation": {"fraction": 0.1, "stratify": True}, "test": {"fraction": 0.1, "stratify": True}},
        {"validation": {"fraction": 0.3, "group_by": "group"}, "max_train_samples": 20},
    ],
)
def test_splits_are_cut_as_training_cuts_them(tmp_path: Path, data: Row) -> None:
    rows = [{**row, "group": f"g{i % 7}"} for i, row in enumerate(sound(80))]
    settings = Data.model_validate({"train": str(write_csv(tmp_path / "t.csv", rows)), **data})
    source = settings.source("train")
    assert source is not None
    reading, groups = reading_of(settings, source, "text-classification"), ["group"] if "group" in str(data) else []
    parts = cut_parts(
        {"train": scan(open_source(tmp_path / "t.csv", source), source, reading, groups, lambda rows: None)},
        settings,
        9,
        "text-classification",
    )
    expected = bind(settings, 9, Path).splits()
    assert {name: part.cells().ids for name, part in parts.items()} == {name: rows.ids for name, rows in expected.items()}
    assert parts["train"].left_out == (0 if "max_train_samples" not in data else 80 - 20 - len(expected["validation"]))


def test_lengths_are_those_of_the_tokenizer_and_say_whom_the_cut_hurts(world: World, tmp_path: Path, capsys: Capture) -> None:
    rows = [{"id": i, "text": " ".join(["good"] * (i + 1)), "label": "short" if i < 20 else "long"} for i in range(40)]
    recipe = write_recipe(tmp_path / "r.yaml", data=write_csv(tmp_path / "t.csv", rows), base=world.bases["bert"])
    report = found(capsys, recipe, "--set", "base.max_length=20", "--set", "data.test=null")
    lengths = [report["splits"][name]["lengths"] for name in ("train", "validation")]
    assert (report["unit"], report["max_length"]) == ("tokens", 20)
    assert sum(part["measured"]["short"] for part in lengths) == 20
    assert sum(part["cut"]["long"] for part in lengths) == 20  # 21 words or more, and two special tokens
    assert sum(part["cut"]["short"] for part in lengths) == 2  # 19 and 20 words
    assert max(part["quantiles"]["max"] for part in lengths) == 42
    assert list(lengths[0]["quantiles"].values()) == sorted(lengths[0]["quantiles"].values())
    assert "train rows cut at max_length" in failed(report)
    assert any("worst is 'long' with 100.0 %" in line for line in report["warnings"])


def test_quantiles_are_lengths_that_stand_there(tmp_path: Path, capsys: Capture) -> None:
    rows = [{"id": i, "text": " ".join(f"w{i}x{k}" for k in range(i)), "label": "ab"[i % 2]} for i in range(1, 11)]
    report = found(capsys, files(tmp_path, train=rows))
    assert (report["unit"], report["max_length"]) == ("words", None)
    assert report["splits"]["train"]["lengths"]["quantiles"] == {"p50": 5, "p90": 9, "p99": 10, "max": 10}


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        ({"positive": 50, "positve": 1, "negative": 40, "negatvie": 2}, {("positve", "positive"), ("negatvie", "negative")}),
        ({"positive": 50, "Positive": 40, "POSITIVE ": 1}, {("Positive", "positive"), ("POSITIVE ", "positive")}),
        ({"very good": 9, "very_good": 3, "Very-Good": 2}, {("very_good", "very good"), ("Very-Good", "very good")}),
        ({"1": 5, "1.0": 2, "2": 9, "+1": 1, "-1": 4}, {("1.0", "1"), ("+1", "1")}),
        ({"entertainment": 900, "entretainmnet": 3}, {("entretainmnet", "entertainment")}),
        ({"\uff50\uff4f\uff53": 1, "pos": 3, "neg\u200b": 1, "neg": 4}, {("\uff50\uff4f\uff53", "pos"), ("neg\u200b", "neg")}),
        ({"sport": 50, "sports": 49}, set()),  # as frequent as each other
        ({"label_1": 90, "label_2": 1, "2020": 50, "2021": 1}, set()),  # numbers differ
        ({"A": 50, "A-": 1, "c": 50, "c++": 1, "c#": 1, "cat": 50, "car": 1}, set()),  # too short to be misspelt
        ({"reasonable": 90, "unreasonable": 1, "usual": 90, "unusual": 1}, set()),
        ({"nan": 5, "NaN": 2, "1e999": 4, "inf": 3}, {("NaN", "nan")}),
        ({"nan": 5, "inf": 6, "\U0001f44d": 9, "\U0001f44e": 1, "+": 4, "-": 4}, set()),
    ],
)
def test_labels_that_look_alike_are_told_from_those_that_do_not(labels: dict[str, int], pairs: set[tuple[str, str]]) -> None:
    assert set(look_alikes(labels)) == pairs
    assert set(look_alikes(dict(reversed(labels.items())))) == pairs


def test_labels_are_counted_and_doubtful_ones_are_named(tmp_path: Path, capsys: Capture) -> None:
    train, test = sound(100), sound(20, mark="t")
    for row in train[:94]:
        row["label"] = "positive"
    train[99]["label"], train[98]["label"] = "positve", "neutral"
    report = found(capsys, files(tmp_path, train=train, test=test))
    assert report["splits"]["train"]["labels"] == {"positive": 96, "negative": 2, "neutral": 1, "positve": 1}
    assert {name: part["majority"] for name, part in report["splits"].items()} == {"train": 0.96, "test": 0.5}
    assert report["look_alikes"] == [["positve", "positive"]]
    assert failed(report) == ["labels that look like another one"]
    warned = "\n".join(report["warnings"])
    assert "one row only for 'neutral', 'positve'" in warned
    assert "test: no row has the label 'neutral', 'positve'" in warned
    assert "96 times the rows of the smallest" in warned


def test_samples_are_stated_and_the_share_is_estimated(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MOST_LOOKED_UP", 50)
    monkeypatch.setattr(audit, "MOST_MEASURED", 30)
    train, test = sound(200), sound(100, mark="t")
    for i in range(50):
        test[i]["text"] = train[i]["text"] + " more"
    report = found(capsys, files(tmp_path, train=train, test=test))
    (shared,) = report["shared"]
    assert (shared["rows"], shared["exact"], shared["looked_up"]) == (100, 0, 50)
    assert shared["share"] == shared["near"] / 50
    assert 15 <= shared["near"] <= 35
    assert sum(report["splits"]["train"]["lengths"]["measured"].values()) == 30
    assert "test: 50 of 100 rows were drawn, and looked up in all rows of the others" in report["notes"]
    assert "train: lengths are those of 30 rows drawn of 200" in report["notes"]
    monkeypatch.setattr(leaks, "MOST_CHARACTERS", 1000)
    assert 10 <= found(capsys, files(tmp_path, train=train, test=test))["shared"][0]["looked_up"] < 20


@pytest.mark.parametrize("leaked", [2, 3])
def test_a_gate_holds_up_to_its_limit(tmp_path: Path, capsys: Capture, leaked: int) -> None:
    train, test = sound(60), sound(200, mark="t")
    for i in range(leaked):
        test[i]["text"] = train[i]["text"]
    code, out, err = tunebench(capsys, "check", files(tmp_path, train=train, test=test))
    assert code == (0 if leaked == 2 else 3)
    assert ("FAILED  test rows that stand in train" in out) == (leaked == 3)
    assert f"{leaked / 2:.1f} %    1.0 %" in out
    assert (err == "") == (leaked == 2)
    assert leaked == 2 or err == "error: 1 of 4 gates failed: test rows that stand in train\n"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_is_checked(tmp_path: Path, capsys: Capture, ending: str) -> None:
    rows = sound(30)
    types = {name: pa.string() for name in rows[0]}
    with table_writer(tmp_path / f"t.{ending}", types) as write:
        write({name: [row[name] for row in rows] for name in rows[0]})
    report = found(capsys, write_recipe(tmp_path / "r.yaml", data=tmp_path / f"t.{ending}"))
    assert sum(part["rows"] for part in report["splits"].values()) == 30
    text = ending != "parquet"
    marks = {"csv": ",", "tsv": "\t"}
    assert (report["files"][0]["encoding"], report["files"][0]["delimiter"]) == ("utf-8" if text else None, marks.get(ending))


def test_html_is_stripped_before_anything_is_counted(tmp_path: Path, capsys: Capture) -> None:
    rows = sound()
    rows[0]["text"] = "<br /> <b></b>"
    rows[1]["text"] = rows[3]["text"].replace(" ", "<br />")
    report = found(capsys, files(tmp_path, train=rows), "--set", "data.clean.html=strip")
    assert report["files"][0]["unsound"] == {"rows without a text": 1}
    assert report["splits"]["train"]["repeated"] == 1


def test_a_folder_of_texts_is_checked(tmp_path: Path, capsys: Capture) -> None:
    for row in sound(20):
        path = tmp_path / "texts" / row["label"] / f"{row['id']}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["text"])
    (tmp_path / "texts" / "negative" / "empty.txt").touch()
    recipe = told(tmp_path, {"train": str(tmp_path / "texts")})
    report = found(capsys, recipe)
    assert (report["files"][0]["rows"], report["files"][0]["unsound"]) == (21, {"rows that cannot be read": 1})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,text,label\n", "has a header but no rows"),
        ("", "is empty"),
        ("id,text,label\n1,,x\n2,,y\n", "none of its 2 rows is sound: rows without a text: 2"),
        ("id,txt,lable\n1,a,b\n", "no column 'text'"),
        ("id,txt,lable\n1,a,b\n", "no column 'label'"),
        ("id,text,label\n1,a,b\n2,c,d\n", "both need rows"),
    ],
)
def test_what_leaves_nothing_to_look_at_is_refused(tmp_path: Path, capsys: Capture, content: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    code, out, err = tunebench(capsys, "check", write_recipe(tmp_path / "r.yaml", data=tmp_path / "t.csv"))
    assert (code, out) == (2, "")
    assert words in err


def test_faults_of_all_files_are_told_at_once(tmp_path: Path, capsys: Capture) -> None:
    recipe = files(tmp_path, train=[{"id": 1, "txt": "a", "label": "b"}], test=[{"id": 1, "text": "a", "lable": "b"}])
    code, _, err = tunebench(capsys, "check", recipe)
    assert code == 2
    assert "train.csv: no column 'text'" in err
    assert "test.csv: no column 'label'" in err


def test_what_is_printed_fits_a_terminal_and_steers_none(tmp_path: Path, capsys: Capture) -> None:
    rows = sound(200)
    for i, row in enumerate(rows):
        row["label"] = f"label {i % 40} with a very long name, longer than any column\x1b[31m"
        row["text"] = f"\x1b[31m{row['text']}" if i % 3 else rows[0]["text"]
    recipe = files(tmp_path, train=rows, validation=sound(20, mark="v"), test=sound(20, mark="t"))
    code, out, _ = tunebench(capsys, "check", recipe)
    assert code == 3
    assert max(map(len, out.splitlines())) <= 100
    assert "\x1b" not in out
    assert "more labels" in out
    assert len(out.splitlines()) < 100


def test_check_is_light_and_says_the_same_in_every_process(world: World, tmp_path: Path) -> None:
    rows = sound(200)
    for i in range(0, 200, 7):
        rows[i]["text"] = rows[i + 1]["text"] + " more"
    recipe = write_recipe(tmp_path / "r.yaml", data=write_csv(tmp_path / "t.csv", rows), base=world.bases["bert"])
    shown = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", LIGHT, "check", str(recipe), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONHASHSEED": seed})
        assert done.stderr.endswith("heavy: []\n"), done.stderr
        shown.append(json.loads(done.stdout))
    assert shown[0] == shown[1]
    assert shown[0]["shared"][0]["near"] > 0


def asked(number: int = 24) -> list[Row]:
    """Questions with nothing wrong, and as many right answers of each number."""
    words = sound(number, seed=7)
    return [
        {"id": f"q{i}", "story": row["text"], "asked": f"which of {i}", "a": f"one {i}", "b": f"two {i}", "c": f"three {i}"}
        | {"right": str(i % 3 + 1)}
        for i, row in enumerate(words)
    ]


def test_questions_are_checked_option_by_option(tmp_path: Path, capsys: Capture) -> None:
    rows = asked()
    rows[0]["b"] = " one 0 "
    rows[1]["right"] = "選項2"
    rows[2]["c"] = ""
    rows[3]["story"] = rows[4]["story"]  # another question about it
    rows[5] = {**rows[6], "id": "again", "right": "2"}
    columns = {"passage": "story", "question": "asked", "choices": ["a", "b", "c"], "answer": "right", "id": "id"}
    write_csv(tmp_path / "q.csv", rows)
    settings = {"name": "q", "task": "multiple-choice", "data": {"train": "q.csv"} | columns, "method": {"kind": "majority"}}
    (tmp_path / "q.yaml").write_text(json.dumps(settings))
    report = found(capsys, tmp_path / "q.yaml")
    assert report["task"] == "multiple-choice"
    assert report["files"][0]["unsound"] == {
        "rows without a usable option 2": 1,
        "rows without a usable answer": 1,
        "rows without a option 3": 1,
    }
    assert report["splits"]["train"]["labels"] == {"2": 8, "1": 7, "3": 6}
    assert (report["splits"]["train"]["contradictory"], report["splits"]["train"]["repeated"]) == (2, 1)
    assert "always answering '2' is right in: train 38.1 %" in tunebench(capsys, "check", tmp_path / "q.yaml")[1]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama that can write."""
    return write_base(tmp_path_factory.mktemp("check") / "llama", "llama", causal=True, positions=128)


def causal(folder: Path, writer: Path, task: str, data: Row, **more: Any) -> Path:
    base, method = {"model": str(writer), "max_length": 60}, {"kind": "lora", "r": 2}
    recipe = {"name": "c", "task": task, "base": base, "data": data, "method": method, "train": {"eval_strategy": "no"}} | more
    (folder / "c.yaml").write_text(json.dumps(recipe))
    return folder / "c.yaml"


def test_a_prompt_is_measured_whole_and_only_what_is_cut_is_called_cut(tmp_path: Path, capsys: Capture, writer: Path) -> None:
    rows = [{"id": i, "text": " ".join(["good"] * (i + 1)), "label": "ab"[i % 2]} for i in range(60)]
    write_csv(tmp_path / "t.csv", rows)
    prompt = {"template": "the film is {text} and very", "label_words": {"a": "good", "b": "bad"}}
    recipe = causal(tmp_path, writer, "prompt-classification", {"train": "t.csv"}, prompt=prompt)
    report = found(capsys, recipe)
    quantiles = report["splits"]["train"]["lengths"]["quantiles"]
    data = bind(load_recipe(str(recipe)).data, 42, Path, task="prompt-classification")
    encoder = open_prompts(writer, 60, "right", load_recipe(str(recipe)).asked, data.labels, "prompt-classification")
    encoded = encoder.encode(data.train.texts)
    assert quantiles["max"] - quantiles["p50"] == 30  # one token a word
    assert sum(report["splits"]["train"]["lengths"]["cut"].values()) == sum(encoded.truncated) > 0


def test_documents_are_looked_through_as_they_will_be_trained_on(tmp_path: Path, capsys: Capture, writer: Path) -> None:
    lines = [{"id": f"d{i}", "text": f"{row['text']} good film {i}"} for i, row in enumerate(sound(20))]
    lines[3]["text"] = "bad"
    lines[4]["text"] = lines[5]["text"] = "very " * 30
    lines[6]["text"] = "warm " * 100
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    clean = {"min_chars": 20, "max_chars": 480, "deduplicate": True}
    data = {"train": "d.jsonl", "validation": {"fraction": 0.3}, "clean": clean}
    recipe = causal(tmp_path, writer, "language-modeling", data)
    report = found(capsys, recipe, "--set", "base.max_length=20")
    bound = bind(load_recipe(str(recipe)).data, 42, Path, task="language-modeling")
    assert {name: part["rows"] for name, part in report["splits"].items()} == {k: len(v) for k, v in bound.splits().items()}
    assert report["cleaned"]["train"]["max_chars"] == 1  # and its pieces stay in one split
    assert report["cleaned"]["train"]["min_chars"] == 1
    assert report["cleaned"]["train"]["duplicate"] == 1
    assert (report["max_length"], report["splits"]["train"]["lengths"]["cut"]) == (None, None)  # a document goes on
    assert report["splits"]["train"]["lengths"]["quantiles"]["max"] > 20
    assert not any("label" in gate["name"] for gate in report["gates"])
    out = tunebench(capsys, "check", tmp_path / "c.yaml")[1]
    assert "texts that cleaning changes or drops" in out
    assert "always answering" not in out


def test_completions_are_measured_with_their_answers(tmp_path: Path, capsys: Capture, writer: Path) -> None:
    lines = [{"prompt": f"the film {i % 10} is", "completion": " very good" * (i + 1)} for i in range(40)]
    (tmp_path / "i.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = found(capsys, causal(tmp_path, writer, "instruction", {"train": "i.jsonl"}))
    lengths = report["splits"]["train"]["lengths"]
    assert lengths["quantiles"]["max"] - lengths["quantiles"]["p50"] == 40  # two tokens each
    assert sum(lengths["cut"].values()) == sum(2 * (i + 1) + 6 > 60 for i in range(40))
    assert any("of the rows are cut at max_length" in line and "worst" not in line for line in report["warnings"])
