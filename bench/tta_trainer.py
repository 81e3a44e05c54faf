"""The side of ``bench/tta.py`` that many notebooks have: Trainer and PEFT, every text padded to 512 tokens.

    python bench/tta_trainer.py TRAIN VALIDATION --seed N --target ACCURACY --begun TIME --seconds LIMIT

LoRA of rank 8 on query and value at 1e-4, batches of 8, the whole validation split scored after each epoch. Stops after an
evaluation that reaches the target, or at the limit, and prints one JSON object: the time of the evaluation that did (None where
none has), the reviews seen by then, and the accuracy, off the clock where the limit ended it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tunebench.recipe.spec import Base
from tunebench.runs.bases import base_folder

LENGTH, BATCH, EPOCHS = 512, 8, 3


class Stop(TrainerCallback):
    """Ends a training at the limit, or once an evaluation has reached the target."""

    def __init__(self, target: float, begun: float, seconds: float) -> None:
        self.target, self.begun, self.seconds = target, begun, seconds
        self.reached: float | None = None
        self.stopped: float | None = None
        self.scores: dict[str, float] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.elapsed() > self.seconds:
            self.stopped, control.should_training_stop = self.elapsed(), True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stopped is not None:  # the Trainer would score the whole split once more, beyond the limit
            control.should_evaluate = False

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        if self.reached is None and metrics["eval_accuracy"] >= self.target and self.elapsed() <= self.seconds:
            self.reached, self.scores, control.should_training_stop = self.elapsed(), metrics, True

    def elapsed(self) -> float:
        """Seconds since the process was started."""
        return time.time() - self.begun


def rows_of(path: str, tokenizer: Any) -> Dataset:
    """Texts of a Parquet file as ids, all padded."""
    table = pq.read_table(path, columns=["text", "label"])
    found = tokenizer(table["text"].to_pylist(), padding="max_length", truncation=True, max_length=LENGTH)
    return Dataset.from_dict({**found, "labels": [int(label) for label in table["label"].to_pylist()]})


def accuracy(found: Any) -> dict[str, float]:
    """What the Trainer asks after an evaluation."""
    return {"accuracy": float((np.asarray(found.predictions).argmax(-1) == found.label_ids).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("train", "validation"):
        parser.add_argument(name)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--target", type=float, required=True)
    parser.add_argument("--begun", type=float, required=True, help="when this process was started, in seconds since 1970")
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    folder = base_folder(Base(model="starter:minilm"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=32, lora_dropout=0.1, target_modules=["query", "value"])
    stop = Stop(args.target, args.begun, args.seconds)
    with tempfile.TemporaryDirectory() as place:
        settings = TrainingArguments(
            output_dir=place,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=32,
            num_train_epochs=EPOCHS,
            learning_rate=1e-4,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            seed=args.seed,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        validation = rows_of(args.validation, tokenizer)
        trainer = Trainer(
            model=get_peft_model(model, config),
            args=settings,
            train_dataset=rows_of(args.train, tokenizer),
            eval_dataset=validation,
            compute_metrics=accuracy,
            callbacks=[stop],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        seconds = stop.stopped or stop.elapsed()
        scores = stop.scores if stop.reached else trainer.evaluate()
    found = {"reached": stop.reached, "seconds": seconds, "accuracy": scores["eval_accuracy"]}
    print(json.dumps(found | {"rows": trainer.state.global_step * BATCH, "base": Path(folder).name}))


if __name__ == "__main__":
    main()
