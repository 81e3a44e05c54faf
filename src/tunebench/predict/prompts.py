"""Prompts as token ids: a template filled with a row, cut where it may be, and the tokens of every possible answer.

The prompt is tokenized as one text, as anybody would who sends it to the saved model. Where it is too long, tokens of the
row's own text go, never those of the template, the question or the options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Encoding

from tunebench.data.items import Item, Question, Turn
from tunebench.data.labels import LabelMap
from tunebench.errors import InputError, listing, nearest
from tunebench.predict.chat import render_chat
from tunebench.predict.tokenize import Encoded, keep_of
from tunebench.predict.tokenizer_files import open_tokenizer, special_tokens
from tunebench.recipe.prompt import ROW_PLACES, Prompt, Template, template_of

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Texts without content, whose answers show what a model prefers by itself (Zhao et al. 2021)."""


@dataclass(frozen=True)
class Rendered:
    """A prompt as text, and where in it the part stands that may be cut."""

    text: str
    start: int
    end: int


class PromptEncoder:
    """Renders items (texts or questions) by a template and tokenizes them, answers left out.

    ``words`` are what the model may answer, per label; ``answers`` their token ids as they follow the prompt, whose last tokens
    are ``lead``. A prompt and its answer fit into ``max_length``: more is cut off the text's ``side``. Raises InputError where
    answers cannot be told apart by their first token, and where the template alone is too long.
    """

    def __init__(
        self, folder: Path, max_length: int, side: str, template: Template, words: Sequence[str], *, chat: bool = False
    ) -> None:
        self._tokenizer = open_tokenizer(folder)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._side, self._template, self._special = side, template, not chat
        self.words = list(words)
        self.lead, self.answers = self._answer_ids()
        eos = special_tokens(folder).get("eos_token")
        self.end = [found] if eos and (found := self._tokenizer.token_to_id(eos)) is not None else []
        self.room = max_length - len(self.lead) - max(map(len, self.answers)) - len(self.end)
        before = ROW_PLACES.split(template.text)[0]
        self.prefix = self._ids([before])[0].ids[:-1]
        """Tokens that every prompt begins with; the last one may change with what follows and is left out."""
        self._refuse_long()

    def encode(self, items: Sequence[Item], /) -> Encoded:
        """Ids of all prompts, in order; one that does not fit even without its text has none and an error."""
        rendered = [self._render(item) for item in items]
        ids: list[list[int]] = []
        errors: list[str | None] = []
        cut: list[bool] = []
        for prompt, encoding in zip(rendered, self._ids([prompt.text for prompt in rendered]), strict=True):
            found = self._fit(encoding, prompt)
            cut.append(found is not None and len(found) < len(encoding.ids))
            ids.append([*found, *self.lead] if found else [])
            error = None
            if found is None:
                error = f"its prompt does not fit: {len(encoding.ids)} tokens, {self.room} are left by base.max_length"
            errors.append(error if found != [] else "its prompt has no tokens")
        return Encoded(ids, cut, errors)

    def as_dict(self) -> dict[str, Any]:
        """Everything that asking again needs, for the manifest."""
        template, tokens = self._template, {"lead": self.lead, "answers": self.answers}
        return {"template": template.text, "choice": template.choice, "words": self.words, **tokens}

    def decode(self, ids: Sequence[int]) -> str:
        """Generated tokens as text, special ones left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _render(self, item: Item) -> Rendered:
        filled = _filling(item, self._template, self.words)
        body = "text" if isinstance(item, str) else "passage"
        parts: list[str] = []
        start = end = 0
        for i, part in enumerate(ROW_PLACES.split(self._template.text)):
            text = filled[part] if i % 2 else part
            if i % 2 and part == body:
                start = sum(map(len, parts))
                end = start + len(text)
            parts.append(text)
        return Rendered("".join(parts), start, end)

    def _fit(self, encoding: Encoding, prompt: Rendered) -> list[int] | None:
        """The ids with as many tokens of the text left out as have to be; None where there are too few of them."""
        over = len(encoding.ids) - self.room
        if over <= 0:
            return list(encoding.ids)
        body = [i for i, (begin, stop) in enumerate(encoding.offsets) if prompt.start <= begin < stop <= prompt.end]
        if over > len(body):
            return None
        lost = set(body) - set(keep_of(body, len(body) - over, self._side))
        return [token for i, token in enumerate(encoding.ids) if i not in lost]

    def _ids(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenized, with the special tokens before a text but not those after it."""
        found: list[Encoding] = self._tokenizer.encode_batch(list(texts), add_special_tokens=self._special)
        for encoding in found:
            mask = encoding.special_tokens_mask
            after = next((i for i, special in enumerate(reversed(mask)) if not special), len(mask))
            if self._special and 0 < after < len(mask):
                encoding.truncate(len(mask) - after)
        return found

    def _answer_ids(self) -> tuple[list[int], list[list[int]]]:
        """The space that all answers begin with, where it is a token of its own, and every answer as it follows that."""
        tail = ROW_PLACES.split(self._template.text)[-1] or "x"
        glue = " " if tail[-1].isascii() and not tail[-1].isspace() else ""
        alone = self._tokenizer.encode(tail, add_special_tokens=False).ids
        found = [self._tokenizer.encode(tail + glue + word, add_special_tokens=False).ids for word in self.words]
        self._refuse_unspelled(found, len(alone))
        if any(ids[: len(alone)] != alone for ids in found):
            raise InputError(
                "prompt.template", f"its end {tail[-20:]!r} grows together with the answers' tokens; end it with a line break"
            )
        answers = [ids[len(alone) :] for ids in found]
        lead: list[int] = []
        while all(len(answer) > 1 and answer[0] == answers[0][0] for answer in answers) and self._is_space(answers[0][0]):
            lead.append(answers[0][0])
            answers = [answer[1:] for answer in answers]
        faults = [
            f"{self.words[i]!r} and {self.words[k]!r} begin with the same token; choose words that differ from the beginning on"
            for i in range(len(answers))
            for k in range(i)
            if answers[i][0] == answers[k][0]
        ]
        if faults:
            raise InputError("prompt.label_words", faults)
        return lead, answers

    def _refuse_unspelled(self, found: Sequence[Sequence[int]], begun: int) -> None:
        """InputError for words of which the tokenizer makes nothing, or what no text is written with."""
        added, unknown = self._tokenizer.get_added_tokens_decoder(), getattr(self._tokenizer.model, "unk_token", None)
        special = {number: str(token.content) for number, token in added.items() if token.special}
        special |= {self._tokenizer.token_to_id(unknown) or 0: unknown} if unknown else {}
        faults = []
        for word, ids in zip(self.words, found, strict=True):
            names = [special[token] for token in ids[begun:] if token in special]
            if names or len(ids) <= begun:
                what = f"becomes {names[0]!r}, which no answer is written with" if names else "leaves no token"
                faults.append(f"{word!r} {what} in this base's tokenizer; choose a word that it can spell")
        if faults:
            raise InputError("prompt.label_words", faults)

    def _refuse_long(self) -> None:
        """InputError where no row can fit, as what is asked fills the context without any text."""
        item = "" if "{text}" in self._template.text else Question("", "", ("",) * len(self.words))
        prompt = self._render(item)
        (encoding,) = self._ids([prompt.text])
        if self._fit(encoding, prompt) is None:
            raise InputError(
                "prompt",
                f"without any text the template is {len(encoding.ids):,} tokens, and base.max_length leaves "
                f"{max(0, self.room):,} beside the longest answer; shorten prompt.template or prompt.label_words, or raise "
                "base.max_length",
            )

    def _is_space(self, token: int) -> bool:
        return not (self._tokenizer.id_to_token(token) or "x").strip("Ġ▁ ")


