"""What a run costs beside the bare loop, and what its checkpoints cost: ``python bench/overhead.py [--gate]``.

Both sides train the same model on the same planned batches with the same optimizer. The bare loop only computes; the run
records every event in a run directory and keeps checkpoints at the default interval, as ``tunebench train`` does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from tunebench import binding
from tunebench.events import Step, Stopped
from tunebench.model.objectives import Classifying
from tunebench.model.tasks import classification_loss, pad_batch, text_logits
from tunebench.predict.plan import training_plan
from tunebench.runs.run import Run
from tunebench.train.checkpoint import Keeper
from tunebench.train.loop import Job, State, fit, forward_seed
from tunebench.train.optimizer import learning_rate, make_optimizer
from tunebench.train.precision import computing
from tunebench.train.session import prepare

GATE = 0.03


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=24)
    options.add_argument("--checkpoint-steps", type=int, default=188, help="a starter training")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--gate", action="store_true", help="exit 3 where a median is above 3 %%")
    told = options.parse_args()
    job = new_job("lora", told.steps)
    overheads = []
    print(f"{'round':>5}  {'bare loop s':>11}  {'run s':>7}  {'overhead':>8}")
    for number in range(told.rounds + 1):
        bare, run = seconds_bare(job), seconds_of_run(job)
        if number:  # the first round warms up
            overheads.append(run / bare - 1)
            print(f"{number:>5}  {bare:>11.2f}  {run:>7.2f}  {overheads[-1]:>8.2%}")
    shares = {method: checkpoint_share(method, told.checkpoint_steps) for method in ("lora", "full")}
    for method, (number, cost, share) in shares.items():
        print(
            f"{method}, {told.checkpoint_steps} steps: {number} checkpoints of {cost * 1000:.0f} ms, {share:.2%} of the training"
        )
    figures = {
        "bench": "overhead",
        "steps": told.steps,
        "rounds": told.rounds,
        "overhead_median": round(statistics.median(overheads), 4),
        "overhead_min": round(min(overheads), 4),
        "overhead_max": round(max(overheads), 4),
        "checkpoint_seconds": {method: round(cost, 4) for method, (_, cost, _) in shares.items()},
        "checkpoint_share": {method: round(share, 5) for method, (_, _, share) in shares.items()},
    }
    print(json.dumps(figures))
    worst = max(figures["overhead_median"], *(share for _, _, share in shares.values()))
    if told.gate and worst > GATE:
        sys.exit(3)


def new_job(method: str, steps: int, eval_strategy: str = "no", eval_steps: int | None = None) -> Job:
    rate = {"lora": 2e-3, "full": 1e-4}[method]
    bound = binding.bind(
        "starter-lora", [f"method={{kind: {method}}}", f"train.max_steps={steps}", f"train.learning_rate={rate}"]
    )
    settings = bound.recipe.settings.model_copy(update={"eval_strategy": eval_strategy, "eval_steps": eval_steps})
    return prepare(bound.recipe.model_copy(update={"train": settings}), bound.data).job


def seconds_bare(job: Job) -> float:
    """The same steps in the fewest words."""
    settings, rows = job.settings, job.objective
    assert isinstance(rows, Classifying)
    optimizer = make_optimizer(job.model, settings)
    plan = training_plan(rows.lengths, seed=job.seed, epoch=0, batch_size=settings.per_device_train_batch_size)
    begun = time.perf_counter()
    job.model.train()
    for step, planned in enumerate(plan[: job.total_steps]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, job.total_steps)
        for micro in planned.micros:
            torch.manual_seed(forward_seed(job.seed, micro.index))
            ids, mask = pad_batch([rows.train.ids[row] for row in micro.rows], rows.pad_id)
            labels = torch.tensor([rows.train.labels[row] for row in micro.rows])
            with computing(job.precision, ids.device):
                logits = text_logits(job.model, rows.pooling, ids, mask)
            (classification_loss(logits.float(), labels) / planned.global_rows).backward()
        nn.utils.clip_grad_norm_([p for p in job.model.parameters() if p.grad is not None], settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - begun


def seconds_of_run(job: Job) -> float:
    """As a run does it: every event recorded, checkpoints at the default interval, a line every ten steps."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
        run, state = Run(Path(folder)), State(job)
        keeper = Keeper(run, job, state)
        begun = time.perf_counter()
        for event in fit(job, state):
            run.record(event)
            keeper.see(event)
            if isinstance(event, Step) and event.step % 10 == 0:
                nowhere.write(f"{event}\n")
        return time.perf_counter() - begun


def checkpoint_share(method: str, steps: int) -> tuple[int, float, float]:
    """Of a training with the default settings that is scored twice: checkpoints written, median seconds, share of its time."""
    job = new_job(method, steps, eval_strategy="steps", eval_steps=steps // 2)
    with tempfile.TemporaryDirectory() as folder:
        run, state, costs = Run(Path(folder)), State(job), []
        keeper = Keeper(run, job, state)
        save = keeper.save

        def timed() -> None:
            begun = time.perf_counter()
            save()
            costs.append(time.perf_counter() - begun)

        keeper.save = timed  # type: ignore[method-assign]
        begun = time.perf_counter()
        for event in fit(job, state):
            if isinstance(event, Stopped):
                keeper.finish()
            run.record(event)
            keeper.see(event)
        return len(costs), statistics.median(costs), sum(costs) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
