"""Which one to take: the rules, each by a comparison in which it decides."""

from __future__ import annotations

from typing import Any

import pytest

from tunebench.compare.choice import Limits, candidates, choose

Row = dict[str, Any]
PASSED = {"proof": {"passed": True}}


def row(name: str, accuracy: float, family: str = "encoder", size: int = 1000, **more: Any) -> Row:
    """A row that was not timed; ``more`` are its forms and other keys."""
    known = {"error": None, "method": "lora", "adapter_bytes": 10, "needs_gpu": False, "forms": {}}
    cells = [{"path": f"runs/{name}"}]
    return known | {"run": name, "accuracy": accuracy, "family": family, "total_parameters": size, "cells": cells} | more


def timed(p50: float, memory: float = 1e8, **more: Any) -> dict[str, Any]:
    return {"p50_ms": p50, "peak_memory_bytes": memory, **more}


def export(p50: float, lost: float = 0.0, **more: Any) -> dict[str, Any]:
    return timed(p50, accuracy=0.9 - lost, reference_accuracy=0.9) | PASSED | more


def taken(rows: list[Row], *, apart: tuple[str, ...] = (), **limits: Any) -> dict[str, Any]:
    """The verdict, where the rows named by ``apart`` are shown to be worse than the best of those left, and others are not."""
    told = Limits(**limits)
    found, refused = candidates(rows, told)
    made = [
        {"better": found[0].name, "worse": one["run"], "distinguishable": one["run"] in apart, "p_holm": 0.3}
        | {"difference": found[0].row["accuracy"] - one["accuracy"], "low": 0.001 if one["run"] in apart else -0.01, "high": 0.05}
        for one in rows
        if found and one["error"] is None and one["run"] != found[0].name
    ]
    return choose(found, refused, made, told)


def verdict(rows: list[Row], **more: Any) -> tuple[str | None, str | None]:
    told = taken(rows, **more)
    return told["take"], told["backend"]


def test_the_best_is_taken_where_all_others_are_shown_to_be_worse() -> None:
    rows = [row("best", 0.9, size=9000), row("small", 0.88, size=10), row("tfidf", 0.86, "linear")]
    assert verdict(rows, apart=("small", "tfidf")) == ("best", "torch")
    assert (
        "best has the best accuracy of what meets the limits (accuracy 0.9000)." in taken(rows, apart=("small", "tfidf"))["why"]
    )


def test_of_those_that_cannot_be_told_apart_the_simplest_is_taken_where_nothing_was_timed() -> None:
    llm, encoder, small = row("llm", 0.9, "causal LM", 10), row("enc", 0.89, size=500), row("small", 0.885, size=400)
    assert verdict([llm, encoder, small]) == ("small", "torch")
    assert verdict([llm, encoder, small], apart=("small",)) == ("enc", "torch")
    assert verdict([encoder, small, row("ia3", 0.88, size=400, adapter_bytes=3)]) == ("ia3", "torch")
    assert (
        "small cannot be told from llm, the best in accuracy (1.5 points, p = 0.30), and is simpler" in taken([llm, small])["why"]
    )


def test_what_is_more_complex_than_the_best_is_not_taken_however_fast() -> None:
    best = row("best", 0.9, forms={"torch": timed(9)})
    assert verdict([best, row("llm", 0.89, "causal LM", 5, forms={"torch": timed(1)})]) == ("best", "torch")
    assert verdict([best, row("large", 0.89, size=1101, forms={"torch": timed(1)})]) == ("best", "torch")
    assert verdict([best, row("as large", 0.89, size=1099, forms={"torch": timed(1)})]) == ("as large", "torch")


def test_a_difference_that_its_own_interval_shows_is_not_given_away_though_holm_does_not_claim_it() -> None:
    rows = [row("best", 0.9, size=9), row("small", 0.87, size=5)]
    found, refused = candidates(rows, Limits())
    statement = {"better": "best", "worse": "small", "distinguishable": False, "p_holm": 0.06, "difference": 0.03, "high": 0.05}
    for low, take in ((0.001, "best"), (-0.001, "small")):
        assert choose(found, refused, [statement | {"low": low}], Limits())["take"] == take


def test_the_fastest_form_is_taken_where_all_were_timed_and_of_like_ones_the_smallest() -> None:
    lora = row("lora", 0.9, forms={"torch": timed(9), "torch-merged": timed(7), "openvino": export(3)})
    ia3 = row("ia3", 0.89, size=990, forms={"torch": timed(8)})
    assert verdict([lora, ia3]) == ("lora", "openvino")
    ia3["forms"]["openvino"] = export(3.1)
    assert verdict([lora, ia3]) == ("ia3", "openvino"), "3.1 is within 5 % of 3, and it is smaller"
    ia3["forms"]["openvino"] = export(3.2)
    assert verdict([lora, ia3]) == ("lora", "openvino")
    assert verdict([lora, row("untimed", 0.89, size=980)]) == ("untimed", "torch"), "nobody knows which one is faster"


