"""``data.clean.urls`` and ``data.clean.paragraph_numbers``: what is taken out of a text, and nothing beside it."""

from __future__ import annotations

import re

# An address is ASCII; it ends before closing punctuation, and holds a closing bracket only with its opening one.
_INSIDE = r"A-Za-z0-9\-._~:/?#@!$&'*+,;=%|"
_URL = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?:https?|ftp)://|www\.)[A-Za-z0-9](?:[{_INSIDE}]|\([{_INSIDE}]*\))*(?<=[A-Za-z0-9/#=&_~%+$)-])",
    re.IGNORECASE,
)
_SPACES = " \t\u00a0\u3000"
_CLOSING = tuple(".,;:!?)]}>，。；：！？、）］｝】」』〉》〕\n\r")
_PAIRS = ("()", "[]", "{}", "<>", "（）", "［］", "【】", "「」", "『』", "〈〉", "《》", "〔〕")

_HAN_DIGITS = "〇零一二三四五六七八九十百"
_NUMBER = "|".join(
    (
        r"[0-9０-９]{1,3}[.．](?![0-9０-９A-Za-z.．])",  # not 3.14, not 2.x, not 3... 2... 1...
        r"[0-9０-９]{1,3}[)）、](?![0-9０-９])",  # not 3、4月
        r"[(（](?:[0-9０-９]{1,3}|[" + _HAN_DIGITS + r"]{1,4})[)）]",
        rf"[{_HAN_DIGITS}]{{1,4}}、(?![{_HAN_DIGITS}])",  # not 三、四月
        rf"第[ \u3000]?(?:[0-9０-９]{{1,3}}|[{_HAN_DIGITS}]{{1,4}})[ \u3000]?段(?:[:：、.．]|(?=[{_SPACES}\r\n]|\Z))",
        r"[①-⒇㈠-㈩❶-❿]",
    )
)
_NUMBERING = re.compile(rf"^[{_SPACES}]*+(?:(?:{_NUMBER})[{_SPACES}]*+)++", re.MULTILINE)


def drop_urls(text: str) -> str:
    """The text without addresses, and without brackets that held nothing else; Han characters behind one stay.

    >>> drop_urls("see https://a.b/c?d=1, or (www.x.tw) for more。請看http://a.tw/b中文")
    'see, or for more。請看中文'
    """
    first, *others = _URL.split(text)
    if not others:
        return text
    kept, last = [], first
    for i, piece in enumerate(others, 1):
        if i < len(others) and piece and not piece.strip(_SPACES):
            last += piece[:1]  # nothing but spaces between two addresses
            continue
        before, last = _apart(last, piece)
        kept.append(before)
    return "".join([*kept, last])


def _apart(left: str, right: str) -> tuple[str, str]:
    """Both sides of an address that is gone, with one space between them where one was and is needed."""
    before, after = left.rstrip(_SPACES), right.lstrip(_SPACES)
    if before and after and before[-1] + after[0] in _PAIRS:
        left, right = before[:-1], after[1:]
        before, after = left.rstrip(_SPACES), right.lstrip(_SPACES)
    spaced = (before != left or after != right) and before and after and not before.endswith(("\n", "\r"))
    return before, (" " if spaced and not after.startswith(_CLOSING) else "") + after


def drop_paragraph_numbers(text: str) -> str:
    """The text without the numbers that its lines begin with: ``12.``, ``3)``, ``(3)``, ``三、``, ``第 4 段``, ``①``.

    Years, decimals and enumerations stay, as do numbers that no mark or space sets apart from what follows.

    >>> drop_paragraph_numbers("1. 台灣\\n(二) 2008年\\n3.14 is pi\\n第 4 段：完\\n三、四月")
    '台灣\\n2008年\\n3.14 is pi\\n完\\n三、四月'
    """
    return _NUMBERING.sub("", text)
