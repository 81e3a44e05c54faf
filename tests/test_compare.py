"""The comparison: one table under one fixed header, and only of what can be compared."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from shelf import finished_run

from tunebench.compare.table import HEADER, as_csv, as_text, comparison
from tunebench.errors import InputError
from tunebench.runs.run import Run

FIXED = (
    "run,base,architecture,method,total_parameters,trainable_parameters,trainable_percent,adapter_bytes,"
    "accuracy,accuracy_low,accuracy_high,f1_macro,train_seconds,peak_memory_bytes,rows_per_second"
)


def shelf(tmp_path: Path) -> list[Run]:
    return [
        finished_run(tmp_path, "lora", wrong=10),
        finished_run(tmp_path, "ia3", wrong=5, method={"kind": "ia3"}),
        finished_run(tmp_path, "majority", wrong=50, method={"kind": "majority"}, base=None),
    ]


def table(runs: list[Run]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(comparison(runs)))))


def test_the_header_is_fixed(tmp_path: Path) -> None:
    assert as_csv(comparison(shelf(tmp_path))).splitlines()[0] == FIXED == ",".join(HEADER)
    assert as_csv([]) == f"{FIXED}\n"


def test_the_best_run_stands_first(tmp_path: Path) -> None:
    assert [(row["run"], row["accuracy"]) for row in table(shelf(tmp_path))] == [
        ("ia3", "0.95"),
        ("lora", "0.9"),
        ("majority", "0.5"),
    ]


def test_figures_are_written_with_six_digits(tmp_path: Path) -> None:
    row = table(shelf(tmp_path))[1]
    assert row == {
        "run": "lora",
        "base": "bert-base-uncased",
        "architecture": "bert",
        "method": "lora",
        "total_parameters": "109779458",
        "trainable_parameters": "296450",
        "trainable_percent": "0.27",
        "adapter_bytes": "1190000",
        "accuracy": "0.9",
        "accuracy_low": "0.825634",
        "accuracy_high": "0.944771",
        "f1_macro": "0.9",
        "train_seconds": "61.5",
        "peak_memory_bytes": "2100000000",
        "rows_per_second": "123.457",
    }


def test_a_baseline_has_no_base_and_a_plain_architecture(tmp_path: Path) -> None:
    row = table(shelf(tmp_path))[2]
    assert (row["base"], row["architecture"], row["method"]) == ("-", "constant", "majority")


def test_runs_over_other_test_rows_are_refused(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path, "a"), finished_run(tmp_path, "b", test="1" * 64), finished_run(tmp_path, "c", test="2" * 64)]
    with pytest.raises(InputError, match="only like can be compared") as caught:
        comparison(runs)
    assert [fault.split(" than ")[0] for fault in caught.value.faults] == ["b: other test rows", "c: other test rows"]


def test_runs_with_other_labels_are_refused(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path, "a"), finished_run(tmp_path, "b")]
    manifest = runs[1].manifest
    manifest["labels"]["names"] = ["bad", "good"]
    runs[1].write_json("manifest.json", manifest)
    with pytest.raises(InputError, match="b: other labels than a"):
        comparison(runs)


def test_runs_without_scores_are_named_together(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path, name) for name in "abc"]
    for run in runs[1:]:
        (run.path / "metrics.json").unlink()
        (run.path / "events.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        comparison(runs)
    assert caught.value.faults == [
        f"{name}: has no test scores; it is interrupted, finish it with `tunebench train`" for name in "bc"
    ]


def test_a_finished_run_without_a_test_split_says_why_it_has_no_scores(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    run.write_json("metrics.json", run.metrics | {"test": None})
    with pytest.raises(InputError, match="a: has no test scores; its recipe has no test split"):
        comparison([run])


@pytest.mark.parametrize(
    ("base", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("@x", "'@x"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ('a,b\n"c"', 'a,b\n"c"'),
        ("a\rb", "a\rb"),
        ("org/base", "org/base"),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(base: str, cell: str, tmp_path: Path) -> None:
    assert table([finished_run(tmp_path, "a", base={"model": base})])[0]["base"] == cell


def test_the_text_shows_intervals_beside_their_figures_in_aligned_columns(tmp_path: Path) -> None:
    lines = as_text(comparison(shelf(tmp_path))).splitlines()
    assert lines[0].startswith("run       method")
    assert set(lines[1]) == {"-"}
    assert "0.9500 [0.888, 0.978]" in lines[2]
    assert "296,450" in lines[3]
    assert len({line.index("[") for line in lines[2:]}) == 1


def test_a_single_run_is_a_table_too(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = comparison([finished_run(tmp_path)])
    assert [row["run"] for row in rows] == ["a"]
