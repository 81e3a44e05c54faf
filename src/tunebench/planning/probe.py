"""A few steps of the real training, timed, in a process of their own so that their memory can be measured.

The rows are drawn evenly over all lengths, the longest among them; model, loop and precision are those of the run.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from tunebench.data.dataset import Dataset
from tunebench.data.items import flat
from tunebench.data.rows import Rows
from tunebench.errors import TunebenchError
from tunebench.events import Evaluated, Event, Step
from tunebench.recipe.spec import Recipe
from tunebench.runs import environment

WARM, TIMED = 1, 7
"""Steps: the first ones also make room and compile, and are not counted."""
VALIDATED = 64
"""Validation rows that are scored once."""
SECONDS = 60.0
"""No further step is begun after that, once one has been timed."""


def probe(recipe: Recipe, seconds: float = 600.0) -> dict[str, Any]:
    """Time a resolved recipe in a child process: its steps, one evaluation, what begins it, and its largest memory.

    What went wrong there is the value of ``fault``.
    """
    told = json.dumps({"recipe": recipe.model_dump(mode="json"), "begun": time.time()})
    command = [sys.executable, "-P", "-m", "tunebench.planning.probe"]
    try:
        done = subprocess.run(command, input=told, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"fault": f"no step was done within {seconds:g} s"}
    try:
        return dict(json.loads((done.stdout.strip().splitlines() or [""])[-1]))
    except ValueError:
        said = (done.stderr.strip().splitlines() or ["it was ended from outside, as it is where memory is short"])[-1]
        return {"fault": f"the probe ended with code {done.returncode}: {said}"}


def main() -> None:
    """The child: a recipe as JSON on standard input, what was measured as the last line of standard output."""
    told = json.loads(sys.stdin.read())
    try:
        found = measure(Recipe.model_validate(told["recipe"]), told["begun"])
    except (TunebenchError, RuntimeError, MemoryError) as error:
        found = {"fault": str(error) or type(error).__name__}
    print(json.dumps(found))  # noqa: T201 - this is its answer


def measure(recipe: Recipe, begun: float) -> dict[str, Any]:
    """Train for a few steps; ``begun`` is when whoever asks began to wait."""
    import torch  # noqa: PLC0415 - in the child only

    from tunebench.data import dataset  # noqa: PLC0415 - in the child only
    from tunebench.runs import hub_data  # noqa: PLC0415 - in the child only
    from tunebench.train.loop import fit  # noqa: PLC0415 - in the child only
    from tunebench.train.precision import choose_precision  # noqa: PLC0415 - in the child only
    from tunebench.train.session import prepare  # noqa: PLC0415 - in the child only

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = dataset.bind(recipe.data, recipe.data_seed, hub_data.locator(recipe.data), task=recipe.task)
    precision = choose_precision(recipe.settings, device)
    shorter, few = _shortened(recipe, data)
    events: list[Event] = []
    ready, last = 0.0, 0.0
    for event in fit(prepare(shorter, few, precision).job):
        ready = ready or time.time() - begun
        events.append(event)
        last = event.seconds if isinstance(event, Step) else last
        if last > SECONDS and isinstance(event, Step) and event.step > WARM:
            break
    return {
        "device": str(device),
        "precision": precision,
        "start_seconds": ready,
        "steps": _timed(events),
        "evaluation": _evaluation(events, few),
        "peak_memory_bytes": environment.peak_memory_bytes(),
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
    }


def _shortened(recipe: Recipe, data: Dataset) -> tuple[Recipe, Dataset]:
    """The same training for a few steps, so slow that it cannot diverge, on rows drawn evenly over all lengths."""
    settings, steps = recipe.settings, WARM + TIMED
    accumulation = min(2, settings.gradient_accumulation_steps)
    few = steps * settings.per_device_train_batch_size * accumulation
    validation = spread(data.validation, VALIDATED) if data.validation and settings.eval_strategy != "no" else None
    update = {
        "max_steps": steps,
        "learning_rate": 1e-9,
        "gradient_accumulation_steps": accumulation,
        "eval_strategy": "steps" if validation else "no",
        "eval_steps": steps if validation else None,
        "early_stopping_patience": None,
    }
    changed = recipe.model_copy(update={"train": settings.model_copy(update=update)})
    return changed, dataclasses.replace(data, train=spread(data.train, few), validation=validation)


def spread(rows: Rows, number: int) -> Rows:
    """At most so many rows, evenly over their lengths, the longest among them."""
    if len(rows) <= number:
        return rows
    order = sorted(range(len(rows)), key=lambda row: (len(flat(rows.texts[row])), row))
    return rows.take(sorted({order[round((i + 1) * len(rows) / number) - 1] for i in range(number)}))


def _timed(events: Sequence[Event]) -> dict[str, float]:
    """Seconds and padded tokens of the steps after the first ones, and how many these are."""
    steps = [event for event in events if isinstance(event, Step)]
    first, timed = steps[min(WARM, len(steps) - 1) - 1], steps[min(WARM, len(steps) - 1) :]
    before = first.seconds if len(steps) > 1 else 0.0
    return {
        "number": len(timed),
        "seconds": timed[-1].seconds - before,
        "padded_tokens": sum(step.padded_tokens for step in timed),
    }


def _evaluation(events: Sequence[Event], data: Dataset) -> dict[str, float] | None:
    """Seconds of the one evaluation, and the rows that were scored in it."""
    done = next((event for event in events if isinstance(event, Evaluated)), None)
    if done is None or data.validation is None:
        return None
    last = [event for event in events if isinstance(event, Step)][-1]
    return {"seconds": done.seconds - last.seconds, "rows": len(data.validation), "sampled": len(data.train)}


if __name__ == "__main__":
    main()
