"""``data.clean.punctuation: normalize``: one way to write letters, digits, marks and spaces in text with Han characters."""

from __future__ import annotations

import re
import unicodedata

# Han with its radicals, iteration marks and planes beyond the BMP (where Taigi has characters), kana, bopomofo.
_LETTERS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WIDE = _LETTERS + "\u3001-\u3003\u3008-\u3011\u3014-\u301b！（），．：；？［］｛｝"
_WIDTHS = {0xFF00 + code - 0x20: code for code in range(0x21, 0x7F) if chr(code).isalnum()}
_FULL = {ord(half): full for half, full in zip(",.!?:;()", "，。！？：；（）", strict=True)}

_SPACES = re.compile("[ \t\u00a0\u3000]+")
_EDGES = re.compile(r"(?:^ | $)", re.MULTILINE)
_POINT = re.compile("(?<=[0-9])[．：](?=[0-9])")
_THOUSANDS = re.compile("(?<![0-9，])[0-9]{1,3}(?:，[0-9]{3})+(?![0-9，])")
_BRACKETS = re.compile(r"[(（]([^()（）\n]*)[)）]")
_LETTER, _BESIDE = re.compile(f"[{_LETTERS}]"), re.compile(f"[{_WIDE}]")
_MARKS = re.compile(" ?[,.!?:;](?: ?[,.!?:;])* ?")


def normalize_punctuation(text: str) -> str:
    """The text in NFC, with full-width letters and digits in half width and half-width marks beside Han in full width.

    Marks within numbers are half width always (``1,000``, ``3.5``, ``10:30``); a point is a full stop only behind Han and
    before no letter or digit; brackets change in pairs. Spaces, also wide ones, become one; none stand at the ends of lines or
    beside a mark that was made wide. Kana and bopomofo count as Han; quotes and all other characters stay.

    >>> normalize_punctuation("Ａ１,中文(abc),有１，０００人:3.5% ... 好!?  是.")
    'A1，中文（abc），有1,000人：3.5% ... 好！？是。'
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").translate(_WIDTHS))
    text = _EDGES.sub("", _SPACES.sub(" ", text))
    text = _POINT.sub(lambda found: "." if found[0] == "．" else ":", text)
    text = _THOUSANDS.sub(lambda found: found[0].replace("，", ","), text)
    return _MARKS.sub(_wide_marks, _BRACKETS.sub(_wide_brackets, text))


def _neighbours(found: re.Match[str]) -> tuple[str, str]:
    return found.string[max(0, found.start() - 1) : found.start()], found.string[found.end() : found.end() + 1]


def _wide_brackets(found: re.Match[str]) -> str:
    """A pair of brackets in full width where one is, or where Han stands beside or between them."""
    pair = found[0][0] + found[0][-1]
    wide = pair != "()" or any(map(_LETTER.match, _neighbours(found))) or _LETTER.search(found[1])
    return f"（{found[1]}）" if wide else found[0]


def _wide_marks(found: re.Match[str]) -> str:
    """Marks in a row in full width where Han stands on one side of them, without a space, or on both; three points are dots."""
    before, after = _neighbours(found)
    marks = found[0].replace(" ", "")
    behind, ahead = bool(_BESIDE.match(before)), bool(_BESIDE.match(after))
    if not (behind and ahead):  # else spaces between do not matter
        behind, ahead = behind and not found[0].startswith(" "), ahead and not found[0].endswith(" ")
    if not marks.strip("."):
        if len(marks) == 1 and behind and (found[0].endswith(" ") or not (after.isascii() and after.isalnum())):
            return "。"
        return "……" if len(marks) > 2 and (behind or ahead) else found[0]
    return marks.translate(_FULL) if behind or (ahead and "." not in marks) else found[0]
