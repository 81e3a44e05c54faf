"""The model card of a run: what it is, how it scored, and the lines that open it without tunebench."""

from __future__ import annotations

from typing import Any

import yaml

from tunebench.recipe.spec import STARTER, Recipe


def model_card(recipe: Recipe, manifest: dict[str, Any], metrics: dict[str, Any], *, merged: bool = False) -> str:
    """``README.md`` for ``adapter/``, ``model/`` or ``merged/``, with a ``model-index`` the hub can read."""
    head = yaml.safe_dump(_front_matter(recipe, metrics, merged=merged), sort_keys=False, allow_unicode=True)
    labels = "\n".join(f"{i}. `{name}`" for i, name in enumerate(manifest["labels"]["names"]))
    return f"""---
{head}---

# {recipe.name}

{_sentence(recipe, merged=merged)} Fine-tuned with tunebench from the recipe below; the weights in this folder are the ones
that were scored (proofs: {_proofs(metrics)}).

## Scores

{_scores(metrics)}

## Labels

In the order of the logits, from 0:

{labels.replace(". `", " = `")}

## Use

```python
{_usage(recipe, manifest, merged=merged)}
```

Texts are cut at {recipe.base.max_length if recipe.base else "-"} tokens.
Intended for texts like those it was trained on; scores elsewhere are unknown.

## Recipe

```yaml
{yaml.safe_dump(_shareable(recipe), sort_keys=False, allow_unicode=True)}```
"""


def _front_matter(recipe: Recipe, metrics: dict[str, Any], *, merged: bool) -> dict[str, Any]:
    adapter = recipe.method.kind in ("lora", "ia3") and not merged
    test = metrics.get("test")
    head: dict[str, Any] = {"library_name": "peft" if adapter else "transformers", "pipeline_tag": "text-classification"}
    if recipe.base and not recipe.base.model.startswith((STARTER, "/")):
        head["base_model"] = recipe.base.model
    head["tags"] = ["tunebench", recipe.method.kind]
    if test:
        found = [
            {"type": kind, "name": name, "value": round(test[kind]["value"], 4)}
            for kind, name in (("accuracy", "Accuracy"), ("f1_macro", "Macro F1"))
        ]
        head["model-index"] = [
            {
                "name": recipe.name,
                "results": [
                    {
                        "task": {"type": "text-classification"},
                        "dataset": {"name": _data_name(recipe), "type": "custom", "split": "test"},
                        "metrics": found,
                    }
                ],
            }
        ]
    return head


def _data_name(recipe: Recipe) -> str:
    return recipe.data.train.rsplit("/", 1)[-1]


def _sentence(recipe: Recipe, *, merged: bool) -> str:
    base = f"`{_base_name(recipe)}`"
    kinds = {
        "lora": f"A LoRA adapter for {base}.",
        "ia3": f"An IA3 adapter for {base}.",
        "full": f"{base}, fully fine-tuned.",
        "head": f"{base} with a trained classification head.",
    }
    return (
        f"{base} with the {recipe.method.kind} update folded in."
        if merged and recipe.method.kind in ("lora", "ia3")
        else kinds[recipe.method.kind]
    )


def _base_name(recipe: Recipe) -> str:
    assert recipe.base is not None
    return recipe.base.model if not recipe.base.model.startswith("/") else recipe.base.model.rsplit("/", 1)[-1]


def _proofs(metrics: dict[str, Any]) -> str:
    return (
        "; ".join(
            f"{proof['name']}, largest logit difference {proof['largest_difference']:.1e} on {proof['rows']} rows, "
            f"{proof['label_flips']} label flips"
            for proof in metrics.get("proofs", [])
        )
        or "none"
    )


def _scores(metrics: dict[str, Any]) -> str:
    test = metrics.get("test")
    if not test:
        return "The recipe has no test split."
    names = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "f1": "F1", "f1_macro": "Macro F1"}
    figures = [(name, test[key]) for key, name in names.items()]
    figures += [
        (f"baseline {name}, accuracy", score["accuracy"]) for name, score in metrics.get("baselines", {}).items() if score
    ]
    rows = [f"| {name} | {figure['value']:.4f} | {figure['low']:.4f} – {figure['high']:.4f} |" for name, figure in figures]
    positive = f" Precision, recall and F1 speak of `{test['positive_label']}`." if test["positive_label"] else ""
    head = f"On {test['n']} test rows, with 95 % intervals.{positive}"
    return "\n".join([head, "", "| score | value | interval |", "|---|---|---|", *rows])


def _usage(recipe: Recipe, manifest: dict[str, Any], *, merged: bool) -> str:
    assert recipe.base is not None
    kind = "AutoModelForSequenceClassification" if recipe.base.pooling == "cls" else "AutoModelForTokenClassification"
    labels = len(manifest["labels"]["names"])
    adapter = recipe.method.kind in ("lora", "ia3") and not merged
    lines = ["import torch", f"from transformers import AutoTokenizer, {kind}"] + (
        ["from peft import PeftModel"] if adapter else []
    )
    lines += ['tokenizer = AutoTokenizer.from_pretrained(".")']
    if adapter:
        lines += [
            f'base = {kind}.from_pretrained("{_base_name(recipe)}", num_labels={labels})',
            'model = PeftModel.from_pretrained(base, ".").eval()',
        ]
    else:
        lines += [f'model = {kind}.from_pretrained(".").eval()']
    lines += [
        f'cut = {{"truncation": True, "max_length": {recipe.base.max_length}, "padding": True}}',
        'inputs = tokenizer(["a text"], return_tensors="pt", **cut)',
        "with torch.no_grad():",
        "    logits = model(**inputs).logits",
    ]
    if recipe.base.pooling == "mean":
        lines += [
            'mask = inputs["attention_mask"].unsqueeze(-1)',
            "logits = (logits * mask).sum(1) / mask.sum(1)  # mean over the tokens of each text",
        ]
    return "\n".join(lines)


def _shareable(recipe: Recipe) -> dict[str, Any]:
    """The recipe without the folders of the machine it ran on."""
    settings: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    for split in ("train", "validation", "test"):
        value = settings["data"].get(split)
        if isinstance(value, str):
            settings["data"][split] = value.rsplit("/", 1)[-1]
    if "base" in settings:
        settings["base"]["model"] = _base_name(recipe)
    return settings