def prompt_words(prompt: Prompt, labels: LabelMap, task: str) -> list[str]:
    """What the model is to answer, per label; InputError for words of labels that are not there."""
    unknown = [name for name in prompt.label_words if name not in labels.names]
    faults = [f"{name!r} is no label{nearest(name, labels.names)}; labels are {listing(labels.names)}" for name in unknown]
    if task == "multiple-choice" and prompt.label_words:
        faults = ["multiple-choice answers with the options' numbers; remove it"]
    words = [prompt.label_words.get(name, name).strip() for name in labels.names]
    faults += [f"{name!r} has an empty word" for name, word in zip(labels.names, words, strict=True) if not word]
    faults += [
        f"{word!r} holds {found[0]}, a place of templates; choose another" for word in words if (found := ROW_PLACES.search(word))
    ]
    if faults:
        raise InputError("prompt.label_words", faults)
    return words


def open_prompts(folder: Path, max_length: int, side: str, prompt: Prompt, labels: LabelMap, task: str) -> PromptEncoder:
    """The encoder that a recipe's prompt asks for, over a model folder's tokenizer."""
    template, words = template_of(prompt, task), prompt_words(prompt, labels, task)
    invalid_answer(prompt, labels)  # one that is no label is refused here
    listed = _in_order(words, labels)
    text = template.text.replace("{labels}", listed).replace("{numbers}", f"1-{len(words)}")
    if prompt.chat:
        asked, text = text, render_chat(folder, [Turn("user", text)], add_generation_prompt=True)
        if sorted(ROW_PLACES.findall(text)) != sorted(ROW_PLACES.findall(asked)):
            fault = "does not write what the user says once and as it is, so a row's text has no place in it"
            raise InputError(f"the chat template of {folder}", f"{fault}; leave prompt.chat out, or take another base")
    return PromptEncoder(folder, max_length, side, Template(text, template.choice), words, chat=prompt.chat)


