"""The studio's words: every language says everything, in its own characters, and nothing is said that no page says.

What the engine says is English there, and translated here: all of it, and nothing that it does not say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import pytest
import yaml

from tunebench.app.form_widgets import help_keys, summary_key
from tunebench.app.forms import form, summary
from tunebench.app.words import DEFAULT, FOLDER, LANGUAGES
from tunebench.data import gates
from tunebench.data.findings import Lengths, Shared, SplitFindings
from tunebench.data.scripts import ScriptFindings
from tunebench.recipe.methods import METHODS_OF, method_kinds

APP = FOLDER.parent
OTHERS = [language for language in LANGUAGES if language != DEFAULT]
PAGES = sorted(path.stem for path in (FOLDER / DEFAULT).glob("*.yaml"))
ENGINE = ["checks", "settings"]
"""Texts of the engine: their English is its own."""
AS_THEY_ARE = re.compile(r"`[^`]+`|\d+(?:[.-]\d+)*|\{[^}]*\}|[A-Za-z0-9]+(?:[._][A-Za-z0-9]+)+")
"""Code, numbers, and names of settings and files."""
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
    keys = re.findall(r'^("[^"]+"|[^\s#":]+):', text, re.MULTILINE)
    assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)
    return dict(yaml.safe_load(text))


def every() -> Iterator[tuple[str, str, str]]:
    """Page, key and words of every language but the first."""
    for language in OTHERS:
        for name in PAGES + ENGINE:
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


@cache
def settings() -> dict[str, str]:
    """The English of all that forms say of settings and methods, by the key of its translation."""
    translations, found = set(page(OTHERS[0], "settings")), {}
    for task, kinds in METHODS_OF.items():
        for kind in kinds:
            told = {summary_key(kind): summary(kind)}
            for field in form(kind, task):
                if field.key != "method.kind":
                    own, shared = help_keys(field, kind)
                    told[own if own in translations else shared] = field.help
            clashing = {key for key, text in told.items() if found.setdefault(key, text) != text}
            assert clashing == set(), f"{kind} says something of its own of these: they need a key of its own"
    return found


@cache
def checks() -> dict[str, str]:
    """Names and remedies of all checks, each by itself."""
    part = SplitFindings("", 2, 0, {"a": 1, "b": 1}, 0.5, 0, 0, Lengths({"a": 1, "b": 1}, {"a": 0}, None))
    shared = [Shared(later, "train", 2, 0, 0, 0) for later in ("validation", "test")]
    script = ScriptFindings("Latin", 2, 1.0, 1.0, 0.0, 0.0)
    made = gates.gates(dict.fromkeys(("train", "validation", "test"), part), shared, [], [], [script])
    calls = re.findall(r"(?<!def )\b_(?:count|share)\(", Path(gates.__file__).read_text("utf-8"))
    assert len(made) == len(calls) + len(shared) - 1, "this world does not make every check"
    return {text: text for gate in made for text in (gate.name, gate.remedy)}


def test_forms_show_every_method() -> None:
    assert {summary_key(kind) for kind in method_kinds()} <= set(settings())


@pytest.mark.parametrize("name", ENGINE)
@pytest.mark.parametrize("language", OTHERS)
def test_all_that_the_engine_says_of_settings_and_checks_is_translated_and_nothing_else(language: str, name: str) -> None:
    theirs, ours = page(language, name), {"settings": settings, "checks": checks}[name]()
    assert sorted(theirs) == sorted(ours)
    kept = {key: (set(AS_THEY_ARE.findall(ours[key])), set(AS_THEY_ARE.findall(theirs[key]))) for key in ours}
    assert {key: sets for key, sets in kept.items() if sets[0] != sets[1]} == {}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", OTHERS)
def test_all_languages_say_the_same_with_the_same_values(language: str, name: str) -> None:
    theirs, ours = page(language, name), page(DEFAULT, name)
    assert sorted(theirs) == sorted(ours)
    differing = [key for key in ours if placeholders(str(ours[key])) != placeholders(str(theirs[key]))]
    assert differing == []


def test_there_are_no_words_of_a_page_in_one_language_only() -> None:
    found = {language: sorted(path.stem for path in (FOLDER / language).iterdir()) for language in LANGUAGES}
    assert found == {DEFAULT: PAGES, **{language: sorted(PAGES + ENGINE) for language in OTHERS}}


def test_words_are_text_and_not_what_yaml_takes_for_something_else() -> None:
    ours = [(DEFAULT, f"{name}.{key}", text) for name in PAGES for key, text in page(DEFAULT, name).items()]
    assert [(language, key) for language, key, text in [*ours, *every()] if not isinstance(text, str) or not text.strip()] == []


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
    ours |= {text for english in (settings(), checks()) for text in english.values()}
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
