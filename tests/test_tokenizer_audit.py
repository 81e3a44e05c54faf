"""The tokenizer audit: scripts are those of Unicode, every character is counted once, and a base that cannot read is told of."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shelf import tunebench
from tiny import write_csv, write_recipe, write_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from tunebench.data import gates
from tunebench.data.scripts import SCRIPTS, ScriptFindings, script_codes, script_findings
from tunebench.predict.spelling import Speller
from tunebench.runs.starter import starter_path

Capture = pytest.CaptureFixture[str]
CHARACTERS, TOKENS, IN_BYTES, UNKNOWN = range(4)
TAIGI = Path(__file__).parents[2] / "shared/data/taigi/corpus"

NAMED: dict[str, tuple[str, ...]] = {
    "Han": ("CJK UNIFIED IDEOGRAPH-", "CJK COMPATIBILITY IDEOGRAPH-"),
    "Latin": (
        "LATIN SMALL LETTER ",
        "LATIN CAPITAL LETTER ",
        "FULLWIDTH LATIN ",
        "COMBINING ACUTE",
        "COMBINING VERTICAL LINE ABOVE",
    ),
    "kana": ("HIRAGANA LETTER ", "KATAKANA LETTER ", "HALFWIDTH KATAKANA LETTER "),
    "Bopomofo": ("BOPOMOFO LETTER ",),
    "Hangul": ("HANGUL SYLLABLE ", "HANGUL LETTER ", "HANGUL CHOSEONG "),
    "Cyrillic": ("CYRILLIC SMALL LETTER ", "CYRILLIC CAPITAL LETTER "),
    "Greek": ("GREEK SMALL LETTER ", "GREEK CAPITAL LETTER "),
    "Arabic": ("ARABIC LETTER ",),
    "Hebrew": ("HEBREW LETTER ",),
    "Devanagari": ("DEVANAGARI LETTER ", "DEVANAGARI VOWEL "),
    "Thai": ("THAI CHARACTER ",),
    "common": ("FULLWIDTH DIGIT ", "SUPERSCRIPT ", "IDEOGRAPHIC FULL STOP", "FULLWIDTH COMMA", "LEFT CORNER BRACKET", "EM DASH"),
    "emoji": ("GRINNING FACE", "REGIONAL INDICATOR SYMBOL LETTER ", "BLACK SUN WITH RAYS"),
    "other": ("TAMIL LETTER ", "GEORGIAN LETTER ", "CHEROKEE LETTER "),
}


def test_scripts_are_those_that_unicode_names() -> None:
    names = {point: unicodedata.name(chr(point), "") for point in range(sys.maxunicode + 1)}
    for script, beginnings in NAMED.items():
        points = [point for point, name in names.items() if name.startswith(beginnings)]
        wrong = [names[points[i]] for i in np.flatnonzero(script_codes(np.array(points)) != SCRIPTS.index(script))]
        # letters outside the blocks of a script: historic ones, and signs that only look like letters
        assert len(wrong) <= 0.03 * len(points), (script, wrong[:10])


def byte_level(folder: Path) -> Path:
    """As GPT-2 and Llama 3 spell: 256 bytes, `大` and `勝利`, and one token of the end of one character and the next."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    big, win, gain = (written(text) for text in "大勝利")
    merges = [(big[0], big[1]), (big[:2], big[2]), (win[0], win[1]), (win[:2], win[2]), (gain[0], gain[1]), (gain[:2], gain[2])]
    merges += [(win, gain), (written("鬱")[2], written("龘")[0])]
    vocabulary = {token: i for i, token in enumerate([*letters, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return saved(tokenizer, folder, {"unk_token": "!"})


def written(text: str) -> str:
    """A text as a byte-level tokenizer writes its bytes."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)[0][0]


def with_fallback(folder: Path) -> Path:
    """As SentencePiece spells: pieces, and bytes for what has none."""
    pieces = ["<unk>", *(f"<0x{value:02X}>" for value in range(256)), "▁", *"abc大"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    return saved(tokenizer, folder, {"unk_token": "<unk>"})


def word_pieces(folder: Path) -> Path:
    """As BERT spells: what has no piece is unknown, and marks are dropped."""
    return write_tokenizer(folder)


def saved(tokenizer: Tokenizer, folder: Path, config: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("make", "text", "script", "counts"),
    [
        (byte_level, "大 大", "Han", (2, 2, 0, 0)),
        (byte_level, "勝利", "Han", (2, 1, 0, 0)),  # one token for two characters
        (byte_level, "x鬱", "Han", (1, 3, 1, 0)),
        (byte_level, "鬱龘", "Han", (2, 5, 2, 0)),  # the third token is the end of one and the beginning of the other
        (byte_level, "é e", "Latin", (2, 3, 1, 0)),
        (byte_level, "!", "common", (1, 1, 0, 0)),  # a token that is called unknown stands for itself
        (with_fallback, "大勝", "Han", (2, 4, 1, 0)),
        (with_fallback, "ab 勝", "Latin", (2, 2, 0, 0)),
        (word_pieces, "good 大", "Han", (1, 1, 0, 1)),
        (word_pieces, "good", "Latin", (4, 1, 0, 0)),
        (word_pieces, "a\u030d", "Latin", (2, 1, 0, 1)),  # the mark is gone
        (word_pieces, "大勝 bad!", "common", (1, 1, 0, 0)),
        (word_pieces, "  \n", "common", (0, 0, 0, 0)),
    ],
)
def test_what_becomes_of_characters_is_counted(
    tmp_path: Path, make: Callable[[Path], Path], text: str, script: str, counts: tuple[int, ...]
) -> None:
    found = Speller(make(tmp_path)).count([text])[SCRIPTS.index(script)]
    assert tuple(found.round(6)) == counts


@pytest.mark.parametrize("make", [byte_level, with_fallback, word_pieces])
def test_every_character_and_every_token_is_counted_once(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    texts = ["大勝利 good 鬱龘!", "", "é a\u030d ㄅㄆ かな 12", "\U0001f600 привет 漢字"]
    speller = Speller(make(tmp_path))
    found, tokenizer = speller.count(texts), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    solid = sum(not char.isspace() for text in texts for char in text)
    spans = [(text, span) for text in texts for span in tokenizer.encode(text, add_special_tokens=False).offsets]
    tokens = sum(bool(text[start:end].strip()) for text, (start, end) in spans)
    assert found[:, CHARACTERS].sum() == solid
    assert found[:, TOKENS].sum() == pytest.approx(tokens)
    assert np.array_equal(found, sum(speller.count([text]) for text in texts))
    assert (found[:, IN_BYTES] + found[:, UNKNOWN] <= found[:, CHARACTERS]).all()


def test_shares_are_of_all_characters_and_rates_of_a_script(tmp_path: Path) -> None:
    han, latin = script_findings(Speller(byte_level(tmp_path)).count(["大勝利鬱鬱鬱 abcd"]))
    assert (han.script, han.characters, han.share, han.in_bytes, han.unknown) == ("Han", 6, 0.6, 0.5, 0.0)
    assert (latin.script, latin.tokens, latin.in_bytes) == ("Latin", 1.0, 0.0)
    assert script_findings(np.zeros((len(SCRIPTS), 4))) == []


def script(**changes: Any) -> ScriptFindings:
    usual = {"script": "Han", "characters": 100, "share": 0.9, "tokens": 1.0, "in_bytes": 0.0, "unknown": 0.0}
    return ScriptFindings(**usual | changes)


@pytest.mark.parametrize(
    ("found", "warned"),
    [
        (script(in_bytes=0.31), True),
        (script(in_bytes=0.3), False),
        (script(in_bytes=0.2, unknown=0.2), True),
        (script(unknown=0.9, share=0.05), True),
        (script(unknown=1.0, share=0.04), False),  # too rare to matter
    ],
)
def test_a_script_that_the_base_hardly_reads_is_warned_of(found: ScriptFindings, warned: bool) -> None:  # noqa: FBT001
    told = gates._script_warnings([found])
    assert bool(told) == warned
    assert all("choose a base" in line for line in told)


def test_check_shows_the_audit_and_fails_for_a_base_that_knows_no_character(world: Any, tmp_path: Path, capsys: Capture) -> None:
    texts = [f"{chr(0x4E00 + i)}{chr(0x5000 + i)} good film {i % 10}" for i in range(20)]
    rows = [{"id": i, "text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    recipe = write_recipe(tmp_path / "r.yaml", data=write_csv(tmp_path / "t.csv", rows), base=world.bases["bert"])
    code, out, err = tunebench(capsys, "check", recipe)
    assert code == 3
    assert "characters that the base's tokenizer does not know" in err
    assert "characters of train" in out
    (line,) = [line for line in out.splitlines() if line.startswith("Han ")]
    assert line.split()[-2:] == ["100.0", "%"]
    assert max(map(len, out.splitlines())) <= 100
    report = json.loads(tunebench(capsys, "check", recipe, "--json")[1])
    assert {item["script"]: item["unknown"] for item in report["scripts"]} == {"Latin": 0.0, "Han": 1.0, "common": 0.0}
    assert any("the base hardly reads Han" in line for line in report["warnings"])


def test_without_a_base_there_is_no_audit(tmp_path: Path, capsys: Capture) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", data=write_csv(tmp_path / "t.csv"))
    report = json.loads(tunebench(capsys, "check", recipe, "--json")[1])
    assert report["scripts"] == []
    assert not any("tokenizer" in gate["name"] for gate in report["gates"])


@pytest.mark.slow
@pytest.mark.skipif(not TAIGI.is_dir(), reason="the Taigi corpus is not on this machine")
def test_an_english_encoder_does_not_read_taiwanese() -> None:
    texts = [row["text"] for row in json.loads((TAIGI / "train.json").read_text("utf-8"))[:2000]]
    han = script_findings(Speller(starter_path("minilm")).count(texts))[0]
    assert han.script == "Han"
    assert 0.6 < han.unknown < 0.8
