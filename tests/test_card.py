"""The model card: front matter that the hub reads, code that compiles, and nothing of the machine it was made on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from shelf import finished_run

from tunebench.recipe.load import parse_yaml, validate
from tunebench.runs.card import model_card
from tunebench.runs.run import Run

KINDS = ["lora", "ia3", "full", "head"]
ODD = ['<script>alert("x")</script>', "two\nlines `tick` | bar"]


def card(run: Run, *, merged: bool = False) -> str:
    return model_card(run, run.metrics, merged=merged)


def front_matter(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    return dict(yaml.safe_load(text.split("---\n")[1]))


def block(text: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(found)


@pytest.mark.parametrize(
    ("kind", "merged", "library"),
    [
        ("lora", False, "peft"),
        ("ia3", False, "peft"),
        ("lora", True, "transformers"),
        ("full", False, "transformers"),
        ("head", False, "transformers"),
    ],
)
def test_the_front_matter_names_library_base_and_scores(kind: str, *, merged: bool, library: str, tmp_path: Path) -> None:
    head = front_matter(card(finished_run(tmp_path, method={"kind": kind}), merged=merged))
    assert (head["library_name"], head["base_model"], head["tags"]) == (library, "bert-base-uncased", ["tunebench", kind])
    (entry,) = head["model-index"]
    (result,) = entry["results"]
    assert (entry["name"], result["task"], result["dataset"]["name"]) == ("a", {"type": "text-classification"}, "train.csv")
    assert result["metrics"] == [
        {"type": "accuracy", "name": "Accuracy", "value": 0.9},
        {"type": "f1_macro", "name": "Macro F1", "value": 0.9},
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("model", ["org/base", "starter:minilm", 'fold"er'])
def test_the_code_compiles_and_opens_the_folder_it_stands_in(kind: str, pooling: str, model: str, tmp_path: Path) -> None:
    run = finished_run(tmp_path, method={"kind": kind}, base={"model": model, "pooling": pooling})
    code = block(card(run), "python")
    compile(code, "card", "exec")
    assert f'from_pretrained("{run.weights.name}")' in code
    assert ("PeftModel" in code) is (kind in ("lora", "ia3"))
    assert ("TokenClassification" in code) is (pooling == "mean")


def test_the_code_of_a_merged_model_needs_no_peft(tmp_path: Path) -> None:
    code = block(card(finished_run(tmp_path), merged=True), "python")
    compile(code, "card", "exec")
    assert "peft" not in code
    assert 'from_pretrained("merged")' in code


def test_the_recipe_in_the_card_loads_and_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "bases" / "minilm").mkdir(parents=True)
    files = {name: str(tmp_path / f"{name}.csv") for name in ("train", "validation", "test")}
    text = card(finished_run(tmp_path / "runs", base={"model": str(tmp_path / "bases" / "minilm")}, data=files))
    shared = validate(parse_yaml(block(text, "yaml"), "card"), "card")
    assert shared.base is not None
    assert (shared.base.model, shared.data.train, shared.data.test) == ("minilm", "train.csv", "test.csv")
    assert 'from_pretrained("../../bases/minilm", id2label=' in text
    assert str(tmp_path) not in text


def test_scores_stand_with_their_intervals_and_baselines(tmp_path: Path) -> None:
    text = card(finished_run(tmp_path))
    assert "| Accuracy | 0.9000 | 0.8256 – 0.9448 |" in text
    assert "| baseline majority, accuracy | 0.9000 |" in text
    assert "On 100 test rows, with 95 % intervals. Precision, recall and F1 speak of `positive`." in text
    assert "reload, largest logit difference 0.0e+00 on 64 rows, 0 label flips" in text


def test_a_run_without_a_test_split_says_so_and_has_no_index(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    run.write_json("metrics.json", run.metrics | {"test": None})
    assert "The recipe has no test split." in card(run)
    assert "model-index" not in front_matter(card(run))


def test_labels_are_listed_by_their_place_and_cannot_break_the_page(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    manifest = run.manifest
    manifest["labels"]["names"] = ODD
    run.write_json("manifest.json", manifest)
    listed = card(run).split("## Labels")[1].split("##")[0].strip().splitlines()
    assert listed[-2].startswith("- 0: ")
    assert listed[-1].startswith("- 1: ")
    assert "two\\nlines" in listed[-1]
