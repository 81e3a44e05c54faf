"""The lines of a model card that ask a causal language model as its run did: with the same prompt and the same answers."""

from __future__ import annotations

import json
from typing import Any

from tunebench.recipe.spec import TEXT_TASKS
from tunebench.runs.run import Run

_SCORE = """\
def score(answer):  # the sum of its tokens' log-probabilities
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids + answer])).logits[0].log_softmax(-1)
    return sum(logits[len(ids) - 1 + i, token] for i, token in enumerate(answer))"""


def asking_lines(run: Run) -> list[str]:
    """Python lines, once ``model`` and ``tokenizer`` are there."""
    if run.recipe.task in TEXT_TASKS:
        return [
            'inputs = tokenizer("Once upon a time", return_tensors="pt", return_token_type_ids=False)',
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0]))",
        ]
    asked: dict[str, Any] = run.manifest["prompt"]
    lines = [f"prompt = {_quoted(asked['template'])}"]
    if run.recipe.task == "multiple-choice":
        lines += [
            f"option = {_quoted(asked['choice'])}",
            f"numbers = {_quoted(asked['words'])}",
            'options = ["the first option", "the second one", …]  # as many as numbers',
            'listed = "\\n".join(option.replace("{number}", n).replace("{choice}", o) for n, o in zip(numbers, options))',
            'text = prompt.replace("{passage}", "…").replace("{question}", "…?").replace("{choices}", listed)',
        ]
    else:
        lines += ['text = prompt.replace("{text}", "a text")']
    special = "False" if run.recipe.asked.chat else "True"
    lines += [
        f'ids = tokenizer(text, add_special_tokens={special})["input_ids"]' + (f" + {asked['lead']}" if asked["lead"] else "")
    ]
    if run.recipe.asked.decode == "generate":
        return [
            *lines,
            f"written = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens={run.recipe.asked.max_new_tokens})",
            "answer = tokenizer.decode(written[0, len(ids):], skip_special_tokens=True)",
            f"# the one of {_quoted(asked['words'])} that the answer names; anything else is no valid answer",
        ]
    return [
        *lines,
        f"answers = {json.dumps(asked['answers'])}  # tokens of {_quoted(asked['words'])}",
        _SCORE,
        "probabilities = torch.stack([score(answer) for answer in answers]).softmax(0)",
    ]


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
