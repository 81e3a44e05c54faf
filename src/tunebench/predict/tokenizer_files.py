"""A tokenizer's files: what is read of them, and what travels with a saved model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tunebench.errors import InputError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
"""Files that travel with every saved model, where the base has them."""


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, without added tokens that the model in that folder has no embedding for.

    Raises InputError where there is none, it cannot be read, or its vocabulary is larger than the model's.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(
            str(folder),
            "has no tokenizer.json; save the base with a fast tokenizer "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(folder))",
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the Rust library raises bare Exception
        raise InputError(str(path), f"not a readable tokenizer: {error}") from None
    rows = _embeddings(folder)
    if rows is None:
        return tokenizer
    largest = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
    if largest >= rows:
        raise InputError(
            str(path),
            f"its ids go up to {largest}, and the base has embeddings for {rows} only (vocab_size in config.json): the two do "
            "not belong together; put the base's own tokenizer there",
        )
    return tokenizer if max(tokenizer.get_added_tokens_decoder(), default=0) < rows else _trimmed(tokenizer, rows)


def copy_tokenizer(source: Path, target: Path, settings: Mapping[str, str]) -> None:
    """Copy a base's tokenizer beside a saved model, with ``settings`` such as ``{"pad_token": "<pad>"}`` set in its files.

    A file is copied byte for byte where it says these things already.
    """
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    rows, copied = _embeddings(source), target / "tokenizer.json"
    if rows is not None and copied.is_file() and max(_added(copied), default=0) >= rows:
        open_tokenizer(source).save(str(copied))
    _set(target / "tokenizer_config.json", settings)
    if (older := target / "special_tokens_map.json").is_file():
        _set(older, {key: value for key, value in settings.items() if key.endswith("_token")})


def special_tokens(folder: Path) -> dict[str, str]:
    """``{"pad_token": "<pad>", "eos_token": …}`` as far as the tokenizer's files name them."""
    found = _read(folder / "special_tokens_map.json") | _read(folder / "tokenizer_config.json")
    named = {key: _content(value) for key, value in found.items() if key.endswith("_token")}
    return {key: value for key, value in named.items() if value is not None}


def _trimmed(tokenizer: Tokenizer, rows: int) -> Tokenizer:
    """Gemma 3 has a token for images that its text models do not know: text that looks like it is plain text."""
    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < rows]
    return Tokenizer.from_str(json.dumps(described))


def _added(path: Path) -> dict[int, Any]:
    return dict(Tokenizer.from_file(str(path)).get_added_tokens_decoder())


def _embeddings(folder: Path) -> int | None:
    try:
        rows = json.loads((folder / "config.json").read_text("utf-8")).get("vocab_size")
    except (OSError, ValueError, AttributeError):
        return None
    return rows if isinstance(rows, int) else None


def _set(path: Path, settings: Mapping[str, str]) -> None:
    found = _read(path)
    said = {"padding_side": "right", "truncation_side": "right"} | found
    if any(_content(said.get(key)) != value for key, value in settings.items()):
        path.write_text(json.dumps(found | dict(settings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _content(value: Any) -> str | None:
    """A token's text: files hold it bare or with its properties."""
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(str(path), f"not readable as JSON: {error}") from None
