"""The studio's words: every language says everything, in its own characters, and nothing is said that no page says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import pytest
import yaml

from tunebench.app.words import DEFAULT, FOLDER, LANGUAGES

APP = FOLDER.parent
OTHERS = [language for language in LANGUAGES if language != DEFAULT]
PAGES = sorted(path.stem for path in (FOLDER / DEFAULT).glob("*.yaml"))
KEY = re.compile(rf"({'|'.join(PAGES)})\.[a-z0-9_]+")
CODECS = {"zh-Hant": "big5", "zh-Hans": "gb2312"}
"""Each holds the characters of one script and lacks those that only the other has."""
ELSEWHERE = {
    "zh-Hant": ("數據", "默認", "信息", "軟件", "網絡", "運行", "設置", "加載", "用戶", "驗證數據"),
    "zh-Hans": ("资料", "档案", "设定", "程式", "软体", "预设", "载入", "验证资料"),
}
"""Words that the other side of the strait uses."""


@cache
def page(language: str, name: str) -> dict[str, str]:
    """The words of a page; a key that stands there twice is a fault."""
    text = (FOLDER / language / f"{name}.yaml").read_text("utf-8")
    keys = re.findall(r"^([A-Za-z0-9_]+):", text, re.MULTILINE)
    assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)
    return dict(yaml.safe_load(text))


def every() -> Iterator[tuple[str, str, str]]:
    """Page, key and words of every language but the first."""
    for language in OTHERS:
        for name in PAGES:
            yield from ((language, f"{name}.{key}", text) for key, text in page(language, name).items())


def placeholders(text: str) -> set[str]:
    """The names of the places that values are put into."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@cache
def spoken() -> tuple[set[str], list[re.Pattern[str]]]:
    """Keys that the code writes out, and patterns of those that it puts together."""
    whole, made = set(), []
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and KEY.fullmatch(node.value):
                whole.add(node.value)
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in node.values]  # type: ignore[arg-type]
                made.append(re.compile("".join(parts)))
    return whole, made


def said() -> set[str]:
    """Keys that are asked of ``say`` or ``words`` as they stand."""
    found = set()
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "words"):
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and "." in str(arg.value)}
    return {str(key) for key in found}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", OTHERS)
def test_all_languages_say_the_same_with_the_same_values(language: str, name: str) -> None:
    theirs, ours = page(language, name), page(DEFAULT, name)
    assert sorted(theirs) == sorted(ours)
    differing = [key for key in ours if placeholders(str(ours[key])) != placeholders(str(theirs[key]))]
    assert differing == []


def test_there_are_no_words_of_a_page_in_one_language_only() -> None:
    assert {language: sorted(path.stem for path in (FOLDER / language).iterdir()) for language in LANGUAGES} == dict.fromkeys(
        LANGUAGES, PAGES
    )


def test_words_are_text_and_not_what_yaml_takes_for_something_else() -> None:
    odd = [f"{language} {name}.{key}" for language in LANGUAGES for name in PAGES for key, text in page(language, name).items()
           if not isinstance(text, str) or not text.strip()]  # fmt: skip
    assert odd == []


@pytest.mark.parametrize("name", PAGES)
def test_every_key_is_used_by_the_code(name: str) -> None:
    whole, made = spoken()
    keys = {f"{name}.{key}" for key in page(DEFAULT, name)}
    made = [pattern for pattern in made if pattern.pattern.startswith(f"{name}\\.")]
    unused = {key for key in keys - whole if not any(pattern.fullmatch(key) for pattern in made)}
    assert unused == set()


def test_every_key_that_the_code_says_is_there() -> None:
    known = {f"{name}.{key}" for name in PAGES for key in page(DEFAULT, name)}
    assert said() - known == set()


def test_no_sentence_was_left_in_english() -> None:
    """Names, units and formulas are the same in all languages; two words beside each other are a sentence."""
    two_words = re.compile(r"[A-Za-z]{2,} [a-z]{2,}")
    ours = {text for name in PAGES for text in page(DEFAULT, name).values() if two_words.search(re.sub(r"\{.*?\}", "", text))}
    assert [key for _, key, text in every() if text in ours] == []


@pytest.mark.parametrize("language", CODECS)
def test_each_script_is_written_in_its_own_characters_and_words(language: str) -> None:
    codec, faults = CODECS[language], []
    for spoken_in, key, text in every():
        if spoken_in != language:
            continue
        for char in re.findall(r"[\u4e00-\u9fff]", text):
            try:
                char.encode(codec)
            except UnicodeEncodeError:
                faults.append(f"{key}: {char}")
        faults += [f"{key}: {word}" for word in ELSEWHERE[language] if word in text]
    assert faults == []


def test_bold_text_ends_where_markdown_sees_it() -> None:
    """Two stars between a mark and a character of a text without spaces are read as two stars (CommonMark, flanking)."""
    faults = []
    for _, key, text in every():
        for number, stars in enumerate(re.finditer(r"\*\*", text)):
            before, after = text[: stars.start()][-1:], text[stars.end() :][:1]
            inner, outer = (after, before) if number % 2 == 0 else (before, after)
            if re.fullmatch(r"[^\w\s{}]", inner) and re.fullmatch(r"\w", outer):
                faults.append(f"{key}: {before}**{after}")
    assert faults == []


def test_a_character_of_the_other_script_is_seen() -> None:
    with pytest.raises(UnicodeEncodeError):
        "训".encode(CODECS["zh-Hant"])
    with pytest.raises(UnicodeEncodeError):
        "訓".encode(CODECS["zh-Hans"])
    assert Path(FOLDER).is_dir()
