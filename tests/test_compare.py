"""The comparison as a table: CSV under one fixed header that no spreadsheet runs, and text for a terminal."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from answered import alone, answered_run, group

from tunebench.compare.comparison import Failure, Group, assemble
from tunebench.compare.table import HEADER, as_csv
from tunebench.compare_text import comparison_text
from tunebench.runs.run import Run

FIXED = (
    "run,base,architecture,method,total_parameters,trainable_parameters,trainable_percent,adapter_bytes,"
    "accuracy,accuracy_low,accuracy_high,f1_macro,train_seconds,peak_memory_bytes,rows_per_second"
)
"""The columns that every version has had, in their order."""


def shelf(tmp_path: Path) -> list[Run]:
    return [
        answered_run(tmp_path, "lora", wrong=10),
        answered_run(tmp_path, "ia3", wrong=5, method={"kind": "ia3"}),
        answered_run(tmp_path, "majority", wrong=50, method={"kind": "majority"}, base=None),
    ]


def table(groups: list[Group]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(assemble(groups)["rows"]))))


def test_the_header_is_fixed(tmp_path: Path) -> None:
    first = as_csv(assemble(alone(*shelf(tmp_path)))["rows"]).splitlines()[0]
    assert first.startswith(f"{FIXED},")
    assert first == ",".join(HEADER)
    assert as_csv([]) == f"{first}\n"


def test_the_best_run_stands_first(tmp_path: Path) -> None:
    assert [(row["run"], row["accuracy"]) for row in table(alone(*shelf(tmp_path)))] == [
        ("ia3", "0.95"),
        ("lora", "0.9"),
        ("majority", "0.5"),
    ]


def test_figures_are_written_with_six_digits(tmp_path: Path) -> None:
    row = table(alone(*shelf(tmp_path)))[1]
    assert {name: row[name] for name in FIXED.split(",")} == {
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
    assert (row["seeds"], row["brier"], row["ece"], row["train_examples"]) == ("1", "0.185", "0.05", "320")
    assert (row["saved_p50_ms"], row["exported_as"], row["error"]) == ("", "", "")


def test_a_baseline_has_no_base_and_a_plain_architecture(tmp_path: Path) -> None:
    row = table(alone(*shelf(tmp_path)))[2]
    assert (row["base"], row["architecture"], row["method"]) == ("-", "constant", "majority")


def test_the_fastest_export_that_may_be_used_has_columns(tmp_path: Path) -> None:
    (row,) = assemble(alone(answered_run(tmp_path)))["rows"]
    speed = {"p50_ms": 2.5, "p99_ms": 9.0}
    row["forms"] = {
        "torch": {"rows_per_second": 10.0, **speed},
        "onnx": {"rows_per_second": 30.0, **speed, "proof": {"passed": True}},
        "onnx-int8": {"rows_per_second": 90.0, **speed, "proof": {"passed": False}},
        "openvino": {"accuracy": 0.9},
    }
    (told,) = csv.DictReader(io.StringIO(as_csv([row])))
    assert (told["exported_as"], told["exported_rows_per_second"], told["exported_p50_ms"]) == ("onnx", "30", "2.5")
    assert (told["saved_rows_per_second"], told["merged_rows_per_second"]) == ("10", "")


HOSTILE = [
    ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
    ("=1+1", "'=1+1"),
    ("+1", "'+1"),
    ("@x", "'@x"),
    ("-2+3", "'-2+3"),
    ("-", "-"),
    ("\t=1", "'\t=1"),
    ("\r=1", "'\r=1"),
    ("\n=1", "'\n=1"),
    ("＝1+1", "'＝1+1"),
    ('a,b\n"c"', 'a,b\n"c"'),
    ("a\rb", "a\rb"),
    ("<script>", "<script>"),
    ("org/base", "org/base"),
]


@pytest.mark.parametrize(("said", "cell"), HOSTILE, ids=[repr(said) for said, _ in HOSTILE])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(said: str, cell: str, tmp_path: Path) -> None:
    (row,) = assemble(alone(answered_run(tmp_path)))["rows"]
    hostile = ("run", "base", "architecture", "method", "error")
    (told,) = csv.DictReader(io.StringIO(as_csv([row | dict.fromkeys(hostile, said)]), newline=""))
    assert [told[name] for name in hostile] == [cell] * len(hostile)
    assert len(told) == len(HEADER)


def test_a_failed_row_stands_in_the_table_with_its_error_and_no_figures(tmp_path: Path) -> None:
    broken = group("full", Failure("full-s1", 1, "ended with exit code 1"), Failure("full-s2", 2, "ended with exit code 1"))
    found = table([broken, *alone(answered_run(tmp_path))])
    assert [(row["run"], row["error"], row["seeds"]) for row in found] == [
        ("a", "", "1"),
        ("full", "ended with exit code 1", "0"),
    ]
    assert {found[1][name] for name in HEADER if name not in ("run", "error", "seeds")} == {""}


def test_the_text_shows_intervals_beside_their_figures_in_aligned_columns(tmp_path: Path) -> None:
    broken = group("full", Failure("full", 1, "no \x1b[31mmemory"))
    text = comparison_text(assemble([broken, *alone(*shelf(tmp_path))]))
    lines = text.splitlines()
    assert lines[0].startswith("run         method")
    assert set(lines[1]) == {"-"}
    assert "0.9500 [0.888, 0.978]" in lines[2]
    assert "296,450" in lines[3]
    assert len({line.index("[") for line in lines[2:5]}) == 1
    assert "full failed: no \\x1b[31mmemory" in text
    assert "ia3 and lora are not distinguishable with n = 100 (5.0 points [" in text
    assert "take ia3 as torch" in text
    assert "1. What failed" in text


def test_the_text_shows_what_was_timed_and_what_an_export_lost(tmp_path: Path) -> None:
    found = assemble(alone(*shelf(tmp_path)))
    speed: dict[str, Any] = {"rows_per_second": 88.0, "p50_ms": 2.54, "p99_ms": 1234.0, "peak_memory_bytes": 3.1e8}
    found["rows"][0]["forms"] = {"torch": speed, "onnx": speed | {"accuracy": 0.9, "reference_accuracy": 0.904}}
    lines = comparison_text(found).splitlines()
    (line,) = [line for line in lines if line.split()[:2] == ["ia3", "onnx"]]
    assert line.split() == ["ia3", "onnx", "88.0", "2.54", "ms", "1,234", "ms", "310", "MB", "0.4", "points"]


def test_a_single_run_is_a_table_too_without_statements_and_choice(tmp_path: Path) -> None:
    found = assemble(alone(answered_run(tmp_path)))
    assert ([row["run"] for row in found["rows"]], found["statements"], found["statement_notes"]) == (["a"], [], [])
    assert "take" not in comparison_text(found)
