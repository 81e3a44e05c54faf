"""Law 8: labels are names. Ids stay below; names survive every save, merge and prediction, whatever they look like."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from shelf import tunebench
from tiny import METHODS, World, make_rows, write_csv, write_recipe

from tunebench import binding, jobs
from tunebench.data.labels import LabelMap, make_label_map, shown_name
from tunebench.runs.run import Run
from tunebench.terminal import predictions_text, scores_text

ODD = ("b", "a", "10", "9", "not so good, really", "très bien ★", "two\nlines")
IN_ORDER = sorted(ODD)  # by code point, as not all are numbers


@pytest.fixture(scope="module")
def odd_run(world: World, warm: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A merged LoRA run over labels that a careless writer would break."""
    folder = tmp_path_factory.mktemp("labels")
    data = write_csv(folder / "odd.csv", make_rows(84, ODD))
    recipe = write_recipe(folder / "odd.yaml", data=data, base=world.bases["bert"])
    run = jobs.train(str(recipe), [], folder / "runs", lambda event: None).run
    jobs.merge(str(run.path), folder / "runs", lambda event: None)
    return run


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("b", "a", "10", "9"), ("10", "9", "a", "b")),
        (("10", "9", "-1", "2.5"), ("-1", "2.5", "9", "10")),
        (("neu tral", "é", "a,b", "x\ny", "Z"), ("Z", "a,b", "neu tral", "x\ny", "é")),
        (("nan", "2", "10", "1"), ("1", "10", "2", "nan")),
        (("01", "1", "1.0"), ("01", "1", "1.0")),
    ],
)
def test_the_order_of_labels_follows_from_their_names_alone(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    for seed in range(20):
        shuffled = random.Random(seed).choices(names, k=50) + list(names)
        assert make_label_map(shuffled, None, {}, "train").names == expected


def test_row_order_changes_no_label_id(world: World, tmp_path: Path) -> None:
    rows = make_rows(84, ODD)
    found = []
    for name, ordered in (("one", rows), ("other", rows[::-1])):
        recipe = write_recipe(tmp_path / f"{name}.yaml", data=write_csv(tmp_path / f"{name}.csv", ordered))
        found.append(binding.bind(str(recipe)).data)
    assert found[0].labels == found[1].labels
    ids = [dict(zip(data.train.ids, data.labels.ids(data.train.labels), strict=True)) for data in found]
    assert all(ids[0][key] == ids[1][key] for key in ids[0].keys() & ids[1].keys())


def test_names_survive_manifest_adapter_and_merged_model(odd_run: Run) -> None:
    assert odd_run.manifest["labels"]["names"] == IN_ORDER
    config = json.loads((odd_run.path / "merged" / "config.json").read_text("utf-8"))
    assert config["id2label"] == {str(i): name for i, name in enumerate(IN_ORDER)}
    assert config["label2id"] == {name: i for i, name in enumerate(IN_ORDER)}
    head = load_file(odd_run.weights / "adapter_model.safetensors")["base_model.model.classifier.weight"]
    assert len(head) == len(IN_ORDER)
    for folder in ("adapter", "merged"):
        card = (odd_run.path / folder / "README.md").read_text("utf-8")
        assert all(json.dumps(name, ensure_ascii=False) in card for name in IN_ORDER)


def test_a_whole_model_carries_the_names_in_its_config(world: World, warm: None, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "odd.csv", make_rows(84, ODD))
    recipe = write_recipe(tmp_path / "whole.yaml", data=data, base=world.bases["bert"], method=METHODS["head"])
    run = jobs.train(str(recipe), [], tmp_path / "runs", lambda event: None).run
    config = json.loads((run.weights / "config.json").read_text("utf-8"))
    assert config["id2label"] == {str(i): name for i, name in enumerate(IN_ORDER)}


def test_names_are_columns_and_answers_of_predictions(odd_run: Run, tmp_path: Path) -> None:
    table = pq.read_table(odd_run.path / "predictions.parquet")
    columns = [name for name in table.column_names if name.startswith("probability_")]
    assert columns == [f"probability_{name}" for name in IN_ORDER]
    rows = table.to_pylist()
    for row in rows:
        best = max(IN_ORDER, key=lambda name: row[f"probability_{name}"])
        assert row["predicted"] == best
    source = write_csv(tmp_path / "in.csv", [{"text": row["text"]} for row in rows])
    jobs.predict_file(str(odd_run.path), tmp_path, source, tmp_path / "out.parquet", None, lambda rows: None)
    again = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["predicted"] for row in again] == [row["predicted"] for row in rows]
    (found,) = jobs.predict_texts(str(odd_run.path), tmp_path, [rows[0]["text"]])
    assert list(found["probabilities"]) == IN_ORDER
    assert found["predicted"] == rows[0]["predicted"]


