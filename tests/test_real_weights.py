"""The laws on real pretrained weights: MiniLM as the BERT it is, and folded into a DistilBERT."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from folding import fold_into_distilbert
from plain import Saved, plain_probabilities
from safetensors.numpy import load_file
from scored import scored_probabilities, scored_texts
from tiny import write_recipe
from warm import warm_jobs

from tunebench import jobs
from tunebench.model import bundle
from tunebench.predict.tokenize import TextEncoder
from tunebench.runs.cache import HOME_VARIABLE
from tunebench.runs.run import Run
from tunebench.runs.starter import starter_path

pytestmark = pytest.mark.slow

KEYS = [
    ("minilm", "lora", "mean"),
    ("minilm", "ia3", "cls"),
    ("minilm", "full", "mean"),
    ("minilm", "head", "mean"),
    ("distilbert", "lora", "cls"),
    ("distilbert", "ia3", "mean"),
]
ADAPTERS = [key for key in KEYS if key[1] in ("lora", "ia3")]
METHODS = {kind: {"kind": kind} for kind in ("ia3", "full", "head")} | {"lora": {"kind": "lora", "r": 8, "lora_dropout": 0.1}}
TRAIN = {
    "max_steps": 6,
    "learning_rate": None,
    "per_device_train_batch_size": 16,
    "eval_strategy": "steps",
    "eval_steps": 3,
    "metric_for_best_model": "loss",
}


@pytest.fixture(scope="module", autouse=True)
def real_state(starter_home: Path, own_state: None) -> Iterator[None]:
    """The starter files, and one proof worker that finds them too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(starter_home))
        with warm_jobs():
            yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def texts(real_state: None) -> list[str]:
    """200 real reviews of mixed length and a few long ones made of several."""
    with starter_path("reviews").open(encoding="utf-8", newline="") as file:
        found = [row["text"] for row in csv.DictReader(file)]
    drawn = random.Random(4).sample(found, 200)
    return [*drawn[:190], *(" ".join(drawn[:n]) for n in range(3, 23, 2))]


@pytest.fixture(scope="module")
def real_run(real_state: None, folder: Path) -> Callable[..., Run]:
    """Trains at first use on 96 reviews for six steps: ``real_run("minilm", "lora", "mean")``."""
    fold_into_distilbert(starter_path("minilm"), folder / "distilbert")
    bases = {"minilm": "starter:minilm", "distilbert": str(folder / "distilbert")}
    known: dict[tuple[str, ...], Run] = {}

    def trained(*key: str, runs: str = "runs") -> Run:
        if (*key, runs) not in known:
            model, method, pooling = key
            fractions = {"validation": {"fraction": 0.004, "stratify": True}, "test": {"fraction": 0.006, "stratify": True}}
            recipe = write_recipe(
                folder / "recipes" / f"{'-'.join(key)}.yaml",
                data=Path("starter:reviews"),
                base=Path(bases[model]),
                method=METHODS[method],
                train=TRAIN,
            )
            sets = [f"base.pooling={pooling}", "base.max_length=64"]
            sets += [f"data.{name}={json.dumps(value)}" for name, value in (fractions | {"max_train_samples": 96}).items()]
            known[(*key, runs)] = jobs.train(str(recipe), sets, folder / runs, lambda event: None).run
        return known[(*key, runs)]

    return trained


@pytest.fixture(scope="module")
def merged_run(real_run: Callable[..., Run]) -> Callable[..., Run]:
    def merged(*key: str) -> Run:
        run = real_run(*key)
        if not (run.path / "merged").is_dir():
            jobs.merge(str(run.path), run.path.parent, lambda event: None)
        return run

    return merged


@pytest.fixture(scope="module")
def opened_plainly(
    merged_run: Callable[..., Run], real_run: Callable[..., Run], folder: Path
) -> dict[tuple[str, ...], np.ndarray]:
    models: dict[tuple[str, ...], Saved] = {}
    for key in KEYS:
        run = (merged_run if key in ADAPTERS else real_run)(*key)
        for name in (run.weights.name, "merged") if key in ADAPTERS else ("model",):
            models[(*key, name)] = Saved(run.path, name, scored_texts(run), starter_path("minilm"))
    found = plain_probabilities(list(models.values()), folder)
    return {key: np.array(rows) for key, rows in zip(models, found, strict=True)}


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_another_process_finds_the_logits_that_were_scored(real_run: Callable[..., Run], key: tuple[str, ...]) -> None:
    run = real_run(*key)
    proof = run.metrics["proofs"][0]
    assert (proof["name"], proof["passed"], proof["label_flips"]) == ("reload", True, 0)
    assert proof["largest_difference"] <= 1e-6
    assert run.manifest["data"]["train"]["rows"] == 96


