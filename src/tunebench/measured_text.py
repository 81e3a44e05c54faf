"""How figures that are measured on finished runs look on a terminal: speed, calibration."""

from __future__ import annotations

from typing import Any

from tunebench.compare.shown import milliseconds, rate, size
from tunebench.terminal import columns, printable


def bench_text(found: dict[str, Any]) -> str:
    """What ``bench`` prints: a line per form, medians with the range over the rounds, and what has to be known beside them."""
    head = ("run", "form", "kind", "rows", "rows/s", "[range]", "seconds", "p50", "p99", "memory", "load s")
    body = [
        (run["run"], backend, run["family"], *_timed(run, figures))
        for run in found["runs"]
        for backend, figures in run["forms"].items()
    ]
    hardware = found["hardware"]
    lengths = sorted({run["max_length"] for run in found["runs"] if run["max_length"] is not None})
    where = "; ".join(gpu["name"] for gpu in hardware["gpus"]) or hardware["processor"]
    tokens = f"texts of up to {' or '.join(f'{length:,}' for length in lengths)} tokens, " if lengths else ""
    rounds = f"{found['rounds']} rounds" if found["rounds"] > 1 else "one round, so without a range"
    setting = f"batches of {found['batch_size']}, {tokens}{rounds}, {found['threads']} threads; {where}"
    unscored = [
        f"{run['run']} {backend}: {figures['unscored']:,} of {run['rows']:,} rows could not be scored"
        for run in found["runs"]
        for backend, figures in run["forms"].items()
        if figures.get("unscored")
    ]
    return "\n\n".join([columns([head, *body]), printable(setting), *map(printable, [*unscored, *found["remarks"]])])


def _timed(run: dict[str, Any], figures: dict[str, Any]) -> tuple[str, ...]:
    rows = f"{run['rows']:,}"
    if "error" in figures:
        return (rows, *["failed", *["-"] * 6])
    low, high = figures["spread"]["rows_per_second"]
    return (
        rows,
        rate(figures["rows_per_second"]),
        f"[{rate(low)}, {rate(high)}]",
        f"{figures['seconds']:.3g}" if figures["seconds"] < 100 else f"{figures['seconds']:,.0f}",
        milliseconds(figures["p50_ms"]),
        milliseconds(figures["p99_ms"]),
        size(figures["peak_memory_bytes"]),
        f"{figures['load_seconds']:.1f}",
    )


def calibration_text(found: dict[str, Any]) -> str:
    """What ``calibrate`` prints: the temperature, scores before and after, the threshold and some points of the curve."""
    scores = [("", "before", "after")] + [
        (name, f"{found['before'][key]:.4f}", f"{found['after'][key]:.4f}")
        for key, name in (("ece", "Calibration error"), ("nll", "Negative log likelihood"), ("brier", "Brier score"))
    ]
    meaning = ", so less sure than it said" if found["temperature"] > 1 else ", so surer than it said"
    head = (
        f"{found['run']} ({found['backend']}): temperature {found['temperature']:.3f}{meaning * found['determined']}; "
        f"on {found['rows']:,} validation rows, accuracy {found['accuracy']:.4f}"
    )
    told = [
        printable(head),
        columns(scores),
        *_threshold(found),
        columns([("answered", "accuracy", "threshold"), *_points(found)]),
    ]
    use = f"{found['file']} holds it; predictions make use of it with: {found['use']}"
    return "\n\n".join([*told, *map(printable, [*found["remarks"], use])])


def _threshold(found: dict[str, Any]) -> list[str]:
    threshold = found["threshold"]
    if threshold is None:
        return []
    if threshold["value"] == 0:
        return [f"accuracy {found['target_accuracy']:g} is reached with every row answered: nothing needs to be abstained from"]
    return [
        f"abstaining below {threshold['value']:.4f} answers {100 * threshold['coverage']:.1f} % of the rows with accuracy "
        f"{threshold['accuracy']:.4f}, which proves at least {threshold['accuracy_low']:.4f} (95 %, n = {threshold['n']:,})"
    ]


def _points(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The points of the curve nearest to 20, 40, … 100 % of the rows."""
    nearest = {
        min(range(len(found["curve"])), key=lambda place: abs(found["curve"][place]["coverage"] - share / 5))
        for share in range(1, 6)
    }
    return [
        (f"{100 * point['coverage']:.0f} %", f"{point['accuracy']:.4f}", f"{point['threshold']:.4f}")
        for point in (found["curve"][place] for place in sorted(nearest))
    ]
