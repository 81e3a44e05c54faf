"""The rules of ``data.clean`` that need no tags: addresses, paragraph numbers, punctuation; what is clean stays as it is."""

from __future__ import annotations

import random
import time
import unicodedata

import pytest

from tunebench.data.clean_addresses import drop_paragraph_numbers, drop_urls
from tunebench.data.clean_marks import normalize_punctuation
from tunebench.data.cleaning import cleaner, settings_at_work, text_fault
from tunebench.recipe.sources import Clean

ALL = Clean(html="strip", urls="drop", paragraph_numbers="drop", punctuation="normalize")
RULES = {
    "urls": Clean(urls="drop"),
    "paragraph_numbers": Clean(paragraph_numbers="drop"),
    "punctuation": Clean(punctuation="normalize"),
    "all": Clean(urls="drop", paragraph_numbers="drop", punctuation="normalize"),
}
KEPT = "𪜶𫝛𠢕 啊かなカナーㄅㄆㄧˋ ê lâng kóng「…」『』、—《》 100% $5 a@b.tw '\"\n\nbó͘"
"""Taigi beyond the BMP, kana, bopomofo, romanisation, quotes: no rule touches any of it."""


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see https://a.b/c?d=1&e=2#f for more", "see for more"),
        ("請看http://a.tw/b中文", "請看中文"),
        ("請看http://a.tw/b。中文", "請看。中文"),
        ("請看（http://a.tw/b），中文", "請看，中文"),
        ("（來源：http://a.tw/b）。", "（來源：）。"),
        ("ftp://a.b/c.txt www.a.tw HTTPS://A.B", ""),
        ("end http://a.b.", "end."),
        ("a http://a.b, http://c.d; e", "a,; e"),
        ("wiki https://a.b/c_(d)! (see www.a.b/c)", "wiki! (see)"),
        ("one\nhttp://a.b\ntwo http://a.b\nthree", "one\n\ntwo\nthree"),
        ("a http://a.b http://c.d e", "a e"),
        ("wwww.a.b httpd://x www. http:// www.台灣.tw http", "wwww.a.b httpd://x www. http:// www.台灣.tw http"),
        ("I like the www and http", "I like the www and http"),
    ],
)
def test_addresses_go_and_nothing_beside_them(text: str, clean: str) -> None:
    assert drop_urls(text) == clean
    assert cleaner(RULES["urls"])(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("12. text", "text"),
        ("1.台灣\n  2) 好\n（3）是", "台灣\n好\n是"),
        ("(3) text\n(三) 文\n三、文\n第 4 段：文\n第四段\n①文", "text\n文\n文\n文\n\n文"),
        ("１２．　文", "文"),
        ("1. (a) 2. text", "(a) 2. text"),
        ("1. 2. text", "text"),
    ],
)
def test_numbers_of_paragraphs_go(text: str, clean: str) -> None:
    assert drop_paragraph_numbers(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "3.14 is pi", "2008年", "2008. It was", "(2008) it was", "一九九九年", "3、4月", "三、四月", "10:30 開始", "5 people",
        "2.x is out", "3... 2... 1...", "第四段落", "第三段的內容", "第1名", "in 12. text", "文三、文", "3）5", "1,000 元",
        "百貨公司", "1.5倍",
    ],
)  # fmt: skip
def test_what_is_no_number_of_a_paragraph_stays(text: str) -> None:
    assert drop_paragraph_numbers(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Ａｂ１２，中文", "Ab12，中文"),
        ("中文,中文.中文!中文?中文:中文;中文", "中文，中文。中文！中文？中文：中文；中文"),
        ("他講: 好 , 好。", "他講：好，好。"),
        ("有1,000人,3.5% 佇10:30.", "有1,000人，3.5% 佇10:30."),
        ("１，０００元　３．５倍　１０：３０", "1,000元 3.5倍 10:30"),
        ("2007，2008年", "2007，2008年"),
        ("台灣.com 的 a.中 是.", "台灣.com 的 a.中 是。"),
        ("Obama(歐巴馬)f(x) (a) （b)中", "Obama（歐巴馬）f(x) (a) （b）中"),
        ("好...好!!!好..", "好……好！！！好.."),
        ("か,カ!ㄅ?𪜶.", "か，カ！ㄅ？𪜶。"),
        ("Hello, world. (Yes!) It's 3:4;", "Hello, world. (Yes!) It's 3:4;"),
        ("  a \t b\u00a0\u3000c \r\n d ", "a b c\nd"),
        ("e\u0301 \uff21\u0301 ﬁ", "é Á ﬁ"),
        ("「好」,他講", "「好」，他講"),
    ],
)
def test_marks_beside_han_are_wide_and_numbers_stay(text: str, clean: str) -> None:
    assert normalize_punctuation(text) == clean


def test_other_scripts_and_marks_stay_as_they_are() -> None:
    for clean in RULES.values():
        assert cleaner(clean)(KEPT) == KEPT


@pytest.mark.parametrize("name", RULES)
def test_what_is_clean_stays_as_it_is(name: str) -> None:
    clean, drawn = cleaner(RULES[name]), random.Random(5)
    pieces = [
        *"中𪜶かㄅa1A１Ａ,.!?:;()（），。 \t\n\u3000\u0301．：、\r\u212a\u037e…「」êe三",
        "http://",
        "www.",
        "ｗｗｗ",
        "第",
        "段",
        "(3)",
        "2. ",
    ]
    for _ in range(4000):
        once = clean("".join(drawn.choices(pieces, k=drawn.randint(1, 14))))
        assert clean(once) == once
        assert name in ("urls", "paragraph_numbers") or unicodedata.is_normalized("NFC", once)


def test_one_rule_makes_work_for_another() -> None:
    assert cleaner(ALL)("http://a.b 1. <b>ｗｗｗ.a.b</b> 2.中文,&lt;b&gt;") == "中文，<b>"
    assert cleaner(ALL)("&amp;lt;") == "&lt;"  # html once


def test_the_settings_that_change_a_text_are_told() -> None:
    assert settings_at_work(ALL, "<p>1. 中文,www.a.tw</p>") == ["html", "urls", "paragraph_numbers", "punctuation"]
    assert settings_at_work(ALL, "中文") == []
    assert settings_at_work(Clean(), "<p>1. 中文,www.a.tw</p>") == []
    assert text_fault("http://a.b", cleaner(RULES["urls"])) == "is empty once it is cleaned (data.clean)"


@pytest.mark.parametrize(
    "piece", ["http://a", "www.a(", "www.a.", "((", "1. ", "1，000", ", ", " ", "\n ", "一", "第", "中,", "(a", "."]
)
def test_no_text_takes_long(piece: str) -> None:
    begun = time.perf_counter()
    cleaner(RULES["all"])(piece * (200_000 // len(piece)))
    assert time.perf_counter() - begun < 3
