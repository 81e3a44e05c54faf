"""Texts to token ids: cut on either side or in the middle, never empty, never an id that the base does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import write_tokenizer

from tunebench.errors import InputError
from tunebench.predict.tokenize import TextEncoder
from tunebench.predict.tokenizer_files import copy_tokenizer, open_tokenizer, special_tokens

WORDS = "good great warm funny moving bright bad dull cold tired"
IMAGE = "<image>"


def tokens(folder: Path, ids: list[int]) -> str:
    tokenizer = open_tokenizer(folder)
    return " ".join(str(tokenizer.id_to_token(i)) for i in ids)


def add_token(folder: Path, content: str, number: int) -> None:
    """A special token as Gemma 3's tokenizer has one for images: beyond the embeddings of its text models."""
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text("utf-8"))
    described["added_tokens"].append(described["added_tokens"][0] | {"id": number, "content": content})
    path.write_text(json.dumps(described), encoding="utf-8")


@pytest.mark.parametrize(
    ("side", "limit", "expected"),
    [
        ("right", 6, "[CLS] good great warm funny [SEP]"),
        ("left", 6, "[CLS] dull cold tired bad [SEP]"),
        ("middle", 6, "[CLS] good great cold tired [SEP]"),
        ("middle", 7, "[CLS] good great warm cold tired [SEP]"),
        ("middle", 12, f"[CLS] {WORDS} [SEP]"),
        ("right", 12, f"[CLS] {WORDS} [SEP]"),
        ("left", 12, f"[CLS] {WORDS} [SEP]"),
    ],
)
def test_a_text_that_is_too_long_loses_the_side_that_is_named(side: str, limit: int, expected: str, tmp_path: Path) -> None:
    text = WORDS if side != "left" or limit == 12 else "good great dull cold tired bad"
    found = TextEncoder(write_tokenizer(tmp_path), limit, side).encode([text, "warm"])
    assert [tokens(tmp_path, ids) for ids in found.ids] == [expected, "[CLS] warm [SEP]"]
    assert found.truncated == [limit < 12, False]


def test_a_text_of_which_nothing_is_left_is_one_unknown_token(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path) / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"post_processor": None}), encoding="utf-8")
    found = TextEncoder(tmp_path, 8).encode(["\x01\x02", "good"])
    assert [tokens(tmp_path, ids) for ids in found.ids] == ["[UNK]", "good"]


def test_a_token_that_the_base_has_no_embedding_for_is_plain_text_and_is_not_saved(tmp_path: Path) -> None:
    base, saved = write_tokenizer(tmp_path / "base"), tmp_path / "saved"
    saved.mkdir()
    before = TextEncoder(base, 20).encode([f"good {IMAGE}"]).ids
    size = open_tokenizer(base).get_vocab_size()
    add_token(base, IMAGE, size)
    assert TextEncoder(base, 20).encode([f"good {IMAGE}"]).ids[0][2] == size
    (base / "config.json").write_text(json.dumps({"vocab_size": size}), encoding="utf-8")
    assert TextEncoder(base, 20).encode([f"good {IMAGE}"]).ids == before
    copy_tokenizer(base, saved, {})
    assert TextEncoder(saved, 20).encode([f"good {IMAGE}"]).ids == before
    (base / "config.json").write_text(json.dumps({"vocab_size": size + 1}), encoding="utf-8")
    copy_tokenizer(base, saved, {})
    assert (saved / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_a_tokenizer_is_copied_byte_for_byte_unless_something_has_to_be_said_in_it(tmp_path: Path) -> None:
    base, saved = write_tokenizer(tmp_path / "base"), tmp_path / "saved"
    saved.mkdir()
    (base / "special_tokens_map.json").write_text('{"pad_token": {"content": "[PAD]"}}')
    told = {"pad_token": "[PAD]", "padding_side": "right", "truncation_side": "right"}
    copy_tokenizer(base, saved, told)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == {path.name: path.read_bytes() for path in base.iterdir()}
    copy_tokenizer(base, saved, told | {"pad_token": "[MASK]", "truncation_side": "left"})
    assert (saved / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    config = json.loads((saved / "tokenizer_config.json").read_text("utf-8"))
    assert (config["pad_token"], config["truncation_side"], config["cls_token"]) == ("[MASK]", "left", "[CLS]")
    assert json.loads((saved / "special_tokens_map.json").read_text("utf-8")) == {"pad_token": "[MASK]"}
    assert special_tokens(saved)["pad_token"] == "[MASK]"


def test_a_tokenizer_with_more_words_than_the_base_is_refused(tmp_path: Path) -> None:
    (write_tokenizer(tmp_path) / "config.json").write_text(json.dumps({"vocab_size": 50}), encoding="utf-8")
    with pytest.raises(InputError, match="the base has embeddings for 50 only"):
        TextEncoder(tmp_path, 8)
