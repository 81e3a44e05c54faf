"""`tunebench init`: columns and splits are guessed or asked for, what is written loads and binds, and nothing is overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from shelf import tunebench
from tiny import make_rows, write_csv

from tunebench.data import guess
from tunebench.data.beside import Splits, find_splits
from tunebench.data.dataset import bind
from tunebench.errors import InputError
from tunebench.recipe.load import load_recipe
from tunebench.runs import first_base
from tunebench.runs.bases import locate

Capture = pytest.CaptureFixture[str]
ROWS = make_rows(80)
LIGHT = ("torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "pandas", "matplotlib")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(path: str, header: str, *, rows: int = 80) -> Path:
    """A CSV with these columns: ``text``, ``label``, ``id`` and ``number`` say after a colon what stands in them."""
    kinds = dict(item.split(":") if ":" in item else (item, item) for item in header.split(","))
    cells = {
        "text": lambda i: ROWS[i % 80]["text"] + f" and so on number {i}",
        "short": lambda i: f"note {i}",
        "label": lambda i: ROWS[i % 80]["label"],
        "other": lambda i: ("red", "green", "blue")[i % 3],
        "id": lambda i: f"k{i}",
        "doubled": lambda i: f"k{i // 2}",
        "number": lambda i: str(i * 37 % 101 + i / 1000),
        "one": lambda i: "always",
        "empty": lambda i: "",
    }
    return write_csv(Path(path), [{name: cells[kind](i) for name, kind in kinds.items()} for i in range(rows)])


def made(capsys: Capture, *arguments: object) -> dict[str, Any]:
    """The settings that were written; they load, and the data binds."""
    code, out, err = tunebench(capsys, "init", *arguments, "--json")
    assert (code, err) == (0, "")
    report: dict[str, Any] = json.loads(out)
    recipe = load_recipe(report["recipe"])
    data = bind(recipe.data, recipe.seed, locate)
    assert data.validation is not None
    assert data.test is not None
    settings: dict[str, Any] = yaml.safe_load(Path(report["recipe"]).read_text("utf-8"))
    assert report["settings"] == {key: settings[key] for key in ("base", "method") if key in settings} | settings["data"]
    assert set(report["reasons"]) >= {"train", "validation", "test", "label"}
    return settings


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("id,text,label", ("text", "label", "id")),
        ("label,Review:text,sentiment:other", ("Review", "label", None)),  # `label` comes before `sentiment`
        ("ID:id,Tweet Text:text,airline_sentiment:label,created:number", ("Tweet Text", "airline_sentiment", "ID")),
        ("reviewBody:text,starRating:other,n:number", ("reviewBody", "starRating", None)),
        ("文章:text,類別:label,編號:id", ("文章", "類別", "編號")),
        ("a:text,b:label,c:number", ("a", "b", None)),  # by what stands in them
        ("a:text,b:label,c:empty,d:one,e:short", ("a", "b", None)),
        ("label:text,class:label", ("label", "class", None)),  # a column that no label could be called so
        ("text:number,words:text,label", ("words", "label", None)),
        ("id:doubled,text,label", ("text", "label", None)),
        ("id:one,text,label", ("text", "label", None)),
    ],
)
def test_columns_are_guessed_by_name_and_then_by_content(
    capsys: Capture, header: str, columns: tuple[str, str, str | None]
) -> None:
    data = made(capsys, table("data.csv", header))["data"]
    assert (data["text"], data["label"], data.get("id")) == columns


@pytest.mark.parametrize(
    ("header", "arguments", "words"),
    [
        (
            "a:text,b:label,c:other",
            [],
            "several columns may hold the labels: 'b' (2 values), 'c' (3 values); choose with --label-column",
        ),
        ("a:text,b:number", [], "no column looks like labels"),
        ("a:text,b:one", [], "columns are 'a' (80 values), 'b' (1 values); choose with --label-column"),
        ("a:text,b:text,label", [], "several columns may hold the texts: 'a', 'b'; choose with --text-column"),
        ("n:number,label", [], "no column besides 'label' looks like texts; columns are 'n', 'label'; choose with --text-column"),
        (
            "text,label",
            ["--text-column", "txt"],
            "no column 'txt' (--text-column); nearest is 'text'; columns are 'text', 'label'",
        ),
        ("text,label", ["--label-column", "text", "--text-column", "text"], "--text-column and --label-column name one column"),
        ("text", [], "has one column only, 'text'"),
        ("text,label", ["--method", "lroa"], "method.kind: expected one of"),
        ("text,label", ["--method", "tfidf", "--model", "x"], "the baseline 'tfidf' has no base"),
        ("text,label", ["--output", "data.csv"], "data.csv: is there already"),
    ],
)
def test_what_is_not_clear_is_asked_for(capsys: Capture, header: str, arguments: list[str], words: str) -> None:
    table("data.csv", header)
    code, out, err = tunebench(capsys, "init", "data.csv", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert os.listdir() == ["data.csv"]


def test_what_is_told_is_not_guessed(capsys: Capture) -> None:
    table("data.csv", "id,text,label,other:other,note:short")
    data = made(capsys, "data.csv", "--label-column", "other", "--text-column", "note")["data"]
    assert (data["text"], data["label"], data["id"]) == ("note", "other", "id")


@pytest.mark.parametrize(
    ("files", "given", "expected"),
    [
        (["train.csv", "validation.csv", "test.csv"], "train.csv", ("train.csv", "validation.csv", "test.csv")),
        (["train.csv", "valid.csv"], ".", ("train.csv", "valid.csv", None)),
        (["train.csv", "val.tsv", "notes.csv"], ".", ("train.csv", "val.tsv", None)),
        (["train.csv", "dev.csv", "test.jsonl"], ".", ("train.csv", "dev.csv", "test.jsonl")),
        (["train.csv", "test.csv"], ".", ("train.csv", None, "test.csv")),  # a lone test file never becomes validation
        (["imdb_train.csv", "imdb_test.csv", "yelp_test.csv"], "imdb_train.csv", ("imdb_train.csv", None, "imdb_test.csv")),
        (
            ["reviews.csv", "reviews-test.csv", "reviews.dev.csv"],
            "reviews.csv",
            ("reviews.csv", "reviews.dev.csv", "reviews-test.csv"),
        ),
        (["test/train.csv", "test/test.csv"], "test", ("test/train.csv", None, "test/test.csv")),
        (["ab_test_results.csv"], "ab_test_results.csv", ("ab_test_results.csv", None, None)),
        (["reviews.csv", "test.csv"], ".", ("reviews.csv", None, "test.csv")),
        (["reviews.csv", "others_test.csv", "testimonials.csv"], "reviews.csv", ("reviews.csv", None, None)),
        (["train/pos/1.txt", "train/neg/1.txt", "test/pos/1.txt", "test/neg/1.txt"], ".", ("train", None, "test")),
        (["train/pos/1.txt", "train/neg/1.txt", "test/pos/1.txt", "test/neg/1.txt"], "train", ("train", None, "test")),
        (["texts/pos/1.txt", "texts/neg/1.txt", "test.csv"], "texts", ("texts", None, None)),
    ],
)
def test_splits_are_found_by_their_names(tmp_path: Path, files: list[str], given: str, expected: tuple[str | None, ...]) -> None:
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert find_splits(Path(given)) == Splits(*(None if name is None else tmp_path / name for name in expected))


@pytest.mark.parametrize(
    ("files", "given", "words"),
    [
        (["test.csv"], "test.csv", "is named as the test split"),
        (["my_dev.csv"], "my_dev.csv", "is named as the validation split"),
        (["test/pos/1.txt"], "test", "is named as the test split"),
        (["test.csv"], ".", "expected a file such as train.csv"),
        (["readme.txt"], ".", "found neither"),
        (["a.csv", "b.csv"], ".", "holds several tables, none of them named train: a.csv, b.csv"),
        (["a_train.csv", "b_train.csv"], ".", "several files may hold the training rows: a_train.csv, b_train.csv"),
        (["train.csv", "val.csv", "dev.csv"], "train.csv", "several may be the validation split: dev.csv, val.csv"),
    ],
)
def test_splits_that_are_not_clear_are_asked_for(tmp_path: Path, files: list[str], given: str, words: str) -> None:
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        find_splits(Path(given))


def test_a_folder_of_splits_becomes_a_recipe(capsys: Capture) -> None:
    table("reviews/train.csv", "text,label")
    table("reviews/dev.csv", "text,label", rows=20)
    table("reviews/test.csv", "text,verdict:label", rows=20)
    settings = made(capsys, "reviews", "--output", "recipes/first.yaml")
    data = settings["data"]
    assert settings["name"] == "reviews-lora"
    assert (data["train"], data["validation"]) == ("../reviews/train.csv", "../reviews/dev.csv")
    assert data["test"] == {"fraction": 0.1, "stratify": True}  # nothing can be scored without labels
    table("reviews/test.csv", "text,label", rows=20)
    assert made(capsys, "reviews", "--output", "recipes/second.yaml")["data"]["test"] == "../reviews/test.csv"


def test_an_id_is_one_in_every_split(capsys: Capture) -> None:
    table("train.csv", "id,text,label")
    table("test.csv", "text,label", rows=20)
    assert "id" not in made(capsys, "train.csv", "--output", "1.yaml")["data"]
    table("test.csv", "id,text,label", rows=20)
    assert made(capsys, "train.csv", "--output", "2.yaml")["data"]["id"] == "id"


def test_a_split_that_cannot_be_read_is_cut_instead(capsys: Capture) -> None:
    table("train.csv", "text,label")
    Path("test.csv").touch()
    assert made(capsys, "train.csv")["data"]["test"] == {"fraction": 0.1, "stratify": True}


@pytest.mark.slow
def test_the_starter_reviews_become_a_recipe_that_is_checked(capsys: Capture) -> None:
    assert made(capsys, "starter:reviews", "--output", "1.yaml")["base"]["model"] == "starter:minilm"
    code, out, err = tunebench(capsys, "check", "1.yaml")  # some reviews stand there twice, and it cuts at random
    assert (code, err) == (3, "error: 1 of 7 gates failed: test rows that stand in train\n")
    assert "data.test.group_by" in out
    assert tunebench(capsys, "check", "starter-lora")[0] == 0


def test_a_folder_of_texts_becomes_a_recipe(capsys: Capture) -> None:
    for i, row in enumerate(ROWS):
        path = Path("movies") / row["label"] / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{row['text']}<br />{i}")
    data = made(capsys, "movies")["data"]
    assert data["train"] == "movies"
    assert data["clean"] == {"html": "strip"}
    assert {"text", "label", "id"}.isdisjoint(data)


def test_labels_of_a_sorted_file_are_seen(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guess, "SAMPLE_ROWS", 100)
    rows = [{"words": f"text number {i} of many", "kind": "first" if i < 5000 else "last"} for i in range(6000)]
    write_csv(Path("sorted.csv"), rows)
    assert made(capsys, "sorted.csv")["data"]["label"] == "kind"


def test_an_id_that_stands_twice_at_the_end_is_none(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guess, "SAMPLE_ROWS", 100)
    rows = [{"id": min(i, 4998), "text": f"text number {i} of many", "label": i % 2} for i in range(5000)]
    write_csv(Path("data.csv"), rows)
    assert "id" not in made(capsys, "data.csv")["data"]


def test_few_rows_leave_larger_splits(capsys: Capture) -> None:
    data = made(capsys, table("data.csv", "text,label", rows=12))["data"]
    assert (data["validation"], data["test"]) == ({"fraction": 0.2}, {"fraction": 0.2})


def test_the_base_is_what_is_there(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    table("data.csv", "text,label")
    local = Path("my-base")
    local.mkdir()
    (local / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 30}))
    bases = [made(capsys, "data.csv", "--output", "1.yaml")["base"]]
    monkeypatch.setattr(first_base, "starter_path", lambda name: Path(name))
    bases.append(made(capsys, "data.csv", "--output", "2.yaml")["base"])
    bases.append(made(capsys, "data.csv", "--output", "3.yaml", "--model", "some/model")["base"])
    bases.append(made(capsys, "data.csv", "--output", "sub/4.yaml", "--model", "my-base")["base"])
    assert bases == [
        {"model": "distilbert-base-uncased", "max_length": 64},
        {"model": "starter:minilm", "max_length": 64, "pooling": "mean"},
        {"model": "some/model", "max_length": 64},
        {"model": "../my-base", "max_length": 30},
    ]
    assert "base" not in made(capsys, "data.csv", "--output", "5.yaml", "--method", "tfidf")


def test_max_length_follows_the_texts(capsys: Capture) -> None:
    rows = [{"text": "word " * 100 + str(i), "label": i % 2} for i in range(60)]
    write_csv(Path("data.csv"), rows)
    assert made(capsys, "data.csv")["base"]["max_length"] == 256


def test_no_file_is_overwritten(capsys: Capture) -> None:
    table("data.csv", "text,label")
    Path("recipe.yaml").symlink_to("nowhere.yaml")
    code, _, err = tunebench(capsys, "init", "data.csv")
    assert (code, "recipe.yaml: is there already" in err) == (2, True)
    assert Path("recipe.yaml").is_symlink()
    assert not Path("nowhere.yaml").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text,label\n", "has a header but no rows"),
        ("a.csv", b"text,label\n1\n2\n", "none of its 2 rows can be read"),
        ("a.csv", bytes(range(128, 256)) * 20, "the header"),
        ("a.parquet", b"PAR1 no", "not a Parquet file"),
        ("a.jsonl", b"\x00\x01\n", "no row is sound"),
        ("a.txt", b"text\n", "expected a file ending in .csv"),
        ("a.csv", b"text,text\n1,2\n", "stands 2 times"),
    ],
)
def test_files_that_are_no_tables_get_one_clear_error(capsys: Capture, name: str, content: bytes, words: str) -> None:
    Path(name).write_bytes(content)
    code, out, err = tunebench(capsys, "init", name)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert os.listdir() == [name]


@pytest.mark.parametrize("name", ["~home.csv", "starter:x.csv", "- a: 'b' #.csv", "no", "ünï 文.csv"])
def test_odd_names_of_files_and_columns_survive(capsys: Capture, name: str) -> None:
    odd = "text: 'no' # {x}"
    rows = [{odd: row["text"], "null label": row["label"]} for row in ROWS]
    folder = Path("odd folder")
    write_csv(folder / (name if name.endswith(".csv") else f"{name}.csv"), rows)
    data = made(capsys, next(folder.iterdir()), "--output", folder / "r.yaml")["data"]
    assert (data["text"], data["label"]) == (odd, "null label")


def test_the_text_says_what_was_guessed_why_and_what_next(capsys: Capture) -> None:
    table("my data.csv", "id,text,label")
    code, out, _ = tunebench(capsys, "init", "my data.csv", "--output", "my recipe.yaml")
    assert code == 0
    for words in ("by its name; every row has its own", "2 labels: negative (40), positive (40)", "no file is named so"):
        assert words in out
    assert "  tunebench check 'my recipe.yaml'\n  tunebench train 'my recipe.yaml'\n" in out


def test_init_is_light() -> None:
    table("data.csv", "id,text,label")
    script = f"import sys\nfrom tunebench.cli import main\nmain()\nprint([name for name in {LIGHT} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script, "init", "data.csv"], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "[]")
