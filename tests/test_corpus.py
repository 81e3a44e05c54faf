"""A corpus becomes documents: read from any shape of files, cleaned, merged, each once, cut to size; nothing is lost unsaid."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunebench.data.corpus import DOCUMENT, read_corpus, shared_documents
from tunebench.data.corpus_audit import Audited, counts, write_audit
from tunebench.data.corpus_cuts import pieces
from tunebench.data.dataset import bind
from tunebench.data.rows import Rows
from tunebench.errors import InputError
from tunebench.recipe.load import load_recipe
from tunebench.recipe.sources import Clean, Data

TAIGI = Path(__file__).parents[2] / "shared" / "data" / "taigi" / "corpus"
NAMES = "春夏秋冬東西南北山水火風花鳥魚蟲日月星雲雨雪木金土石人手口目耳心田草竹米車馬牛羊門戶刀弓"


def prose(seed: int, sentences: int = 8) -> str:
    """Sentences of Han characters, another text for another seed."""
    drawn = random.Random(seed)
    return "".join("".join(drawn.choices(NAMES, k=drawn.randint(5, 12))) + "。" for _ in range(sentences))


def corpus(place: Path | str, split: str = "train", text: str = "text", **clean: Any) -> tuple[Rows, list[Audited]]:
    data = Data(train=str(place), text=text, clean=Clean(**clean))
    source = data.source("train")
    assert source is not None
    return read_corpus(place, data, source, split)


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    return path


def refusal(place: Path | str, split: str = "train", **clean: Any) -> str:
    with pytest.raises(InputError) as caught:
        corpus(place, split, **clean)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_shape_of_file_holds_the_same_documents(tmp_path: Path) -> None:
    texts = [prose(1), prose(2), prose(3)]
    rows = [{"text": text} for text in texts]
    write(tmp_path / "t.json", rows)
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    (tmp_path / "t.csv").write_text("text\n" + "\n".join(texts), "utf-8")
    (tmp_path / "t.tsv").write_text("text\n" + "\n".join(texts), "utf-8")
    pq.write_table(pa.table({"text": texts}), tmp_path / "t.parquet")
    for ending in ("json", "jsonl", "csv", "tsv", "parquet"):
        found, audited = corpus(tmp_path / f"t.{ending}")
        assert (found.ids, found.texts, found.labels) == (["1", "2", "3"], texts, ["", "", ""])
        assert (audited, found.columns[DOCUMENT]) == ([], ["1", "2", "3"])


def test_a_folder_of_texts_is_read_with_all_below_it(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.TXT", "a/deep/er.txt", ".hidden.txt", ".git/x.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"\ufeff{name}\n", "utf-8")
    found, _ = corpus(tmp_path)
    assert found.ids == ["a/deep/er.txt", "a/z.TXT", "b.txt"]
    assert found.texts == found.ids
    assert found.remark is not None
    assert "left out 1 files that are no .txt" in found.remark


def test_a_pattern_survives_the_recipe_and_takes_files_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "my [odd] folder"
    for name in ("b.json", "a.json", ".c.json", "more/d.json"):
        write(folder / "data" / name, [{"text": f"{name} {i}", "url": name} for i in (1, 2)])
    recipe = folder / "r.yaml"
    recipe.write_text(
        "{name: r, task: language-modeling, base: {model: x}, data: {train: 'data/*.json', validation: {fraction: 0.5}}, method: "
        "{kind: full}}"
    )
    train = load_recipe(str(recipe)).data.train
    assert isinstance(train, str)
    found, _ = corpus(train)
    assert found.ids == ["a.json:1", "a.json:2", "b.json:1", "b.json:2"]
    assert found.columns["url"] == ["a.json", "a.json", "b.json", "b.json"]
    assert corpus(str(folder / "data/**/*.json"))[0].ids[-2:] == ["more/d.json:1", "more/d.json:2"]
    write(folder / "data/[1].json", [{"text": "one"}, {"text": "two"}])
    assert corpus(str(folder / "data/[1].json"))[0].texts == ["one", "two"]


def paragraphs(order: Sequence[Any], title: str = "t") -> list[dict[str, Any]]:
    return [{"title": title, "author": "a", "text": f"{title}{place}", "at": place} for place in order]


def test_paragraphs_become_documents_in_their_order(tmp_path: Path) -> None:
    rows = [*paragraphs([10, 2, 1]), *paragraphs([3], "u"), *paragraphs([9.5])]
    rows += [{"title": "v", "author": None, "text": "no author", "at": 1}]
    found, audited = corpus(write(tmp_path / "t.json", rows), merge_by=["title", "author"], order_by="at")
    assert found.texts == ["t1\nt2\nt9.5\nt10", "u3", "no author"]
    assert found.columns == {"title": ["t", "u", "v"], "author": ["a", "a", None], DOCUMENT: ["3", "4", "6"]}
    assert (audited, found.remark) == ([], "train: 6 paragraphs are 3 documents")
    as_text = [row | {"at": str(row["at"])} for row in rows]
    assert corpus(write(tmp_path / "s.json", as_text), merge_by=["title", "author"], order_by="at")[0].texts == found.texts
    dated = paragraphs(["2020-10-02", "2020-10-01"]) + paragraphs(["a"], "u")
    assert corpus(write(tmp_path / "d.json", dated), merge_by=["title"], order_by="at")[0].texts[0] == "t2020-10-01\nt2020-10-02"
    assert corpus(write(tmp_path / "f.json", rows), merge_by=["title"])[0].texts[0] == "t10\nt2\nt1\nt9.5"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (paragraphs([1, 2, 1.0]), "'at' is 1 in row 1 and in row 3 of the same document; correct it, or name a further column"),
        (paragraphs([1, None, 3]), "row 2: 'at' is empty"),
        (paragraphs([1, float("nan"), 3]), "row 2: 'at' is empty"),
        (paragraphs([1, "two", 3]), "row 2: 'two' is no number, as others in 'at' are"),
        (paragraphs([1, 2], ""), "2 faults\n  - row 1: 'title': empty; which document does it belong to?"),
        ([{"title": "t", "text": "x"}, {"title": "u", "text": "y"}], "no column 'at' (setting data.clean.order_by)"),
        ([{"title": ["t"], "text": "x", "at": 1}], "row 1: 'title' holds a list"),
    ],
)
def test_paragraphs_without_a_place_of_their_own_are_refused(rows: list[Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(write(tmp_path / "t.json", rows), merge_by=["title"], order_by="at")


def test_pieces_have_the_right_sizes_end_with_sentences_and_lose_nothing() -> None:
    drawn = random.Random(3)
    for _ in range(1500):
        kinds = drawn.choice(["文字。", "文字，", "文字", "a b. ", "文字。」\n\n", "3.14 文，字。", "é e\u0301"])
        text = "".join(drawn.choices([*kinds, "字", "。", drawn.choice(" 文")], k=drawn.randint(1, 400))).strip()
        least = drawn.randint(1, 20)
        most = drawn.randint(2 * least, 2 * least + 40)
        found = pieces(text, least, most)
        assert "".join("".join(found).split()) == "".join(text.split())
        assert all(len(piece) <= most for piece in found)
        assert all(piece == piece.strip() and len(piece) >= min(least, 1) for piece in found[1:])
        if " " not in text and "\n" not in text and len(text) >= least:
            assert all(len(piece) >= least for piece in found)
    assert pieces("一二三。四五六七八九，十。", 2, 8) == ["一二三。", "四五六七八九，", "十。"]
    assert pieces("他說：「好。」我說「是」。", 2, 8) == ["他說：「好。」", "我說「是」。"]
    assert pieces("Pi is 3.14 or so. Is it? Yes.", 2, 20) == ["Pi is 3.14 or so.", "Is it? Yes."]
    assert pieces("一二三四五，六七八九十", 2, 8) == ["一二三四五，", "六七八九十"]
    assert pieces("one two three four", 2, 10) == ["one two", "three four"]
    assert pieces("一二三四五六七八九十", 4, 8) == ["一二三四五六", "七八九十"]
    assert pieces("一二三四五六七。八九", 3, 8) == ["一二三四五六", "七。八九"]


def test_what_is_too_short_or_too_long_is_dropped_or_cut_and_told(tmp_path: Path) -> None:
    texts = [prose(1), "短。", prose(2, 40), " ", prose(3)]
    path = write(tmp_path / "t.json", [{"text": text} for text in texts])
    found, audited = corpus(path, min_chars=30, max_chars=120)
    cut = [key for key in found.ids if key.startswith("3#")]
    assert [one[1:3] + one[5:] for one in audited] == [
        ("4", "empty text", ()),
        ("2", "min_chars", ()),
        ("3", "max_chars", tuple(cut)),
    ]
    assert [found.columns[DOCUMENT][i] for i in range(1, len(found) - 1)] == ["3"] * len(cut)
    assert "".join(str(found.texts[found.ids.index(key)]) for key in cut) == texts[2]
    assert counts(audited) == {"train": {"empty text": 1, "min_chars": 1, "max_chars": 1}}
    assert found.remark == "train: dropped 1 (empty text), 1 (min_chars); cut 1 (max_chars)"


def test_cleaned_texts_are_told_with_what_changed_them(tmp_path: Path) -> None:
    rows = [{"text": "1. 中文,http://a.b。"}, {"text": "中文。"}, {"text": "https://a.b"}]
    settings = {"urls": "drop", "paragraph_numbers": "drop", "punctuation": "normalize"}
    found, audited = corpus(write(tmp_path / "t.json", rows), **settings)
    assert found.texts == ["中文，。", "中文。"]
    assert audited == [
        Audited("train", "1", "urls, paragraph_numbers, punctuation", "1. 中文,http://a.b。", "中文，。"),
        Audited("train", "3", "empty text", "https://a.b"),
    ]


def changed(text: str, places: int, seed: int) -> str:
    """The text with characters of the alphabet in some places."""
    letters, drawn = list(text), random.Random(seed)
    for place in drawn.sample(range(len(letters)), places):
        letters[place] = drawn.choice("abcdefg")
    return "".join(letters)


def test_documents_that_stand_there_before_are_dropped(tmp_path: Path) -> None:
    first, second = prose(1, 12), prose(2, 12)
    rows = [first, second, first, changed(second, 4, 1), prose(3), f" {first}\n", changed(first, 40, 2)]
    path = write(tmp_path / "t.json", [{"text": text} for text in rows])
    found, audited = corpus(path, deduplicate=True)
    assert found.ids == ["1", "2", "5", "7"]
    told = [(one.id, one.reason, one.after, one.others) for one in audited]
    assert told == [
        ("3", "duplicate", None, ("1",)),
        ("6", "duplicate", None, ("1",)),
        ("4", "near duplicate", None, ("2",)),
    ]
    assert len(corpus(path)[0]) == len(rows)


def test_of_many_alike_one_stays(tmp_path: Path) -> None:
    rows = [changed(prose(1, 12), 3, seed) for seed in range(120)] + [prose(2, 12)]
    found, audited = corpus(write(tmp_path / "t.json", [{"text": text} for text in rows]), deduplicate=True)
    assert found.ids == ["1", "121"]
    assert {one.others for one in audited} == {("1",)}


def test_long_documents_that_only_begin_alike_stay(tmp_path: Path) -> None:
    begun = prose(1, 150)
    rows = [begun + prose(2, 400), begun + prose(3, 400), begun + prose(2, 399)]
    assert min(len(text) for text in rows) > 3000
    found, _ = corpus(write(tmp_path / "t.json", [{"text": text} for text in rows]), deduplicate=True)
    assert found.ids == ["1", "2"]


def test_documents_that_another_split_shares_are_counted_and_stay(tmp_path: Path) -> None:
    first, second, third = prose(1, 12), prose(2, 12), prose(3, 12)
    train, _ = corpus(write(tmp_path / "t.json", [{"text": first}, {"text": second}]), deduplicate=True)
    later = write(tmp_path / "v.json", [{"text": text} for text in (third, first, changed(second, 3, 1))])
    validation, _ = corpus(later, "validation", deduplicate=True)
    assert len(validation) == 3
    assert shared_documents({"train": train, "validation": validation}) == {"validation": {"exact": 1, "near": 1}}


@pytest.mark.parametrize(
    ("rows", "clean", "words"),
    [
        ([{"text": "one"}], {}, "is a corpus of one document, and training needs two or more"),
        ([{"text": " "}, {"text": None}], {}, "none of its 2 rows is left (dropped 2 (empty text))"),
        (
            [{"text": "a"}, {"text": "b"}],
            {"min_chars": 9},
            "none of its 2 rows is left (dropped 2 (min_chars)); lower data.clean",
        ),
        ([], {}, "is empty: expected a header or at least one row"),
        ([{"body": "a"}], {}, "no column 'text' (setting data.text)"),
        ([{"text": "a"}, {"text": ["b"]}, 5], {}, "row 2: 'text' holds a list; expected text; correct"),
        ([{"text": "a"}, {"text": "\ud83d"}], {}, "row 2: holds half a character"),
    ],
)
def test_what_is_no_corpus_is_refused(rows: list[Any], clean: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows), "utf-8")
    assert words in refusal(path, **clean)


def test_files_that_are_not_there_or_unsound_are_refused_together(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.json")
    assert f"matches no file in {tmp_path}" in refusal(tmp_path / "none/*.json")
    assert "is no pattern" in refusal(tmp_path / "**x")
    (tmp_path / "empty").mkdir()
    assert "holds no .txt file; of tables give a pattern such as empty/*.json" in refusal(tmp_path / "empty")
    (tmp_path / "a.json").write_text("[1,\n")
    (tmp_path / "b.json").write_text('[{"body": "x"}]')
    words = refusal(tmp_path / "*.json")
    assert "a.json: is not JSON: line 2, column 1" in words
    assert "b.json: no column 'text'" in words
    (tmp_path / "empty" / "x.txt").write_bytes(b"\xff\xfe\xff")
    assert "x.txt is not utf-8 text" in refusal(tmp_path / "empty")
    write(tmp_path / "ids.json", [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}])
    data = Data(train=str(tmp_path / "ids.json"), id="id")
    source = data.source("train")
    assert source is not None
    with pytest.raises(InputError, match="the id 'a' stands in row 1 and row 2"):
        read_corpus(tmp_path / "ids.json", data, source, "train")


def test_the_audit_is_written_whole(tmp_path: Path) -> None:
    audited = [Audited("train", str(i), "urls", f"前 {i}", f"後 {i}") for i in range(3000)]
    audited.append(Audited("test", "x", "max_chars", "長", None, ("x#1", "x#2")))
    write_audit(tmp_path / "cleaning.jsonl", audited)
    lines = [json.loads(line) for line in (tmp_path / "cleaning.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 3001
    assert lines[-1] == {
        "split": "test",
        "id": "x",
        "reason": "max_chars",
        "before": "長",
        "after": None,
        "others": ["x#1", "x#2"],
    }
    write_audit(tmp_path / "cleaning.jsonl", [])
    assert [path.name for path in tmp_path.iterdir()] == ["cleaning.jsonl"]
    assert (tmp_path / "cleaning.jsonl").read_text("utf-8") == ""


@pytest.mark.skipif(not TAIGI.is_dir(), reason="the shared data are not here")
def test_a_real_corpus_of_articles_is_cleaned_in_seconds_and_accounted_for() -> None:
    rows = json.loads((TAIGI / "train.json").read_text("utf-8"))
    begun = time.perf_counter()
    found, audited = corpus(
        TAIGI / "train.json", urls="drop", paragraph_numbers="drop", punctuation="normalize", merge_by=["title", "author"],
        order_by="paragraph_id", min_chars=100, max_chars=2048, deduplicate=True,
    )  # fmt: skip
    assert time.perf_counter() - begun < 20
    assert all(100 <= len(str(text)) <= 2048 for text in found.texts)
    assert "12,386 paragraphs are 1,872 documents" in str(found.remark)
    articles: dict[tuple[str, str], list[tuple[int, str]]] = {}
    after = {one.id: one.after for one in audited if one.after is not None}
    for number, row in enumerate(rows, 1):
        text = after.get(str(number), row["text"])
        articles.setdefault((row["title"], row["author"]), []).append((row["paragraph_id"], str(text).strip()))
    whole = {key: "\n".join(text for _, text in sorted(parts)) for key, parts in articles.items()}
    dropped = [one.before for one in audited if one.reason in ("min_chars", "duplicate", "near duplicate")]
    kept: dict[str, str] = {}
    for document, text in zip(found.columns[DOCUMENT], found.texts, strict=True):
        kept[document] = kept.get(document, "") + str(text)
    squeezed = sorted("".join(text.split()) for text in [*kept.values(), *dropped])
    assert squeezed == sorted("".join(text.split()) for text in whole.values())


def test_a_column_of_the_files_that_is_called_document_keeps_its_groups_together(tmp_path: Path) -> None:
    rows = [json.dumps({"document": f"d{i // 5}", "text": f"text {i} of many"}) for i in range(50)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    data = Data.model_validate({"train": str(tmp_path / "corpus.jsonl"), "test": {"fraction": 0.3, "group_by": "document"}})
    found = bind(data, 1, Path, task="language-modeling")
    assert found.test is not None
    train, test = ({(int(key) - 1) // 5 for key in rows.ids} for rows in (found.train, found.test))
    assert not train & test
