"""Which token fills up a batch of a decoder, whose head reads the last token of a text that is not padding.

Many decoders come without one, or with the end-of-text token in its place, and then a text that really ends so would be
read one token too early. The choice is a pure function of the base's files, and is recorded in the saved tokenizer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tunebench.errors import InputError
from tunebench.predict.tokenizer_files import open_tokenizer, special_tokens

_UNUSED = re.compile(r"pad|reserved|unused", re.IGNORECASE)


@dataclass(frozen=True)
class Padding:
    """A token and its id."""

    token: str
    id: int


def choose_padding(folder: Path, vocabulary: int, configured: int | None = None) -> Padding:
    """The padding token of the model folder's tokenizer; ``vocabulary`` counts the model's embeddings.

    The first of these that exists and is not the end-of-text token: the tokenizer's own, the one ``configured`` in the model,
    a special token called padding, reserved or unused, the unknown token. Else the end-of-text token itself.
    """
    tokenizer = open_tokenizer(folder)
    named, special = special_tokens(folder), tokenizer.get_added_tokens_decoder()
    unused = [token.content for _, token in sorted(special.items()) if token.special and _UNUSED.search(token.content)]
    unused.sort(key=lambda content: "pad" not in content.lower())
    own = None if configured is None or configured < 0 else tokenizer.id_to_token(configured)
    candidates = [named.get("pad_token"), own, *unused, named.get("unk_token"), named.get("eos_token")]
    usable = [
        Padding(token, found)
        for token in candidates
        if token is not None and (found := tokenizer.token_to_id(token)) is not None and found < vocabulary
    ]
    if not usable:
        raise InputError(
            str(folder),
            "its tokenizer names no token that could fill up a batch; set pad_token in its tokenizer_config.json to one "
            "that no text holds",
        )
    return next((one for one in usable if one.token != named.get("eos_token")), usable[0])