def test_scores_speak_of_names(odd_run: Run) -> None:
    test = odd_run.metrics["test"]
    assert list(test["per_label"]) == IN_ORDER
    assert test["confusion"]["labels"] == IN_ORDER
    assert test["positive_label"] is None


def test_a_number_a_number_with_a_point_and_its_digits_are_one_label(world: World, tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(i), "text": "good film", "label": (1, 1.0, "1", True, 0, "0")[i % 6]}) for i in range(60)]
    (tmp_path / "mixed.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = write_recipe(tmp_path / "mixed.yaml", data=tmp_path / "mixed.jsonl")
    assert binding.bind(str(recipe)).data.labels.names == ("0", "1", "true")


def test_display_names_change_what_a_terminal_shows_and_nothing_else(world: World, warm: None, tmp_path: Path) -> None:
    shown = {"negative": "schlecht", "positive": "gut"}
    runs: dict[str, Run] = {}
    for name, changes in (("plain", {}), ("shown", {"label_names": shown})):
        recipe = write_recipe(tmp_path / name / "same.yaml", data=world.data, base=world.bases["bert"])
        overrides = [f"data.label_names={json.dumps(changes['label_names'])}"] if changes else []
        runs[name] = jobs.train(str(recipe), overrides, tmp_path / name / "runs", lambda event: None).run

    def lasting(run: Run) -> list[Any]:
        metrics = {key: run.metrics[key] for key in ("test", "baselines", "proofs", "best_step")}
        return [
            metrics,
            *((run.path / name).read_bytes() for name in ("predictions.parquet", "adapter/adapter_model.safetensors")),
        ]

    assert lasting(runs["plain"]) == lasting(runs["shown"])
    assert runs["shown"].manifest["labels"]["display"] == shown
    for name, words, others in (("plain", shown.keys(), shown.values()), ("shown", shown.values(), shown.keys())):
        run = runs[name]
        answers = jobs.predict_texts(str(run.path), tmp_path, ["good film", "dull plot"])
        assert {answer["predicted"] for answer in answers} <= set(shown)
        assert all(set(answer["probabilities"]) == set(shown) for answer in answers)
        text = scores_text(jobs.evaluate(str(run.path), tmp_path)) + predictions_text(answers)
        assert all(word in text for word in words)
        assert not any(other in text.replace("positive label:", "") for other in others)


def test_a_label_map_comes_back_from_the_manifest_as_it_was() -> None:
    labels = LabelMap(tuple(IN_ORDER), None, {"a": "A"})
    assert LabelMap.from_dict(json.loads(json.dumps(labels.as_dict()))) == labels


LANGUAGES = {
    "pos": {"en": "Positive", "zh-TW": "正面", "pt": "Positivo", "pt-BR": "Positivo!"},
    "neg": {"de": "Negativ"},
    "x": "X!",
}


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        (None, ["Positive", "neg", "X!", "other"]),
        ("en", ["Positive", "neg", "X!", "other"]),
        ("en-GB", ["Positive", "neg", "X!", "other"]),
        ("zh-TW", ["正面", "neg", "X!", "other"]),
        ("zh_tw", ["正面", "neg", "X!", "other"]),
        ("zh", ["Positive", "neg", "X!", "other"]),
        ("pt-BR", ["Positivo!", "neg", "X!", "other"]),
        ("pt-PT", ["Positivo", "neg", "X!", "other"]),
        ("de-AT", ["Positive", "Negativ", "X!", "other"]),
        ("xx", ["Positive", "neg", "X!", "other"]),
    ],
)
def test_a_label_is_called_as_the_language_of_the_reader_has_it(language: str | None, shown: list[str]) -> None:
    labels = LabelMap(("neg", "other", "pos", "x"), None, LANGUAGES)
    assert [shown_name(labels.display, name, language) for name in ("pos", "neg", "x", "other")] == shown


def test_the_command_line_speaks_the_language_of_the_environment_and_json_has_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    display = {"positive": {"en": "Good", "zh-TW": "正面"}, "negative": "Bad"}
    recipe = write_recipe(tmp_path / "named.yaml", data=write_csv(tmp_path / "t.csv"))
    options = ["--set", f"data.label_names={json.dumps(display)}", "--runs", tmp_path]
    assert tunebench(capsys, "train", recipe, *options)[0] == 0
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    asked = ["predict", "named", "--text", "a good film", "--runs", tmp_path]
    for variable, value, word in [("LANG", "en_US.UTF-8", "Good"), ("LC_ALL", "zh_TW.UTF-8", "正面"), ("LC_ALL", "C", "Good")]:
        monkeypatch.setenv(variable, value)
        assert word in tunebench(capsys, *asked)[1]
        assert word in tunebench(capsys, "evaluate", "named", "--runs", tmp_path)[1]
        (item,) = json.loads(tunebench(capsys, *asked, "--json")[1])
        assert item["predicted"] in display
        assert (set(item["probabilities"]), item["display"]) == (set(display), display)
