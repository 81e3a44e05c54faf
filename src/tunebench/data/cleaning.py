"""What is done to every text first, in training and in every later prediction: ``data.clean`` of a recipe."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

from tunebench.data.clean_addresses import drop_paragraph_numbers, drop_urls
from tunebench.data.clean_marks import normalize_punctuation
from tunebench.data.readers import cell_fault
from tunebench.recipe.sources import Clean

Cleaner = Callable[[str], str]

_ELEMENTS = (
    "a|abbr|acronym|address|article|aside|audio|b|base|basefont|bdi|bdo|big|blink|blockquote|body|br|button|canvas|caption"
    "|center|cite|code|col|colgroup|data|dd|del|details|dfn|dir|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer"
    "|form|frame|frameset|h[1-6]|head|header|hgroup|hr|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|map|mark"
    "|marquee|meta|nav|nobr|noframes|noscript|object|ol|optgroup|option|p|param|picture|pre|q|rp|rt|ruby|s|samp|script"
    "|section|select|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template|textarea|tfoot|th"
    "|thead|time|title|tr|track|tt|u|ul|var|video|wbr"
)
_LONE = (
    "allowfullscreen|async|autoplay|checked|compact|controls|default|defer|disabled|download|hidden|ismap|itemscope|loop"
    "|multiple|muted|nohref|noshade|nowrap|open|readonly|required|reversed|selected"
)
# No part of a tag crosses the next `<`, and what matched is not tried again otherwise (`*+`): time stays linear.
_VALUE = r"""(?:"[^"<]*+"|'[^'<]*+'|[^\s"'<>`]++)"""
_ATTRIBUTE = rf"(?:[a-z_:][\w:.-]*+\s*+=\s*+{_VALUE}|(?:{_LONE})\b)"
_TAG = rf"</?(?:{_ELEMENTS})(?:\s++{_ATTRIBUTE})*+\s*+/?>"
_HIDDEN = "|".join(rf"<{name}(?:\s[^<>]*+)?>(?:(?!<{name}\b).)*?</{name}\s*+>" for name in ("script", "style"))
_COMMENT = r"<!--(?:(?!<!--).)*?-->|<!doctype\b[^<>]*+>"
_TAGS = re.compile(rf"(?:(?:{_HIDDEN}|{_COMMENT}|{_TAG})\s*+)++", re.IGNORECASE | re.DOTALL)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{0,31});")


def cleaner(clean: Clean) -> Cleaner:
    """The function that turns a text as it stands in a file into the text that is trained on and predicted.

    HTML goes first, once, as what an entity spells may look like a tag. Then addresses, paragraph numbers and punctuation,
    again where one rule made work for another: what is clean stays as it is.
    """
    strip: Cleaner = strip_html if clean.html == "strip" else _as_it_is
    rules = [rule for _, rule in _rules(clean)]
    return (lambda text: _settled(strip(text), rules)) if rules else strip


def settings_at_work(clean: Clean, text: str) -> list[str]:
    """The settings of ``data.clean`` that change this text.

    >>> settings_at_work(Clean(html="strip", urls="drop", punctuation="normalize"), "台灣,www.a.tw")
    ['urls', 'punctuation']
    """
    found = []
    for key, rule in [*([("html", strip_html)] if clean.html == "strip" else []), *_rules(clean)]:
        before, text = text, rule(text)
        found += [key] if text != before else []
    return found


def text_fault(value: Any, clean: Cleaner) -> str | None:
    """What is wrong with a cell that should hold a text: as it stands, or once it is cleaned."""
    return cell_fault(value) or (None if clean(str(value)).strip() else "is empty once it is cleaned (data.clean)")


def _rules(clean: Clean) -> list[tuple[str, Cleaner]]:
    """The rules behind that of HTML that a recipe asks for, in their order, with their settings."""
    wanted = (
        ("urls", clean.urls == "drop", drop_urls),
        ("paragraph_numbers", clean.paragraph_numbers == "drop", drop_paragraph_numbers),
        ("punctuation", clean.punctuation == "normalize", normalize_punctuation),
    )
    return [(key, rule) for key, is_wanted, rule in wanted if is_wanted]


def _settled(text: str, rules: list[Cleaner]) -> str:
    before = None
    while text != before:  # it ends: rules take characters away, or turn them into others that none turns back
        before = text
        for rule in rules:
            text = rule(text)
    return text


def strip_html(text: str) -> str:
    """The text without HTML: tags become a space, scripts, styles and comments vanish, entities become characters.

    Only what is a tag of HTML is one: ``a < b``, ``<3``, ``<unk>`` and ``<user>`` stay. Spaces around tags become one,
    all others stay as they are.

    >>> strip_html("Loved it!<br /><br />5 &lt; 6 &amp; a < b <3")
    'Loved it! 5 < 6 & a < b <3'
    """
    *before, last = _TAGS.split(text)
    parts = [part for part in (*(piece.rstrip() for piece in before), last) if part]
    return _ENTITY.sub(lambda found: html.unescape(found[0]), " ".join(parts))


def _as_it_is(text: str) -> str:
    return text