def invalid_answer(prompt: Prompt, labels: LabelMap) -> int | None:
    """The id of the label that stands for a generated text without an answer; None where the row has none then."""
    if prompt.on_invalid == "error":
        return None
    if prompt.on_invalid not in labels.names:
        raise InputError("prompt.on_invalid", f"{prompt.on_invalid!r} is no label; give error or one of {listing(labels.names)}")
    return labels.names.index(prompt.on_invalid)


def refuse_unfit(split: str, ids: Sequence[str], encoded: Encoded) -> None:
    """InputError with the rows, by their ids, whose prompt does not fit even without its text."""
    errors = [f"row {key}: {error}" for key, error in zip(ids, encoded.errors or [], strict=False) if error]
    if errors:
        more = [f"… and {len(errors) - 10} more"] if len(errors) > 10 else []
        raise InputError(
            f"data.{split}", [*errors[:10], *more, "raise base.max_length, or shorten what is not the row's own text"]
        )


def content_free(task: str, number: int) -> list[str | Question]:
    """Items that say nothing, for contextual calibration; ``number`` options each."""
    if task == "multiple-choice":
        return [Question(text, text, (text,) * number) for text in CONTENT_FREE]
    return list(CONTENT_FREE)


def parse_answer(text: str, words: Sequence[str], task: str) -> int | None:
    """Which answer a generated text gives: the one word in it, of options the number it begins with; None for any other."""
    said = text.strip().casefold()
    if task == "multiple-choice":
        found = re.match(rf"[1-{len(words)}](?!\d)", said)
        return int(found[0]) - 1 if found else None
    named = [i for i, word in enumerate(words) if word.casefold() in said]
    return named[0] if len(named) == 1 else None


def _in_order(words: Sequence[str], labels: LabelMap) -> str:
    """All words for a reader, the positive one first: ``a, b or c``."""
    first = labels.positive_id
    ordered = [*words] if first is None else [words[first], *(word for i, word in enumerate(words) if i != first)]
    return f"{', '.join(ordered[:-1])} or {ordered[-1]}"


def _filling(item: Item, template: Template, words: Sequence[str]) -> dict[str, str]:
    if isinstance(item, str):
        return {"text": item}
    assert isinstance(item, Question)
    lines = [
        template.choice.replace("{number}", word).replace("{choice}", choice)
        for word, choice in zip(words, item.choices, strict=True)
    ]
    return {"passage": item.passage, "question": item.question, "choices": "\n".join(lines)}
