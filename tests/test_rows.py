"""Law 4: every row that goes in comes out, in order, with its columns; what cannot be scored carries its error."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import World, make_rows, write_csv

from tunebench import jobs
from tunebench.data.readers import CHUNK_ROWS
from tunebench.errors import InputError, TunebenchError
from tunebench.fitting import scored_items
from tunebench.predict.linear import LinearScorer
from tunebench.runs.run import Run

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
ADDED = ["predicted", "probability_negative", "probability_positive", "truncated", "error"]
ROWS = [
    {"id": "z", "text": "a good film", "note": "first"},
    {"id": "10", "text": "a dull, flat plot", "note": ""},
    {"id": "9", "text": 'he said "great"\nand left', "note": "two\nlines, tabs\tand “quotes”"},
    {"id": "é", "text": "funny", "note": " spaces "},
    {"id": "z", "text": "cold cold cold", "note": "=1+1"},
]


@pytest.fixture
def linear_run(baseline_run: Callable[[str], Run]) -> Run:
    """A trained tfidf run: rows are rows whatever scores them, and this needs no torch."""
    return baseline_run("tfidf")


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            out.writeheader()
            out.writerows(rows)
    return path


def read_table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def predict(run: Run, source: Path, output: Path, text: str | None = None) -> dict[str, Any]:
    return jobs.predict_file(str(run.path), run.path.parent, source, output, text, lambda rows: None)


@pytest.mark.parametrize("into", FORMATS)
@pytest.mark.parametrize("out_of", FORMATS)
def test_every_row_id_and_column_comes_back_in_order_from_every_format(
    linear_run: Run, tmp_path: Path, out_of: str, into: str
) -> None:
    result = predict(linear_run, write_table(tmp_path / f"in{out_of}", ROWS), tmp_path / f"out{into}")
    found = read_table(tmp_path / f"out{into}")
    assert list(found[0]) == ["id", "text", "note", *ADDED]
    assert [{key: row[key] for key in ROWS[0]} for row in found] == ROWS
    assert [row["predicted"] for row in found] == ["positive", "negative", "positive", "positive", "negative"]
    assert all(abs(float(row["probability_negative"]) + float(row["probability_positive"]) - 1) < 1e-9 for row in found)
    assert {str(row["error"] or "") for row in found} == {""}
    assert {key: result[key] for key in ("rows", "errors", "truncated", "renamed_columns")} == {
        "rows": 5,
        "errors": 0,
        "truncated": 0,
        "renamed_columns": {},
    }


def test_numbers_truth_values_and_nested_cells_keep_their_types_between_typed_formats(linear_run: Run, tmp_path: Path) -> None:
    rows = [
        {"text": "good", "n": 2**53 + 1, "x": 0.1, "yes": True, "gone": None, "tags": ["a", "b"]},
        {"text": "dull", "n": None, "x": -1e300, "yes": False, "gone": None, "tags": []},
    ]
    predict(linear_run, write_table(tmp_path / "in.parquet", rows), tmp_path / "out.parquet")
    assert [{key: row[key] for key in rows[0]} for row in read_table(tmp_path / "out.parquet")] == rows
    predict(linear_run, write_table(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert [{key: row[key] for key in rows[0]} for row in read_table(tmp_path / "out.jsonl")] == rows


@pytest.mark.parametrize("into", FORMATS)
def test_unsound_rows_of_a_csv_keep_their_places_and_say_what_is_wrong(linear_run: Run, tmp_path: Path, into: str) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n1,good\n2,\n3,a,b\n4\n5,   \n6,dull\n", encoding="utf-8")
    result = predict(linear_run, source, tmp_path / f"out{into}")
    found = read_table(tmp_path / f"out{into}")
    assert [row["id"] for row in found] == ["1", "2", "3", "4", "5", "6"]
    assert [bool(row["error"]) for row in found] == [False, True, True, True, True, False]
    assert [bool(row["predicted"]) for row in found] == [True, False, False, False, False, True]
    assert [row["probability_positive"] in ("", None) for row in found] == [False, True, True, True, True, False]
    assert "empty" in found[1]["error"]
    assert "3 fields" in found[2]["error"]
    assert "1 field" in found[3]["error"]
    assert (result["rows"], result["errors"]) == (6, 4)


def test_a_broken_line_of_json_keeps_its_place_and_says_what_is_wrong(linear_run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = [
        '{"id": 1, "text": "good"}',
        '{"id": 2, "text": ',
        "[3]",
        '{"id": 4}',
        '{"id": 5, "text": null}',
        '{"id": 6, "text": "dull"}',
    ]
    source.write_text("\n".join(lines), encoding="utf-8")
    result = predict(linear_run, source, tmp_path / "out.jsonl")
    found = read_table(tmp_path / "out.jsonl")
    assert [row["id"] for row in found] == [1, None, None, 4, 5, 6]
    assert [row["predicted"] for row in found] == ["positive", None, None, None, None, "negative"]
    assert "JSON" in found[1]["error"]
    assert "JSON object" in found[2]["error"]
    assert all("empty" in found[i]["error"] for i in (3, 4))
    assert (result["rows"], result["errors"]) == (6, 4)


def test_a_file_without_a_single_sound_row_comes_back_whole(linear_run: Run, tiny_run: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n1,\n2,  \n3\n", encoding="utf-8")
    for run in (linear_run, tiny_run("bert", "lora", "cls")):
        for into in FORMATS:
            result = predict(run, source, tmp_path / f"out{into}")
            assert [row["id"] for row in read_table(tmp_path / f"out{into}")] == ["1", "2", "3"]
            assert (result["rows"], result["errors"]) == (3, 3)


def test_a_text_that_no_tokenizer_takes_carries_its_error(linear_run: Run, tiny_run: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "good"}\n{"text": "half \\ud83d"}\n{"text": "dull"}\n', encoding="utf-8")
    for run in (linear_run, tiny_run("bert", "lora", "cls")):
        for into in FORMATS:
            predict(run, source, tmp_path / f"out{into}")
            found = read_table(tmp_path / f"out{into}")
            assert [bool(row["error"]) for row in found] == [False, True, False]
            assert [bool(row["predicted"]) for row in found] == [True, False, True]


def test_columns_named_like_the_answers_survive_under_another_name(linear_run: Run, tmp_path: Path) -> None:
    rows = [{"predicted": "mine", "text": "good", "error": "old", "input_error": "older", "probability_positive": "0.5"}]
    result = predict(linear_run, write_table(tmp_path / "in.csv", rows), tmp_path / "out.csv")
    (found,) = read_table(tmp_path / "out.csv")
    assert found["predicted"] == "positive"
    assert found["error"] == ""
    assert {name: found[result["renamed_columns"].get(name, name)] for name in rows[0]} == rows[0]
    assert set(result["renamed_columns"]) == {"predicted", "error", "probability_positive"}
    assert len(set(found)) == 5 + len(ADDED)


def many(number: int) -> list[dict[str, Any]]:
    return [{"id": i, "text": f"{('good', 'dull')[i % 2]} film {i}", "n": i * i} for i in range(number)]


@pytest.mark.parametrize("kind", FORMATS)
def test_5000_rows_cross_the_borders_of_chunks_in_order(linear_run: Run, tmp_path: Path, kind: str) -> None:
    assert 2 * CHUNK_ROWS < 5000
    seen: list[int] = []
    source, output = write_table(tmp_path / f"in{kind}", many(5000)), tmp_path / f"out{kind}"
    result = jobs.predict_file(str(linear_run.path), linear_run.path.parent, source, output, None, seen.append)
    found = read_table(output)
    assert [(int(row["id"]), row["text"], int(row["n"])) for row in found] == [
        (i, row["text"], i * i) for i, row in enumerate(many(5000))
    ]
    assert [row["predicted"] for row in found] == ["positive", "negative"] * 2500
    assert result["rows"] == 5000
    assert seen == sorted(seen)
    assert len(seen) >= 3


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("trouble", [KeyboardInterrupt, OSError, TunebenchError])
def test_what_breaks_off_leaves_no_output_and_an_older_output_as_it_was(
    linear_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, trouble: type[BaseException]
) -> None:
    source = write_table(tmp_path / f"in{kind}", many(CHUNK_ROWS + 1))
    score, calls = LinearScorer.score, iter([None])

    def break_off(self: LinearScorer, texts: list[str]) -> Any:
        if next(calls, "over") == "over":
            raise trouble("in the second chunk")
        return score(self, texts)

    monkeypatch.setattr(LinearScorer, "score", break_off)
    folder = tmp_path / "outputs"
    folder.mkdir()
    with pytest.raises((trouble, TunebenchError)):
        predict(linear_run, source, folder / f"new{kind}")
    assert list(folder.iterdir()) == []
    (folder / f"old{kind}").write_text("as it was", encoding="utf-8")
    with pytest.raises((trouble, TunebenchError)):
        predict(linear_run, source, folder / f"old{kind}")
    assert [path.read_text("utf-8") for path in folder.iterdir()] == ["as it was"]


def test_the_input_is_never_overwritten(linear_run: Run, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv", ROWS)
    (tmp_path / "way").symlink_to(source)
    with pytest.raises(InputError, match="never overwritten"):
        predict(linear_run, source, source)
    with pytest.raises(InputError, match="ending in"):
        predict(linear_run, source, tmp_path / "out.xlsx")
    assert read_table(source) == ROWS


def test_a_file_without_the_text_column_is_refused_by_the_option_that_helps(linear_run: Run, tmp_path: Path) -> None:
    source = write_table(tmp_path / "in.csv", [{"review": "good"}])
    with pytest.raises(InputError, match="--text-column"):
        predict(linear_run, source, tmp_path / "out.csv")
    assert predict(linear_run, source, tmp_path / "out.csv", "review")["rows"] == 1


def test_a_name_that_holds_another_format_is_written_by_its_ending(linear_run: Run, tmp_path: Path) -> None:
    predict(linear_run, write_table(tmp_path / "in.csv", ROWS), tmp_path / "as.tsv.csv")
    assert [row["id"] for row in read_table(tmp_path / "as.tsv.csv")] == [row["id"] for row in ROWS]


def test_predictions_of_a_run_stand_beside_all_columns_of_its_test_rows(linear_run: Run, world: World) -> None:
    ids = json.loads((linear_run.path / "splits.json").read_text("utf-8"))["test"]
    with world.data.open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    found = read_table(linear_run.path / "predictions.parquet")
    assert [{key: row[key] for key in ("id", "text", "label")} for row in found] == [rows[key] for key in ids]
    assert list(found[0])[3:] == ADDED


def test_a_test_split_with_columns_of_its_own_is_scored_kept_and_predicted_by_them(tmp_path: Path) -> None:
    rows = make_rows(60)
    write_csv(tmp_path / "a.csv", [{"id": row["id"], "review": row["text"], "stars": row["label"]} for row in rows[:40]])
    test = [{"error": "x", "content": row["text"], "sentiment": row["label"]} for row in rows[40:]]
    write_csv(tmp_path / "b.csv", test)
    data = {
        "train": {"file": "a.csv", "text": "review", "label": "stars", "id": "id"},
        "test": {"file": "b.csv", "text": "content", "label": "sentiment"},
    }
    recipe = tmp_path / "mapped.yaml"
    recipe.write_text(json.dumps({"name": "mapped", "data": data, "method": {"kind": "tfidf"}}), "utf-8")
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run

    kept = read_table(run.path / "predictions.parquet")
    assert [{"error": row["input_error"], "content": row["content"], "sentiment": row["sentiment"]} for row in kept] == test
    assert jobs.evaluate("mapped", tmp_path / "runs")["accuracy"] == run.metrics["test"]["accuracy"]
    assert sorted(scored_items(run)) == sorted(row["text"] for row in rows[40:])
    for source in ("a.csv", "b.csv"):
        assert jobs.evaluate("mapped", tmp_path / "runs", str(tmp_path / source))["unscored"] == 0
        result = predict(run, tmp_path / source, tmp_path / "out.jsonl")
        assert (result["rows"], result["errors"]) == (len(read_table(tmp_path / source)), 0)
