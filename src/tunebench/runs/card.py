"""The model card of a run: what it is, how it scored, and the lines that open it without tunebench."""

from __future__ import annotations

import json
from typing import Any

from tunebench.recipe.closed import STARTER
from tunebench.recipe.load import dump_yaml
from tunebench.recipe.methods import ADAPTERS
from tunebench.recipe.spec import Recipe
from tunebench.runs.bases import portable_base
from tunebench.runs.run import Run


def model_card(run: Run, metrics: dict[str, Any], *, merged: bool = False) -> str:
    """``README.md`` for ``adapter/``, ``model/`` or ``merged/``, with a ``model-index`` the hub can read."""
    recipe, manifest = run.recipe, run.manifest
    assert recipe.base is not None
    head = dump_yaml(_front_matter(recipe, metrics, merged=merged))
    labels = "\n".join(f"- {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(manifest["labels"]["names"]))
    return f"""---
{head}---

# {recipe.name}

{_sentence(recipe, merged=merged)} Fine-tuned with tunebench from the recipe below. Proofs that the saved weights
are the ones that were scored: {_proofs(metrics)}.

## Scores

{_scores(metrics)}

## Labels

By their place in the logits:

{labels}

## Use without tunebench

In the run directory, the folder above this one:

```python
{_usage(run, merged=merged)}
```

Texts are cut at {recipe.base.max_length} tokens. Scores on other kinds of text than the training rows are unknown.
The base's files have the sha256 `{manifest["base"]["digest"]}` (see `manifest.json`).

## Recipe

```yaml
{dump_yaml(_shareable(recipe))}```
"""


def _front_matter(recipe: Recipe, metrics: dict[str, Any], *, merged: bool) -> dict[str, Any]:
    adapter = recipe.method.kind in ADAPTERS and not merged
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
    source = recipe.data.source("train")
    return recipe.data.dataset or (source.file.rsplit("/", 1)[-1] if source else "")


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
        if merged and recipe.method.kind in ADAPTERS
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


def _usage(run: Run, *, merged: bool) -> str:
    recipe, folder = run.recipe, "merged" if merged else run.weights.name
    assert recipe.base is not None
    kind = "AutoModelForSequenceClassification" if recipe.base.pooling == "cls" else "AutoModelForTokenClassification"
    lines = ["import torch", f"from transformers import AutoTokenizer, {kind}"]
    if folder == "adapter":
        lines = [*lines, "from peft import PeftModel", "", *_base_lines(run, kind)]
        lines += [f'model = PeftModel.from_pretrained(base, "{folder}").eval()']
    else:
        lines += ["", f'model = {kind}.from_pretrained("{folder}").eval()']
    lines += [
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")',
        'texts = ["a text", "another one"]',
        f'inputs = tokenizer(texts, truncation=True, max_length={recipe.base.max_length}, padding=True, return_tensors="pt")',
        "with torch.no_grad():",
        "    logits = model(**inputs).logits",
    ]
    if recipe.base.pooling == "mean":
        lines += [
            'mask = inputs["attention_mask"].unsqueeze(-1)',
            "logits = (logits * mask).sum(1) / mask.sum(1)  # mean over the tokens of each text",
        ]
    return "\n".join([*lines, "probabilities = logits.softmax(-1)"])


def _base_lines(run: Run, kind: str) -> list[str]:
    base = run.recipe.base
    assert base is not None
    labels = f"labels = {json.dumps(run.manifest['labels']['names'], ensure_ascii=False)}"
    if base.model.startswith(STARTER):
        head = [f'BASE = "path/to/minilm"  # the folder of {base.model}, printed by: tunebench starter']
        return [labels, *head, f"base = {kind}.from_pretrained(BASE, id2label=dict(enumerate(labels)))"]
    revision = f", revision={json.dumps(base.revision)}" if base.revision else ""
    name = json.dumps(portable_base(base.model, run.path), ensure_ascii=False)
    return [labels, f"base = {kind}.from_pretrained({name}{revision}, id2label=dict(enumerate(labels)))"]


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
