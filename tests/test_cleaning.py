"""Cleaning: what is HTML goes, what only looks like it stays, and training and prediction see the same text, cleaned once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from shelf import finished_run, tunebench
from tiny import make_rows, write_csv, write_recipe

from tunebench import binding, jobs
from tunebench.data.cleaning import cleaner, strip_html
from tunebench.fitting import scored_items
from tunebench.predict.linear import LinearScorer
from tunebench.predict.scorers import Scores
from tunebench.recipe.sources import Clean
from tunebench.runs.card import model_card
from tunebench.runs.run import Run


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain  text,\n as it is ", "plain  text,\n as it is "),
        ("great film.<br /><br />I loved it", "great film. I loved it"),
        ("one<br>two<BR/>three", "one two three"),
        ("a  \n <br>\t b", "a b"),
        ("<p class='x'>text</p>", "text"),
        ('<a href="http://x/?a=1&b=2" target=_blank>here</a>', "here"),
        ("<input disabled><img src=a.png/>x", "x"),
        ("<h1>Title</h1>\n<ul><li>one<li>two</ul>", "Title one two"),
        ("x <script>if (a<b) { '<p>' }</script> y<style type='t'>p > a {}</style>", "x y"),
        ("x <!-- <b> not this --> y", "x y"),
        ("<!DOCTYPE html><html><body>x</body></html>", "x"),
        ("5 &lt; 6 &amp;&#38; caf&eacute; &#x1F600; &nbsp;", "5 < 6 && café 😀 \xa0"),
        ("&lt;br&gt; is a tag, &amp;lt; is not", "<br> is a tag, &lt; is not"),
        ("a < b, c > d and a<b and c>d", "a < b, c > d and a<b and c>d"),
        ("I <3 this <-- really, <<<, x <= y", "I <3 this <-- really, <<<, x <= y"),
        ("<unk> <user> said <URL>, <s1>", "<unk> <user> said <URL>, <s1>"),
        ("AT&T, R&D; ?x=1&copy=2&region=3 &foo;", "AT&T, R&D; ?x=1&copy=2&region=3 &foo;"),
        ("< br > and <br and < p>", "< br > and <br and < p>"),
        ("<br><br>", ""),
        ("שלום <b>😀</b> עולם", "שלום 😀 עולם"),
    ],
)
def test_only_html_goes(text: str, clean: str) -> None:
    assert strip_html(text) == clean
    assert cleaner(Clean(html="strip"))(text) == clean
    assert cleaner(Clean())(text) == text


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<!--", "<script>", '<a x="', "<a x=1 ", "&", " ", "<br> ", "</script ", "<b", "=' "]
)
def test_no_text_takes_long(piece: str) -> None:
    begun = time.perf_counter()
    strip_html("<script>" + piece * (300_000 // len(piece)))
    assert time.perf_counter() - begun < 3


def html_rows() -> list[dict[str, str]]:
    return [row | {"text": f"<p>{row['text']}<br /><br />tail {i} &amp; &lt;b&gt;</p>"} for i, row in enumerate(make_rows(60))]


@pytest.fixture(scope="module")
def html_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tfidf run over texts full of tags, of which one entity would become a tag if cleaned twice."""
    folder = tmp_path_factory.mktemp("html")
    recipe = write_recipe(folder / "html.yaml", data=write_csv(folder / "t.csv", html_rows()), method={"kind": "tfidf"})
    return jobs.train(str(recipe), ["data.clean.html=strip"], folder / "runs", lambda event: None).run


def test_training_evaluation_and_prediction_see_the_same_texts_cleaned_once(
    html_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    score = LinearScorer.score

    def listen(self: LinearScorer, texts: Sequence[str]) -> Scores:
        seen.extend(texts)
        return score(self, texts)

    monkeypatch.setattr(LinearScorer, "score", listen)
    bound = binding.bind(str(html_run.path / "recipe.yaml")).data
    assert bound.test is not None
    trained_like, raw = bound.test.texts, bound.test.columns["text"]
    assert all(text.endswith("& <b>") and "<br" not in text for text in trained_like + bound.train.texts)
    assert all("<br /><br />" in text for text in raw)

    jobs.evaluate(str(html_run.path), tmp_path)
    assert seen == trained_like
    seen.clear()
    jobs.predict_texts(str(html_run.path), tmp_path, raw)
    assert seen == trained_like
    seen.clear()
    source = write_csv(tmp_path / "in.csv", [{"text": text} for text in raw])
    jobs.predict_file(str(html_run.path), tmp_path, source, tmp_path / "out.parquet", None, lambda rows: None)
    assert seen == trained_like
    assert pq.read_table(tmp_path / "out.parquet").column("text").to_pylist() == raw
    assert sorted(scored_items(html_run)) == sorted(trained_like)
    assert pq.read_table(html_run.path / "predictions.parquet").column("text").to_pylist() == raw


def test_predictions_are_those_of_the_test_split(html_run: Run, tmp_path: Path) -> None:
    rows = pq.read_table(html_run.path / "predictions.parquet").to_pylist()
    found = jobs.predict_texts(str(html_run.path), tmp_path, [row["text"] for row in rows])
    assert [item["probabilities"]["positive"] for item in found] == [row["probability_positive"] for row in rows]


def test_a_text_that_cleaning_leaves_empty_is_told(html_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = jobs.predict_texts(str(html_run.path), tmp_path, ["<br />"])
    assert (found["predicted"], found["error"]) == (None, "the text is empty once it is cleaned (data.clean)")
    data = write_csv(tmp_path / "t.csv", [*html_rows(), {"id": "x", "text": "<p></p>", "label": "positive"}])
    recipe = write_recipe(tmp_path / "r.yaml", data=data)
    assert tunebench(capsys, "train", recipe, "--runs", tmp_path / "a")[0] == 0
    code, _, words = tunebench(capsys, "train", recipe, "--set", "data.clean.html=strip", "--runs", tmp_path / "b")
    assert code == 2
    assert "row 61: 'text' is empty once it is cleaned (data.clean); correct or remove the row" in words


def test_cleaning_is_part_of_what_a_run_is(html_run: Run) -> None:
    settings: dict[str, Any] = json.loads((html_run.path / "manifest.json").read_text("utf-8"))["identity"]
    assert settings["data.clean.html"] == "strip"


def test_the_model_card_tells_those_who_use_it_without_tunebench(tmp_path: Path) -> None:
    data = {"train": "t.csv", "validation": {"fraction": 0.1}, "test": {"fraction": 0.1}, "clean": {"html": "strip"}}
    cards = [model_card(run, run.metrics) for run in (finished_run(tmp_path, "a"), finished_run(tmp_path, "b", data=data))]
    assert ["cleaner(Clean(html='strip'))" in card for card in cards] == [False, True]
    more = finished_run(tmp_path, "c", data=data | {"clean": {"urls": "drop", "punctuation": "normalize"}})
    assert "addresses are taken out, letters, marks and spaces are written in one way" in model_card(more, more.metrics)
    assert "`cleaner(Clean(urls='drop', punctuation='normalize'))`" in model_card(more, more.metrics)