@pytest.mark.parametrize("key", ADAPTERS, ids="-".join)
def test_merging_changes_nothing_beyond_rounding(merged_run: Callable[..., Run], key: tuple[str, ...]) -> None:
    proof = merged_run(*key).metrics["proofs"][-1]
    assert (proof["name"], proof["passed"], proof["label_flips"]) == ("merge", True, 0)
    assert proof["largest_difference"] <= 1e-4


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_plain_peft_and_transformers_open_what_was_saved_by_the_lines_of_its_card(
    real_run: Callable[..., Run], opened_plainly: dict[tuple[str, ...], np.ndarray], key: tuple[str, ...]
) -> None:
    run = real_run(*key)
    found = {name: rows for (*known, name), rows in opened_plainly.items() if tuple(known) == key}
    assert set(found) == ({"adapter", "merged"} if key in ADAPTERS else {"model"})
    for name, rows in found.items():
        assert np.abs(rows - scored_probabilities(run)).max() <= 1e-5, name


@pytest.mark.parametrize(
    "key", [("minilm", "lora", "mean"), ("minilm", "full", "mean"), ("distilbert", "ia3", "mean")], ids="-".join
)
def test_the_same_recipe_leaves_the_same_bytes(real_run: Callable[..., Run], key: tuple[str, ...]) -> None:
    one, other = (real_run(*key, runs=runs) for runs in ("runs", "again"))
    saved = [path.relative_to(one.path).as_posix() for path in one.weights.iterdir() if path.suffix in (".safetensors", ".json")]
    for name in (*saved, "predictions.parquet", "splits.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert one.metrics["test"] == other.metrics["test"]
    assert one.metrics["best_step"] == other.metrics["best_step"]


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_batches_order_and_neighbours_change_no_probability(
    real_run: Callable[..., Run], texts: list[str], key: tuple[str, ...]
) -> None:
    run, some = real_run(*key), texts[165:]
    alone = bundle.open_scorer(run, batch_size=1).score(some).probabilities
    assert np.ptp(alone[:, 0]) > 1e-3
    for batch_size in (3, 32):
        assert np.abs(bundle.open_scorer(run, batch_size=batch_size).score(some).probabilities - alone).max() <= 1e-5
    order = random.Random(1).sample(range(len(some)), len(some))
    shuffled = bundle.open_scorer(run).score([some[i] for i in order]).probabilities
    assert np.abs(shuffled - alone[order]).max() <= 1e-5


@pytest.mark.parametrize("key", [("minilm", "ia3", "cls"), ("distilbert", "lora", "cls")], ids="-".join)
def test_real_reviews_come_back_row_for_row_with_the_probabilities_of_the_scores(
    real_run: Callable[..., Run], texts: list[str], tmp_path: Path, key: tuple[str, ...]
) -> None:
    run = real_run(*key)
    lines = [{"id": f"r{i}", "text": text} for i, text in enumerate([*texts, "", "  "])]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    done = jobs.predict_file(str(run.path), tmp_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl", None, lambda rows: None)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [{key: row[key] for key in ("id", "text")} for row in found] == lines
    assert [bool(row["error"]) for row in found] == [False] * 200 + [True] * 2
    expected = bundle.open_scorer(run, batch_size=7).score(texts)
    given = np.array([[row[f"probability_{name}"] for name in ("negative", "positive")] for row in found[:200]])
    assert np.abs(given - expected.probabilities).max() <= 1e-5
    assert [row["truncated"] for row in found[:200]] == expected.truncated
    assert done["truncated"] == sum(expected.truncated) > 0


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_names_survive_every_save(merged_run: Callable[..., Run], real_run: Callable[..., Run], key: tuple[str, ...]) -> None:
    run = (merged_run if key in ADAPTERS else real_run)(*key)
    assert run.manifest["labels"]["names"] == ["negative", "positive"]
    whole = run.path / ("merged" if key in ADAPTERS else "model")
    config = json.loads((whole / "config.json").read_text("utf-8"))
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["model_type"] == ("distilbert" if key[0] == "distilbert" else "bert")


def test_a_distilbert_adapter_holds_its_updates_and_its_whole_new_head(real_run: Callable[..., Run]) -> None:
    run = real_run("distilbert", "lora", "cls")
    weights = load_file(run.weights / "adapter_model.safetensors")
    assert any("q_lin.lora_B" in name and np.abs(array).max() > 0 for name, array in weights.items())
    assert {name.split(".")[2] for name in weights if "lora_" not in name} == {"pre_classifier", "classifier"}


@pytest.mark.parametrize("max_length", [16, 128])
def test_token_ids_are_those_of_transformers(real_run: Callable[..., Run], texts: list[str], max_length: int) -> None:
    from transformers import AutoTokenizer

    run = real_run("minilm", "lora", "mean")
    odd = ["", "  ", "É naïve", "一 二", "a\u0000b \u200b", "[MASK] [SEP]", "x" * 300, "👩‍👩‍👧 \ud7ff"]
    for place in (starter_path("minilm"), run.weights):
        encoded = TextEncoder(place, max_length).encode([*texts, *odd])
        expected = AutoTokenizer.from_pretrained(str(place))([*texts, *odd], truncation=True, max_length=max_length)
        assert encoded.ids == expected["input_ids"]
        whole = AutoTokenizer.from_pretrained(str(place))([*texts, *odd], truncation=False)["input_ids"]
        assert encoded.truncated == [len(ids) > max_length for ids in whole]
        assert any(encoded.truncated)