def test_an_export_counts_with_what_it_lost_itself_and_not_with_what_it_gained() -> None:
    def one(lost: float) -> Row:
        return row("lora", 0.9, forms={"torch": timed(9), "onnx-int8": export(2, lost)})

    assert verdict([one(0.004 - 1e-9)]) == ("lora", "onnx-int8")
    assert verdict([one(0.0041)]) == ("lora", "torch")
    assert "0.3 points less on validation than the saved form, 2 ms for one text" in taken([one(0.003)])["why"]
    assert {found.accuracy for found in candidates([one(-0.05)], Limits())[0]} == {0.9}
    assert verdict([one(0.003)], min_accuracy=0.898) == ("lora", "torch")
    assert verdict([one(0.02)], max_latency_ms=5) == ("lora", "onnx-int8"), "the only one within the limit"


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (timed(2), "was not scored itself"),
        (export(2, proof={"passed": False}), "failed its proof, and is never used"),
    ],
)
def test_an_export_that_failed_or_was_not_scored_is_left_out(form: dict[str, Any], reason: str) -> None:
    told = taken([row("lora", 0.9, forms={"torch": timed(9), "onnx": form})])
    assert (told["backend"], told["refused"]) == ("torch", [{"run": "lora", "backend": "onnx", "reason": reason}])


UNKNOWN = "time it with: tunebench bench runs/a"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_accuracy": 0.91}, "its accuracy is 0.9000, the limit 0.91"),
        ({"max_latency_ms": 4}, "takes 5 ms, the limit is 4 ms"),
        ({"max_memory_bytes": 5e7}, "takes 100 MB, the limit is 50 MB"),
        ({"no_gpu": True}, "needs a GPU"),
        ({"min_accuracy": 0.91, "max_latency_ms": 4}, "its accuracy is 0.9000, the limit 0.91; takes 5 ms, the limit is 4 ms"),
    ],
)
def test_what_misses_a_limit_is_left_out_with_the_reason(limits: dict[str, Any], reason: str) -> None:
    told = taken([row("a", 0.9, forms={"torch": timed(5)}, needs_gpu=True)], **limits)
    assert (told["take"], told["backend"], told["why"]) == (
        None,
        None,
        "Nothing meets the limits; what each misses is told below.",
    )
    assert told["refused"] == [{"run": "a", "backend": "torch", "reason": reason}]
    assert told["limits"] == {"min_accuracy": None, "max_latency_ms": None, "max_memory_bytes": None, "no_gpu": False} | limits


@pytest.mark.parametrize(
    ("form", "limits", "reason"),
    [
        ({}, {"max_latency_ms": 50}, f"its latency is not known; {UNKNOWN}"),
        ({}, {"max_memory_bytes": 1e9}, f"its memory is not known; {UNKNOWN}"),
        (
            timed(5, peak_gpu_memory_bytes=7),
            {"max_latency_ms": 50, "no_gpu": True},
            "its latency without a GPU is not known; it was timed on one",
        ),
    ],
)
def test_a_figure_that_is_not_known_meets_no_limit(form: dict[str, Any], limits: dict[str, Any], reason: str) -> None:
    told = taken([row("a", 0.9, forms={"torch": form} if form else {})], **limits)
    assert told["refused"] == [{"run": "a", "backend": "torch", "reason": reason}]


def test_limits_that_are_met_leave_everyone_in() -> None:
    limits = {"min_accuracy": 0.9, "max_latency_ms": 5, "max_memory_bytes": 1e8, "no_gpu": True}
    assert taken([row("a", 0.9, forms={"torch": timed(5)})], **limits)["refused"] == []


def test_the_best_within_the_limits_leads() -> None:
    rows = [
        row("best", 0.9, forms={"torch": timed(50)}),
        row("next", 0.88, forms={"torch": timed(5)}),
        row("small", 0.8, size=1, forms={"torch": timed(1)}),
    ]
    told = taken(rows, apart=("small",), max_latency_ms=10)
    assert (told["take"], [item["run"] for item in told["refused"]]) == ("next", ["best"])


def test_a_failed_row_is_left_out_with_its_error() -> None:
    told = taken([row("a", 0.9), row("b", 0.0) | {"error": "killed", "accuracy": None}])
    assert told["refused"] == [{"run": "b", "backend": None, "reason": "failed: killed"}]


def test_a_baseline_may_win_and_it_is_said_plainly() -> None:
    rows = [row("lora", 0.9), row("tfidf", 0.89, "linear", 10**9, method="tfidf")]
    told = taken(rows)
    assert told["take"] == "tfidf"
    assert "A baseline (tfidf) wins here: on these rows nothing more complex that meets the limits is shown" in told["why"]
    assert "A baseline" not in taken(rows, apart=("tfidf",))["why"]


def test_a_baseline_does_not_win_against_what_was_not_there_or_was_left_out() -> None:
    tfidf, majority = row("tfidf", 0.8, "linear", method="tfidf"), row("majority", 0.5, "constant", method="majority")
    assert "A baseline" not in taken([tfidf, majority], apart=("majority",))["why"]
    slow = row("lora", 0.9, forms={"torch": timed(50)})
    told = taken([slow, tfidf | {"forms": {"torch": timed(1)}}], max_latency_ms=10)
    assert (told["take"], "A baseline" in told["why"]) == ("tfidf", False)


def test_the_rules_stand_beside_the_verdict_and_the_order_of_rows_decides_nothing() -> None:
    rows = [row("a", 0.9), row("b", 0.9), row("c", 0.89, size=990), row("d", 0.88, size=990)]
    assert len(taken(rows)["rules"]) == 5
    assert {verdict(found) for found in (rows, [rows[0], *rows[:0:-1]])} == {("c", "torch")}
