"""Runs of causal language models, whole: prompts, questions and documents through `train`, `merge` and a fresh process."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file
from tiny import BAD, FILLER, GOOD, write_base, write_csv

from tunebench import jobs
from tunebench.errors import InputError
from tunebench.events import Event, Proved, Scored, Step, Warned
from tunebench.predict.prompts import parse_answer
from tunebench.runs.run import Run

LORA = {"kind": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1}
STEPS = {
    "max_steps": 6,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-2,
    "eval_strategy": "steps",
    "eval_steps": 3,
    "bf16": False,
}
PROMPT = {"template": "the story is: {text} a film is very", "label_words": {"negative": "bad", "positive": "good"}}
CHAT = "{% for m in messages %}{{ m.role }} {{ m.content }} . {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
ASKING = {"template": "{passage} {question} {choices} is"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama that can write, labelled texts, questions and documents."""
    place = tmp_path_factory.mktemp("causal")
    write_base(place / "llama", "llama", causal=True, dropout=0.0, positions=128)
    settings = json.loads((place / "llama" / "tokenizer_config.json").read_text("utf-8"))
    (place / "llama" / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": CHAT}), "utf-8")
    write_csv(place / "texts.csv")
    questions(place / "questions.csv", 40)
    documents(place / "documents.jsonl", 40)
    chats(place / "chats.jsonl", 40)
    return place


def questions(path: Path, number: int) -> None:
    """Questions whose answer is the option that the passage names."""
    words = [*GOOD, *BAD]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "passage", "question", "a", "b", "c", "answer"])
        for i in range(number):
            options = [words[(i + k * 5) % len(words)] for k in range(3)]
            out.writerow([f"q{i}", f"the film {i % 10} is {options[i % 3]}", "the film is", *options, i % 3 + 1])


