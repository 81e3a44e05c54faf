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

from tunebench import jobs
from tunebench.events import Step
from tunebench.model.tasks import classification_loss, pad_batch, text_logits
from tunebench.predict.plan import training_plan
from tunebench.runs.run import Run
from tunebench.train.checkpoint import SECONDS_BETWEEN, SHARE_OF_TIME, Keeper
from tunebench.train.loop import Job, State, fit, forward_seed
from tunebench.train.optimizer import learning_rate, make_optimizer
from tunebench.train.precision import computing
from tunebench.train.session import prepare

GATE = 0.03


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=24)
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
    shares = {method: checkpoint_share(job if method == "lora" else new_job(method, 1)) for method in ("lora", "full")}
    for method, (cost, share) in shares.items():
        print(f"checkpoint, {method}: {cost * 1000:.0f} ms, {share:.2%} of the time at the default interval")
    figures = {
        "bench": "overhead",
        "steps": told.steps,
        "rounds": told.rounds,
        "overhead_median": round(statistics.median(overheads), 4),
        "overhead_min": round(min(overheads), 4),
        "overhead_max": round(max(overheads), 4),
        "checkpoint_seconds": {method: round(cost, 4) for method, (cost, _) in shares.items()},
        "checkpoint_share": {method: round(share, 5) for method, (_, share) in shares.items()},
    }
    print(json.dumps(figures))
    worst = max(figures["overhead_median"], *(share for _, share in shares.values()))
    if told.gate and worst > GATE:
        sys.exit(3)


def new_job(method: str, steps: int) -> Job:
    bound = jobs.bind("starter-lora", [f"method={{kind: {method}}}", f"train.max_steps={steps}", "data.max_train_samples=600"])
    settings = bound.recipe.settings.model_copy(update={"eval_strategy": "no", "eval_steps": None})
    return prepare(bound.recipe.model_copy(update={"train": settings}), bound.data).job


def seconds_bare(job: Job) -> float:
    """The same steps in the fewest words."""
    settings = job.settings
    optimizer = make_optimizer(job.model, settings)
    plan = training_plan(job.train.lengths, seed=job.seed, epoch=0, batch_size=settings.per_device_train_batch_size)
    begun = time.perf_counter()
    job.model.train()
    for step, planned in enumerate(plan[: job.total_steps]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, job.total_steps)
        for micro in planned.micros:
            torch.manual_seed(forward_seed(job.seed, micro.index))
            ids, mask = pad_batch([job.train.ids[row] for row in micro.rows], job.pad_id)
            labels = torch.tensor([job.train.labels[row] for row in micro.rows])
            with computing(job.precision, ids.device):
                logits = text_logits(job.model, job.pooling, ids, mask)
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


def checkpoint_share(job: Job) -> tuple[float, float]:
    """Median seconds of a checkpoint with AdamW's memory in it, and its share of the time between two."""
    with tempfile.TemporaryDirectory() as folder:
        run, state = Run(Path(folder)), State(job)
        for event in fit(job, state):
            run.record(event)
        keeper, costs = Keeper(run, job, state), []
        for _ in range(5):
            begun = time.perf_counter()
            keeper.save()
            costs.append(time.perf_counter() - begun)
    cost = statistics.median(costs)
    return cost, cost / max(SECONDS_BETWEEN, cost / SHARE_OF_TIME)


if __name__ == "__main__":
    main()
