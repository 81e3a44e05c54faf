"""Why a text got its label: words are found in every script, what they weigh is what their absence does, and it ends in time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tunebench.errors import InputError
from tunebench.predict.occlusion import MOST_WORDS, occlude, words_in
from tunebench.predict.scorers import Scores


class Words:
    """Counts good and bad words among the first ``read`` ones; keeps what it was asked."""

    def __init__(self, read: int = 10**9, seconds: float = 0.0) -> None:
        self.read, self.seconds, self.asked = read, seconds, list[str]()

    def score(self, items: Sequence[Any], /) -> Scores:
        self.asked += items
        time.sleep(self.seconds * len(items))
        split = [item.split() for item in items]
        logits = [[0.0, sum({"good": 1.0, "bad": -2.0}.get(word, 0.0) for word in words[: self.read])] for words in split]
        return Scores(np.array(logits, np.float32), [len(words) > self.read for words in split])


class Fixed:
    """Scores every item the same way."""

    def __init__(self, **scores: Any) -> None:
        self.scores = {"logits": [[0.0, 1.0]], "truncated": [False]} | scores

    def score(self, items: Sequence[Any], /) -> Scores:
        return Scores(**(self.scores | {"logits": np.array(self.scores["logits"] * len(items), np.float32)}))


def chance(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't like half-baked films.", ["I", "don't", "like", "half-baked", "films"]),
        ("it’s 3 stars, (not)two", ["it’s", "3", "stars", "not", "two"]),
        ("這部電影 is 很好，真的", ["這", "部", "電", "影", "is", "很", "好", "真", "的"]),
        ("とてもガ\u3099いい", ["と", "て", "も", "ガ\u3099", "い", "い"]),
        ("ดีมาก", ["ดี", "ม", "า", "ก"]),
        ("बहुत अच्छी फ़िल्म", ["बहुत", "अच्छी", "फ़िल्म"]),
        ("Tsit pún tiān-iánn chin hó-khuànn, Pe̍h-ōe-jī", ["Tsit", "pún", "tiān-iánn", "chin", "hó-khuànn", "Pe̍h-ōe-jī"]),
        ("좋은 영화", ["좋은", "영화"]),
        ("great👍🏽👨‍👩‍👧 :-) wow! ... ok .", ["great", "👍🏽👨‍👩‍👧", ":-)", "wow", "!", "...", "ok"]),
        ("\t\n \u3000", []),
        ("a\x00b \ufffd", ["a\x00b", "\ufffd"]),
    ],
)
def test_words_are_found_in_every_script(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in words_in(text)] == words


def test_a_weight_is_what_the_probability_falls_by_without_the_word() -> None:
    text = "a good film good but bad end ."
    found = occlude(scorer := Words(), text + " good")
    whole = chance(1.0)
    assert (found.label, found.cut, found.truncated) == (1, False, False)
    assert found.probability == pytest.approx(whole, abs=1e-6)
    weights = {word.text: word.weight for word in found.words}
    assert weights == {
        "a": 0.0,
        "good": pytest.approx(whole - chance(0.0), abs=1e-5),
        "film": 0.0,
        "but": 0.0,
        "bad": pytest.approx(whole - chance(3.0), abs=1e-5),
        "end": 0.0,
    }
    assert all((text + " good")[word.start : word.end] == word.text for word in found.words)
    assert scorer.asked[1:3] == ["good film good but bad end . good", "a film good but bad end . good"]  # one space, not two


def test_the_label_explained_is_the_one_that_was_predicted() -> None:
    found = occlude(Words(), "a bad film")
    assert found.label == 0
    assert next(word.weight for word in found.words if word.text == "bad") == pytest.approx(chance(2.0) - 0.5, abs=1e-5)


def test_words_that_are_not_read_weigh_nothing() -> None:
    found = occlude(Words(read=3), "good film good bad bad bad")
    assert found.truncated
    assert [word.weight for word in found.words[4:]] == [0.0, 0.0]


@pytest.mark.parametrize(("from_end", "kept"), [(False, ["w0", "w1", "w2"]), (True, ["w7", "w8", "w9"])])
def test_only_so_many_words_are_tried_and_cut_says_so(*, from_end: bool, kept: list[str]) -> None:
    text = " ".join(f"w{i}" for i in range(10))
    found = occlude(Words(), text, most=3, from_end=from_end)
    assert [word.text for word in found.words] == kept
    assert found.cut
    assert not occlude(Words(), text, most=10, from_end=from_end).cut


def test_a_slow_scorer_is_asked_for_as_much_as_there_is_time_for() -> None:
    begun = time.perf_counter()
    found = occlude(Words(seconds=0.01), "film " * MOST_WORDS, patience=0.2)
    assert time.perf_counter() - begun < 0.5
    assert found.cut
    assert 0 < len(found.words) < 40
    assert occlude(Words(seconds=0.01), "a film", patience=0.0).words == []


def test_a_word_without_which_nothing_can_be_scored_weighs_nothing() -> None:
    class Picky(Words):
        def score(self, items: Sequence[Any], /) -> Scores:
            found = super().score(items)
            errors = [None if item else "there is nothing to score" for item in items]
            found.logits[[place for place, error in enumerate(errors) if error]] = np.nan
            return Scores(found.logits, found.truncated, errors)

    (word,) = occlude(Picky(), "good").words
    assert word.weight == 0.0


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (Fixed(errors=["the prompt leaves no room for it"]), "no room"),
        (Fixed(logits=[[np.nan, np.nan]], answers=[1], generated=["good"]), "written"),
    ],
)
def test_what_has_no_probability_is_not_explained(scorer: Fixed, words: str) -> None:
    with pytest.raises(InputError, match=words):
        occlude(scorer, "a film")
