"""The README says the same in every language: its translations have the same commands, output, figures and links."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from test_app_words import CODECS, ELSEWHERE

from tunebench.languages import DEFAULT, LANGUAGES

ROOT = Path(__file__).resolve().parent.parent
NAMES = {language: "README.md" if language == DEFAULT else f"README.{language}.md" for language in LANGUAGES}
OTHERS = [language for language in LANGUAGES if language != DEFAULT]

_BLOCK = re.compile(r"^```(?P<mark>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)]+)\)")
_CODE = re.compile(r"`[^`]+`")
_FIGURE = re.compile(r"\d[\d.,:]*(?:e-?\d+)?")


def readme(language: str) -> str:
    return (ROOT / NAMES[language]).read_text("utf-8")


def untranslated(mark: str, text: str) -> list[str]:
    """What stays in a block: all of it but comments, and in a tree of files the path of every line."""
    lines = text.splitlines()
    if mark.startswith(("sh", "yaml")):
        return [re.sub(r"\s+# .*", "", line) for line in lines]
    is_tree = any(line.endswith("/") for line in lines)
    return [re.match(r"\s*\S*", line)[0] if is_tree else line for line in lines]  # type: ignore[index]


def faults(ours: str, theirs: str) -> list[str]:
    """Where a translation says something else than what it was translated from."""
    found = []
    blocks, others = ([(one["mark"], one["text"]) for one in _BLOCK.finditer(text)] for text in (ours, theirs))
    if [mark for mark, _ in blocks] != [mark for mark, _ in others]:
        return ["has other blocks"]
    for place, ((mark, text), (_, other)) in enumerate(zip(blocks, others, strict=True)):
        if untranslated(mark, text) != untranslated(mark, other):
            found.append(f"block {place} differs: {text.splitlines()[0]!r}")
    sections, others_sections = (re.split(r"^#+ ", _BLOCK.sub("", text), flags=re.MULTILINE)[1:] for text in (ours, theirs))
    if len(sections) != len(others_sections):
        return [*found, f"has {len(others_sections)} sections, not {len(sections)}"]
    for section, other in zip(sections, others_sections, strict=True):
        for name, facts in {"links": links, "code": code, "figures": figures, "paragraphs": paragraphs}.items():
            if lost := (facts(section) - facts(other)) + (facts(other) - facts(section)):
                found.append(f"{name} differ under {section.splitlines()[0]!r}: {', '.join(lost)}")
    return found


def links(text: str) -> Counter[str]:
    return Counter(target for target in _LINK.findall(text) if target not in NAMES.values())


def code(text: str) -> Counter[str]:
    return Counter(_CODE.findall(text))


def figures(text: str) -> Counter[str]:
    return Counter(found.rstrip(".,:") for found in _FIGURE.findall(_CODE.sub("", _LINK.sub("", text))))


def paragraphs(text: str) -> Counter[str]:
    """How many paragraphs and points there are, by kind."""
    kinds = ("point" if part.startswith("- ") else "paragraph" for part in re.split(r"\n\n+|\n(?=- )", text) if part.strip())
    return Counter(f"{kind} {number}" for number, kind in enumerate(kinds))


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_same_commands_figures_and_links(language: str) -> None:
    assert faults(readme(DEFAULT), readme(language)) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("tunebench starter ", "tunebench fetch "), "block 0 differs"),
        (("name: a  # a comment", "name: b  # 註解"), "block 1 differs"),
        (("accuracy  0.77", "accuracy  0.78"), "block 2 differs"),
        (("  adapter/    ", "  model/    "), "block 3 differs"),
        (("(docs/cli.md)", "(docs/plan.md)"), "links differ under 'Tour'"),
        (("`--json`", "`--yaml`"), "code differ under 'Tour'"),
        (("1,288 rows", "1,289 rows"), "figures differ under 'Tour'"),
        (("- last point\n", ""), "paragraphs differ under 'Tour'"),
        (("## Tour", "Tour"), "has 1 sections, not 2"),
        (("```yaml recipe", "```yaml"), "has other blocks"),
        (("# a comment", "# 註解"), None),
        (("the weights", "權重"), None),
        (("says all of it", "全都說了"), None),
    ],
)
def test_what_a_translation_lost_is_named(change: tuple[str, str], fault: str | None) -> None:
    blocks = ["sh\ntunebench starter  # fetches", "yaml recipe\nname: a  # a comment", "text\naccuracy  0.77"]
    blocks.append("text\nruns/a/\n  adapter/    the weights")
    prose = "# a\n\n## Tour\n\nIt says all of it with `--json` on 1,288 rows: [all](docs/cli.md).\n\n- a point\n- last point\n"
    ours = prose + "".join(f"\n```{block}\n```\n" for block in blocks)
    assert change[0] in ours
    found = faults(ours, ours.replace(*change))
    assert found == [] if fault is None else fault in found[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_readme_leads_to_the_other_languages(language: str) -> None:
    line = readme(language).splitlines()[2]
    shown = [name if other == language else f"[{name}]({NAMES[other]})" for other, name in LANGUAGES.items()]
    assert line == " · ".join(shown)


@pytest.mark.parametrize("language", OTHERS)
def test_each_script_is_written_in_its_own_characters_and_words(language: str) -> None:
    text = re.sub("|".join(LANGUAGES.values()), "", readme(language))
    strange = []
    for char in sorted(set(re.findall(r"[\u4e00-\u9fff]", text))):
        try:
            char.encode(CODECS[language])
        except UnicodeEncodeError:
            strange.append(char)
    assert strange + [word for word in ELSEWHERE[language] if word in text] == []
