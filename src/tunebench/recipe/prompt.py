"""What a causal language model is asked, and how its answer is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from tunebench.recipe.closed import Spec

PLACEHOLDER = re.compile(r"\{([^{}\s]*)\}")
TEXT_PLACES = frozenset({"text", "labels"})
"""What a template of prompt-classification may name: the row's text, and all label words (``a, b or c``)."""
QUESTION_PLACES = frozenset({"passage", "question", "choices", "numbers"})
"""What a template of multiple-choice may name; ``numbers`` is the range of answers, such as ``1-4``."""
ROW_PLACES = re.compile(r"\{(text|passage|question|choices)\}")
"""The places that are filled anew for every row; what else stands in braces once the labels are named is text."""
CHOICE_PLACES = frozenset({"number", "choice"})


@dataclass(frozen=True)
class Template:
    """A prompt with places to fill, and of multiple-choice the line that each option becomes."""

    text: str
    choice: str = ""


TEMPLATES: dict[str, Template] = {
    "classify": Template("Classify the following text as {labels}.\n\nText:\n{text}\n\nAnswer ({labels}):"),
    "imdb-review": Template(
        "You are a sentiment analysis assistant.\nClassify the following IMDB movie review as {labels}.\n\n"
        "Review:\n{text}\n\nAnswer ({labels}):"
    ),
    "choose": Template(
        "Read the passage and answer the question with the number of the right option.\n\nPassage:\n{passage}\n\n"
        "Question: {question}\n{choices}\nAnswer ({numbers}):",
        "{number}. {choice}",
    ),
    "choose-zh": Template(
        "根據前文內容回答問題\n前文：{passage}\n問題：{question}\n根據問題，從以下選項選出正確的選項編號({numbers})\n{choices}\n答案：",
        "選項{number}：{choice}",
    ),
}
"""Templates by the name that ``prompt.template`` may give. Recipes may name them instead of writing one out."""


class Prompt(Spec):
    """The prompt of prompt-classification and multiple-choice, and how the answer is decoded."""

    template: str | None = Field(
        None,
        description="The prompt: a name (`classify`, `imdb-review`; for options `choose`, `choose-zh`) or a text with places "
        "such as `{text}` and `{labels}`, for options `{passage}`, `{question}`, `{choices}` and `{numbers}`; "
        "the default is `classify` or `choose`.",
        min_length=1,
    )
    choice_template: str | None = Field(
        None, description="The line an option becomes in `{choices}`, with the places `{number}` and `{choice}`.", min_length=1
    )
    chat: bool = Field(False, description="Put the prompt into the tokenizer's chat template, as the user's turn.")
    label_words: dict[str, str] = Field(
        default_factory=dict,
        description="What the model is to answer for a label ({neg: negative}); the label itself without it.",
    )
    decode: Literal["score", "generate"] = Field(
        "score",
        description="`score` compares the label words' probabilities in one forward pass; `generate` writes greedily and looks "
        "for a label word in the text.",
    )
    max_new_tokens: int = Field(4, ge=1, le=64, description="Tokens that `decode: generate` writes.")
    on_invalid: str = Field(
        "error",
        description="A generated text that names no label word, or several: `error` leaves the row without an answer, a label "
        "answers with that label; counted either way.",
        min_length=1,
    )
    contextual_calibration: bool = Field(
        False,
        description="Divide each label's probability by the one it gets for a text without content "
        "(Zhao et al. 2021, arXiv 2102.09690).",
    )
    average_orders: bool = Field(
        False, description="Of multiple-choice: score every rotation of the options and average, against position bias."
    )

    @model_validator(mode="after")
    def _scoring(self) -> Prompt:
        if self.decode == "generate" and (self.contextual_calibration or self.average_orders):
            raise ValueError("contextual_calibration and average_orders need probabilities; set decode to score, or remove them")
        if self.decode == "score" and self.on_invalid != "error":
            raise ValueError("on_invalid belongs to decode: generate; a scored answer is never invalid")
        return self


def template_of(prompt: Prompt, task: str) -> Template:
    """The template that a prompt names or writes out."""
    default = TEMPLATES["choose" if task == "multiple-choice" else "classify"]
    if prompt.template is None:
        found = default
    elif prompt.template in TEMPLATES:
        found = TEMPLATES[prompt.template]
    else:
        found = Template(prompt.template, default.choice)
    return Template(found.text, prompt.choice_template or found.choice)


def template_faults(prompt: Prompt, task: str) -> list[str]:
    """What a task cannot fill in, or lacks, in a prompt's template."""
    template = template_of(prompt, task)
    chooses = task == "multiple-choice"
    known, needed = (QUESTION_PLACES, ("passage", "question", "choices")) if chooses else (TEXT_PLACES, ("text",))
    faults = [
        f"prompt.template: {{{name}}} is no place of {task}; known are {', '.join(f'{{{place}}}' for place in sorted(known))}"
        for name in dict.fromkeys(PLACEHOLDER.findall(template.text))
        if name not in known
    ]
    body, lacking = needed[0], [f"{{{name}}}" for name in needed if f"{{{name}}}" not in template.text]
    faults += [f"prompt.template: lacks {place}; put it where it belongs" for place in lacking]
    if template.text.count(f"{{{body}}}") > 1:
        faults.append(f"prompt.template: {{{body}}} stands twice; it may be cut to fit and stands once")
    if chooses:
        faults += [
            f"prompt.choice_template: {{{name}}} is no place of an option; known are {{number}} and {{choice}}"
            for name in dict.fromkeys(PLACEHOLDER.findall(template.choice))
            if name not in CHOICE_PLACES
        ]
        lacking = [f"{{{name}}}" for name in sorted(CHOICE_PLACES) if f"{{{name}}}" not in template.choice]
        faults += [f"prompt.choice_template: lacks {place}; put it where it belongs" for place in lacking]
    elif prompt.average_orders or prompt.choice_template is not None:
        faults.append(f"prompt: average_orders and choice_template belong to task: multiple-choice, this is {task}; remove them")
    return faults
