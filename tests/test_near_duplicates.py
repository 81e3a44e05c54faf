"""Nearly equal texts: all of them are found and nothing else, whatever the batches, and boilerplate takes no ages."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tunebench.data import duplicates, shingles
from tunebench.data.duplicates import SIMILAR, NearIndex, plain

VOCABULARY = [f"{left}{right}" for left in "bdfgklmnprst" for right in ("a", "e", "i", "o", "u", "an", "er", "is", "ol", "um")]


def words(draw: random.Random, number: int) -> list[str]:
    return draw.choices(VOCABULARY, k=number)


def changed(text: Sequence[str], draw: random.Random, number: int) -> str:
    """The text with some of its words replaced, in other case and with other spaces and punctuation."""
    edited = list(text)
    for place in draw.sample(range(len(edited)), number):
        edited[place] = "other"
    return " ".join(edited).upper().replace(" ", ",  ", 2) + "!"


def pairs(one: Sequence[str], other: Sequence[str]) -> set[tuple[int, int]]:
    index = NearIndex(shingles.shingles(other))
    found = index.search(shingles.shingles(one), np.ones(len(other), bool))
    return set(zip(*(places.tolist() for places in found), strict=True))


def jaccard(one: str, other: str) -> float:
    """The figure by its definition, with words as a regular expression finds them."""

    def sequences(text: str) -> set[tuple[str, ...]]:
        found = re.findall(r"\w+", text.lower())
        return set(zip(found, found[1:], found[2:], strict=False)) if len(found) >= shingles.LEAST_WORDS else set()

    left, right = sequences(one), sequences(other)
    return len(left & right) / len(left | right) if left and right else 0.0


def test_planted_pairs_are_found_and_unrelated_texts_are_not() -> None:
    draw = random.Random(1)
    texts = [words(draw, draw.randint(20, 60)) for _ in range(600)]
    planted = [changed(text, draw, len(text) // 20) for text in texts[:200]]
    found = pairs([" ".join(text) for text in texts], planted)
    assert len({other for one, other in found if one == other}) >= 0.95 * len(planted)
    assert {(one, other) for one, other in found if one != other} == set()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_search_finds_exactly_what_comparing_all_pairs_finds(seed: int) -> None:
    draw = random.Random(seed)
    roots = [words(draw, draw.randint(4, 30)) for _ in range(25)]
    one = [changed(draw.choice(roots), draw, draw.randint(0, 4)) for _ in range(120)]
    other = [changed(draw.choice(roots), draw, draw.randint(0, 4)) for _ in range(80)]
    expected = {(i, j) for i, left in enumerate(one) for j, right in enumerate(other) if jaccard(left, right) >= SIMILAR}
    assert len(expected) > 50
    assert pairs(one, other) == expected


def test_a_text_that_is_half_of_another_is_just_found() -> None:
    whole = words(random.Random(9), 22)  # 20 sequences, of which the first 12 words hold 10
    assert pairs([" ".join(whole)], [" ".join(whole[:12])]) == pairs([" ".join(whole[:12])], [" ".join(whole)]) == {(0, 0)}
    assert pairs([" ".join(whole)], [" ".join(whole[:11])]) == pairs([" ".join(whole[:11])], [" ".join(whole)]) == set()


def test_scripts_without_spaces_are_compared_by_character() -> None:
    text = "這部電影的故事很感人演員的表現也非常好值得再看一次"
    assert pairs([text, "天氣很好我們去公園散步然後一起吃飯聊天直到晚上"], [text.replace("非常", "特別")]) == {(0, 0)}


def test_short_texts_and_texts_without_words_have_no_near_twin() -> None:
    texts = ["good film", "!!! ???", "", "one two three four five six seven"]
    assert pairs(texts, texts) == set()
    assert shingles.count_words(texts) == [2, 0, 0, 7]


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(4)
    texts = [" ".join(words(draw, number)) for number in (9, 200, 0, 30, 8, 12, 1000)]
    whole, counted = shingles.shingles(texts), shingles.count_words(texts)
    monkeypatch.setattr(shingles, "_BATCH_CHARACTERS", 50)
    parts = shingles.joined([shingles.shingles([text]) for text in texts])
    for found in (shingles.shingles(texts), parts):
        assert np.array_equal(found.hashes, whole.hashes)
        assert np.array_equal(found.bounds, whole.bounds)
    assert shingles.count_words(texts) == counted == [9, 200, 0, 30, 8, 12, 1000]


def test_long_texts_are_compared_by_their_first_words() -> None:
    draw = random.Random(5)
    start = words(draw, shingles.MOST_WORDS)
    assert pairs([" ".join(start + words(draw, 2000))], [" ".join(start + words(draw, 2000))]) == {(0, 0)}


def test_only_what_is_wanted_is_found() -> None:
    text = " ".join(words(random.Random(6), 20))
    index, found = NearIndex(shingles.shingles([text, text])), shingles.shingles([text])
    assert index.search(found, np.array([False, True]))[1].tolist() == [1]


def notice(draw: random.Random) -> str:
    number, street, day = (draw.randint(1, 10**6) for _ in range(3))
    return f"dear customer your order {number} has been sent to street {street} and will be there on day {day} thank you"


def babble(draw: random.Random) -> str:
    return " ".join(draw.choices("abcdef", k=20))


@pytest.mark.parametrize("make", [notice, babble])
def test_boilerplate_is_held_against_few_and_counted(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[random.Random], str]
) -> None:
    draw = random.Random(7)
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 4)
    index = NearIndex(shingles.shingles([make(draw) for _ in range(500)]))
    before, texts = index._left, shingles.shingles([make(draw) for _ in range(300)])
    index.search(texts, np.ones(500, bool))
    assert 0 < before - index._left <= 300 * 4 * int(texts.sizes.max())
    assert index.incomplete > 290
    monkeypatch.setattr(index, "_left", 0)
    assert [len(places) for places in index.search(texts, np.ones(500, bool))] == [0, 0]


def test_an_index_of_nothing_finds_nothing() -> None:
    assert pairs([" ".join(words(random.Random(8), 20))], []) == set()
    assert pairs([], [" ".join(words(random.Random(8), 20))]) == set()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("A  good\tFilm \n", "a good film", True),
        ("a good film", "a good film!", False),
        ("x " * 600_000, "X\n" * 600_000, True),  # so long that words are not split apart
        ("x " * 600_000, "x " * 600_001, False),
    ],
)
def test_exactly_means_case_and_spaces_aside(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert (plain(one) == plain(other)) == same