def documents(path: Path, number: int) -> None:
    lines = [{"id": i, "text": " ".join(FILLER[(i + k * k) % len(FILLER)] for k in range(10 + i % 30))} for i in range(number)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def chats(path: Path, number: int) -> None:
    """Questions about films and their answers; some are longer than any row."""
    words = [*GOOD, *BAD]
    lines = []
    for i in range(number):
        asked = {"role": "user", "content": f"is the film {words[i % 12]}" + " the plot" * (80 if i % 8 == 7 else 0)}
        lines.append({"messages": [asked, {"role": "assistant", "content": f"the film is {words[i % 12]}"}]})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def write(folder: Path, name: str, task: str, data: dict[str, Any], **changes: Any) -> str:
    split = {"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}
    base = {"model": "llama", "max_length": 60}
    recipe = {"name": name, "seed": 3, "task": task, "base": base, "data": split | data, "method": LORA, "train": STEPS} | changes
    recipe = {key: value for key, value in recipe.items() if value is not None}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return str(folder / f"{name}.yaml")


def train(folder: Path, source: str, said: list[Event] | None = None) -> Run:
    return jobs.train(source, [], folder / "runs", (said if said is not None else []).append).run


TASKS: dict[str, dict[str, Any]] = {
    "prompt-classification": {"data": {"train": "texts.csv", "id": "id"}, "prompt": PROMPT},
    "multiple-choice": {"data": {"train": "questions.csv", "id": "id", "choices": ["a", "b", "c"]}, "prompt": ASKING},
    "language-modeling": {"data": {"train": "documents.jsonl", "id": "id"}},
    "instruction": {"data": {"train": "chats.jsonl"}},
}


@pytest.fixture(scope="module")
def trained(folder: Path, warm: None) -> Callable[..., Run]:
    known: dict[str, Run] = {}

    def run(task: str, method: str = "lora") -> Run:
        name = f"{task}-{method}"
        if name not in known:
            changes = {} if method == "lora" else {"method": {"kind": method}}
            changes |= {"train": None} if method == "zero-shot" else {}
            known[name] = train(folder, write(folder, name, task, **(TASKS[task] | changes)))
        return known[name]

    return run


CASES = [(task, method) for task in TASKS for method in ("lora", "full", "ia3")]
CASES += [("prompt-classification", "zero-shot"), ("multiple-choice", "zero-shot")]


@pytest.mark.parametrize(("task", "method"), CASES)
def test_what_was_scored_is_what_a_fresh_process_finds(trained: Callable[..., Run], task: str, method: str) -> None:
    run = trained(task, method)
    (reload,) = [event for event in run.events() if isinstance(event, Proved)]
    assert reload.passed
    assert reload.largest_difference <= 1e-6
    assert sum(isinstance(event, Scored) for event in run.events()) == 1
    if task not in ("prompt-classification", "multiple-choice"):
        table = pq.read_table(run.path / "losses.parquet").to_pydict()
        losses = [value for value, error in zip(table["loss"], table["error"], strict=True) if error is None]
        assert len(losses) >= 4
        assert np.isfinite(losses).all()
        return
    table = pq.read_table(run.path / "predictions.parquet").to_pydict()
    names = run.manifest["labels"]["names"]
    total = sum(np.array(table[f"probability_{name}"]) for name in names)
    assert np.abs(total - 1).max() < 1e-9
    assert run.metrics["test"]["accuracy"]["n"] == len(table["predicted"])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_merged_equals_unmerged_and_opens_with_plain_transformers(
    folder: Path, trained: Callable[..., Run], task: str, method: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = trained(task, method)
    done = jobs.merge(run.name, folder / "runs", lambda event: None)
    assert done["proof"]["passed"]
    assert done["proof"]["largest_difference"] <= 1e-4
    model = AutoModelForCausalLM.from_pretrained(done["merged"])
    tokenizer = AutoTokenizer.from_pretrained(done["merged"])
    ids = tokenizer("the film is", return_tensors="pt")
    assert model(**ids).logits.shape[-1] == model.config.vocab_size


def test_perplexity_is_told_before_and_after_and_falls(trained: Callable[..., Run]) -> None:
    test = trained("language-modeling").metrics["test"]
    for key in ("perplexity_per_token", "perplexity_per_character"):
        assert test[key]["low"] <= test[key]["value"] <= test[key]["high"]
        assert test[key]["value"] < test["before"][key]["value"]
    assert test["characters"] > test["tokens"] > test["n"] == 8
    table = pq.read_table(trained("language-modeling").path / "losses.parquet").to_pydict()
    assert sum(table["loss"]) / sum(table["tokens"]) == pytest.approx(test["loss"])


def test_a_row_whose_answer_is_cut_away_is_left_out_and_counted(trained: Callable[..., Run]) -> None:
    run = trained("instruction")
    said = [event.message for event in run.events() if isinstance(event, Warned)]
    scored = pq.read_table(run.path / "losses.parquet").to_pydict()
    refused = [error for error in scored["error"] if error]
    long = {str(number) for number in range(8, 41, 8)}  # rows are counted from 1
    splits = json.loads((run.path / "splits.json").read_text("utf-8"))
    lost = len(long & set(splits["train"]))
    assert lost > 0
    assert any(f"{lost} of 26 training rows are left out: no answer is left within 60 tokens" in line for line in said), said
    assert len(refused) == len(long & set(splits["test"]))
    assert run.metrics["test"]["unscored"] == len(refused)
    test = run.metrics["test"]
    assert test["perplexity_per_token"]["value"] < test["before"]["perplexity_per_token"]["value"]


def test_packed_rows_learn_the_same_tokens(folder: Path, trained: Callable[..., Run]) -> None:
    source = write(folder, "packed", "language-modeling", TASKS["language-modeling"]["data"], train=STEPS | {"packing": True})
    run = train(folder, source)
    assert (
        run.metrics["test"]["perplexity_per_character"]["value"]
        < run.metrics["test"]["before"]["perplexity_per_character"]["value"]
    )


def test_answers_are_learned(folder: Path, trained: Callable[..., Run]) -> None:
    """The tiny model learns a rule that its base does not know, by the answers alone."""
    longer = STEPS | {"max_steps": 90, "eval_steps": 30, "learning_rate": 3e-3}
    settings = TASKS["prompt-classification"] | {"method": {"kind": "full"}, "train": longer}
    source = write(folder, "learned", "prompt-classification", **settings)
    assert train(folder, source).metrics["test"]["accuracy"]["value"] >= 0.9
    assert trained("prompt-classification", "zero-shot").metrics["test"]["accuracy"]["value"] < 0.9


def test_rows_to_answer_are_answered_into_a_file_for_graders(folder: Path, warm: None) -> None:
    asked = {"file": "questions.csv", "id": "id"}
    data = TASKS["multiple-choice"]["data"] | {"predict": asked}
    run = train(folder, write(folder, "answers", "multiple-choice", data, prompt=ASKING))
    rows = list(csv.DictReader((run.path / "answers.csv").read_text("utf-8").splitlines()))
    assert [row["ID"] for row in rows] == [f"q{i}" for i in range(40)]
    assert {row["Answer"] for row in rows} <= {"1", "2", "3"}
    assert pq.read_table(run.path / "answers.parquet").num_rows == 40
    assert run.metrics["answers"]["rows"] == 40


def test_generated_answers_that_name_no_label_are_counted_as_wrong(
    folder: Path, warm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = PROMPT | {"decode": "generate"}
    run = train(
        folder, write(folder, "written", "prompt-classification", TASKS["prompt-classification"]["data"], prompt=generate)
    )
    test = run.metrics["test"]
    table = pq.read_table(run.path / "predictions.parquet").to_pydict()
    assert test["accuracy"]["n"] == len(table["predicted"])
    assert test["invalid"] == table["predicted"].count(None)
    right = sum(expected == found for expected, found in zip(table["label"], table["predicted"], strict=True))
    assert test["accuracy"]["value"] == pytest.approx(right / len(table["predicted"]))
    words = run.manifest["prompt"]["words"]
    for text, found in list(zip(table["text"], table["predicted"], strict=True))[:3]:
        named = parse_answer(written_by_card(run, text, monkeypatch), words, "prompt-classification")
        assert (None if named is None else run.manifest["labels"]["names"][named]) == found


def written_by_card(run: Run, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the lines of the model card write, run as they stand, about a text of ours."""
    block = re.search(r"```python\n(.*?)```", (run.weights / "README.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    assert '"a text"' in block[1]
    monkeypatch.chdir(run.path)
    space: dict[str, Any] = {}
    exec(block[1].replace('"a text"', repr(text)), space)
    return str(space["answer"])


def test_the_same_command_again_does_nothing(folder: Path, trained: Callable[..., Run]) -> None:
    run = trained("prompt-classification")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert jobs.train(str(folder / f"{run.name}.yaml"), [], folder / "runs", lambda event: None).already_finished
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_batch_computed_in_parts_gives_the_same_weights(folder: Path, warm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TASKS["prompt-classification"] | {"method": LORA | {"lora_dropout": 0.0}}
    runs = []
    for name, most in (("whole", 4096), ("parts", 64)):
        monkeypatch.setattr("tunebench.model.objectives.CPU_TOKENS", most)
        runs.append(train(folder, write(folder, name, "prompt-classification", **plain)))
    whole, parts = (load_file(run.path / "adapter" / "adapter_model.safetensors") for run in runs)
    assert max(float(np.abs(whole[name] - parts[name]).max()) for name in whole) < 1e-4
    assert [event.tokens for event in runs[0].events() if isinstance(event, Step)] == [
        event.tokens for event in runs[1].events() if isinstance(event, Step)
    ]


def test_a_merge_file_by_file_is_the_merge_in_memory(folder: Path, trained: Callable[..., Run], tmp_path: Path) -> None:
    """Also of a base in several files and in bfloat16, with rank-stabilised LoRA."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = write_base(tmp_path / "mistral", "mistral", causal=True, positions=128)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model.save_pretrained(base, max_shard_size="20KB")
    assert len(list(base.glob("model-*.safetensors"))) > 1
    method = LORA | {"use_rslora": True, "target_modules": "all-linear"}
    settings = TASKS["prompt-classification"] | {"base": {"model": str(base), "max_length": 60}, "method": method}
    run = train(folder, write(folder, "sharded", "prompt-classification", **settings))
    assert jobs.merge(run.name, folder / "runs", lambda event: None)["proof"]["passed"]
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = PeftModel.from_pretrained(plain, str(run.path / "adapter")).merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(run.path / "merged").state_dict()
    assert expected.keys() == found.keys()
    assert max(float((expected[name] - found[name]).abs().max()) for name in expected) < 1e-6
    assert {path.name for path in (run.path / "merged").glob("*.safetensors")} == {
        path.name for path in base.glob("*.safetensors")
    }


def test_rows_that_do_not_fit_prove_nothing_and_hinder_no_proof(folder: Path, warm: None) -> None:
    rows = list(csv.DictReader((folder / "questions.csv").read_text("utf-8").splitlines()))
    write_csv(folder / "unfit.csv", [*rows[:5], rows[5] | {"a": " ".join(FILLER * 8)}])
    data = TASKS["multiple-choice"]["data"] | {"test": "unfit.csv"}
    trained = train(folder, write(folder, "unfit", "multiple-choice", data, prompt=ASKING))
    assert trained.metrics["test"]["unscored"] == 1
    merged = jobs.merge(trained.name, folder / "runs", lambda event: None)["proof"]
    assert (merged["passed"], merged["rows"]) == (True, 5)
    asked = {"method": {"kind": "zero-shot"}, "train": None, "prompt": ASKING}
    run = train(folder, write(folder, "unfit-asked", "multiple-choice", data | {"validation": "unfit.csv"}, **asked))
    assert [(proof["passed"], proof["rows"]) for proof in run.metrics["proofs"]] == [(True, 5)]


def test_test_rows_of_which_none_can_be_scored_are_refused_before_training(folder: Path, warm: None) -> None:
    long = [line for line in (folder / "chats.jsonl").read_text("utf-8").splitlines() if "the plot the plot" in line]
    (folder / "long.jsonl").write_text("\n".join(long) + "\n", encoding="utf-8")
    said: list[Event] = []
    with pytest.raises(InputError, match=r"data\.test: no row is left: no answer is left within 60 tokens"):
        train(folder, write(folder, "nothing", "instruction", {"train": "chats.jsonl", "test": "long.jsonl"}), said)
    assert not any(isinstance(event, Step) for event in said)
