"""From what a recipe says to what it means, and which changes make it another experiment."""

from __future__ import annotations

from typing import Any

import pytest

from tunebench.errors import InputError
from tunebench.recipe.load import validate
from tunebench.recipe.prompt import TEMPLATES
from tunebench.recipe.resolve import LEARNING_RATES, differing_keys, digest_of, flatten, identity, resolve
from tunebench.recipe.spec import Recipe, Task

BERT_IA3 = r".*\.(key|value|layer\.\d+\.output\.dense)"


def recipe(kind: str = "lora", *, pooling: str = "cls", **changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": "a",
        "base": {"model": "somewhere", "pooling": pooling},
        "data": {"train": "train.csv", "validation": {"fraction": 0.1}, "test": "test.csv"},
        "method": {"kind": kind},
        "train": {"max_steps": 3},
    }
    for key, value in changes.items():
        settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
    return validate({key: value for key, value in settings.items() if value is not None}, "r.yaml")


def resolved_method(kind: str, model_type: str, pooling: str = "cls", **settings: Any) -> dict[str, Any]:
    return resolve(recipe(kind, pooling=pooling, method=settings), model_type).method.model_dump()


@pytest.mark.parametrize(
    ("model_type", "pooling", "targets", "head"),
    [
        ("bert", "cls", ["query", "value"], ["classifier"]),
        ("roberta", "cls", ["query", "value"], ["classifier"]),
        ("distilbert", "cls", ["q_lin", "v_lin"], ["pre_classifier", "classifier"]),
        ("distilbert", "mean", ["q_lin", "v_lin"], ["classifier"]),
    ],
)
def test_lora_gets_the_targets_and_the_new_head_of_the_architecture(
    model_type: str, pooling: str, targets: list[str], head: list[str]
) -> None:
    method = resolved_method("lora", model_type, pooling)
    assert (method["target_modules"], method["modules_to_save"]) == (targets, head)


@pytest.mark.parametrize(
    ("model_type", "targets"), [("bert", BERT_IA3), ("roberta", BERT_IA3), ("distilbert", ["k_lin", "v_lin", "lin2"])]
)
def test_ia3_gets_keys_values_and_only_the_feed_forward_output(model_type: str, targets: list[str] | str) -> None:
    assert resolved_method("ia3", model_type)["target_modules"] == targets


def test_targets_of_the_recipe_stay_as_they_are() -> None:
    method = resolved_method("ia3", "distilbert", target_modules=["k_lin", "lin1"])
    assert method["target_modules"] == ["k_lin", "lin1"]
    assert method["feedforward_modules"] == []


@pytest.mark.parametrize("kind", ["full", "head", "lora", "ia3"])
def test_the_learning_rate_follows_the_method(kind: str) -> None:
    assert resolve(recipe(kind), "bert").settings.learning_rate == LEARNING_RATES[kind]
    assert resolve(recipe(kind, train={"learning_rate": 0.25}), "bert").settings.learning_rate == 0.25


@pytest.mark.parametrize("model_type", ["gpt2", "t5", None])
def test_an_architecture_without_tested_laws_is_refused_with_the_ones_that_have_them(model_type: str | None) -> None:
    with pytest.raises(InputError, match="is proved here on bert, distilbert, roberta"):
        resolve(recipe(), model_type)


def test_an_empty_list_in_the_recipe_is_no_default() -> None:
    assert resolved_method("ia3", "distilbert", feedforward_modules=[])["feedforward_modules"] == []
    with pytest.raises(InputError, match=r"method.target_modules: expected a list of at least 1"):
        recipe("lora", method={"target_modules": []})


def test_a_baseline_needs_no_architecture() -> None:
    plain = recipe("majority", base=None, train=None)
    assert resolve(plain, None) == plain


def test_a_part_of_the_new_head_that_would_not_be_saved_is_refused() -> None:
    with pytest.raises(InputError, match=r"method.modules_to_save: lacks pre_classifier of the new head"):
        resolved_method("lora", "distilbert", modules_to_save=["classifier"])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "b"},
        {"base": {"model": "/moved/elsewhere", "revision": "main"}},
        {"data": {"train": "moved.parquet", "test": "moved.jsonl"}},
    ],
)
def test_names_and_places_are_no_part_of_the_identity(changes: dict[str, Any]) -> None:
    assert identity(recipe(**changes), "data", "base") == identity(recipe(), "data", "base")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"method": {"r": 16}}, "method.r"),
        ({"train": {"max_steps": 4}}, "train.max_steps"),
        ({"base": {"max_length": 32}}, "base.max_length"),
        ({"data": {"validation": {"fraction": 0.2}}}, "data.validation.fraction"),
        ({"data": {"test": {"fraction": 0.2}}}, "data.test"),
    ],
)
def test_what_decides_the_result_is_part_of_the_identity(changes: dict[str, Any], key: str) -> None:
    differing = differing_keys(identity(recipe(), "data", "base"), identity(recipe(**changes), "data", "base"))
    assert differing
    assert all(line.startswith(key) for line in differing)


def test_contents_of_data_and_base_are_part_of_the_identity() -> None:
    plain = identity(recipe(), "data", "base")
    assert differing_keys(plain, identity(recipe(), "DATA", "base")) == ["data (contents): 'data' -> 'DATA'"]
    assert differing_keys(plain, identity(recipe(), "data", "BASE")) == ["base (contents): 'base' -> 'BASE'"]


def test_differing_keys_name_what_is_on_one_side_only() -> None:
    assert differing_keys({"a": 1, "b": 2}, {"a": 1, "c": 3}) == ["b: 2 -> None", "c: None -> 3"]


def test_nested_settings_become_dotted_keys() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [1, 2], "e": {}}


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"b": [1, 2]}) != digest_of({"b": [2, 1]})


@pytest.mark.parametrize(
    ("task", "name"), [("prompt-classification", "classify"), ("multiple-choice", "choose"), ("multiple-choice", "choose-zh")]
)
def test_a_prompt_is_what_its_template_says_and_not_what_it_is_called(task: Task, name: str) -> None:
    """Else a run would pass for one of a later version, whose template of that name has other words."""
    template = TEMPLATES[name]
    said = [{"template": name}, {"template": template.text} | ({"choice_template": template.choice} if template.choice else {})]
    said += [{}] if name in ("classify", "choose") else []
    data = {"choices": ["a", "b"]} if task == "multiple-choice" else {}
    found = [resolve(recipe(task=task, data=data, prompt=prompt), "llama") for prompt in said]
    for one in found:
        assert one.asked.template == template.text
        assert not differing_keys(identity(one, "d", "b"), identity(found[0], "d", "b"))
        assert resolve(validate(one.model_dump(mode="json", exclude_none=True), "again"), "llama") == one
