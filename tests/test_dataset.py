"""A recipe's data, bound: labels are names, faults come all at once, digests follow contents, nothing is drawn twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import make_rows, write_csv

from tunebench.data.dataset import Dataset, bind
from tunebench.data.labels import label_name, make_label_map
from tunebench.data.tables import join_answers, read_like, read_rows
from tunebench.errors import InputError
from tunebench.recipe.sources import Data

ROWS = make_rows(60)
FRACTIONS: dict[str, Any] = {"validation": {"fraction": 0.2, "stratify": True}, "test": {"fraction": 0.2, "stratify": True}}


def bound(path: Path, seed: int = 3, **settings: Any) -> Dataset:
    return bind(Data.model_validate({"train": str(path), "id": "id"} | settings), seed, Path)


def rows_with(*labels: object) -> list[dict[str, Any]]:
    return [{"id": str(i), "text": f"text {i}", "label": label} for i, label in enumerate(labels)]


def faults_of(act: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as caught:
        act()
    return caught.value.faults


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        write_csv(path, rows)
    return path


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("1", "1"),
        (1, "1"),
        (1.0, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (" pos ", "pos"),
        ("0", "0"),
        (0, "0"),
        ("", None),
        ("  ", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_a_cell_is_the_name_of_a_label(cell: object, name: str | None) -> None:
    assert label_name(cell) == name


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_numeric_labels_are_the_same_names_in_every_format(ending: str, tmp_path: Path) -> None:
    data = bound(write(tmp_path / f"t{ending}", rows_with(10, 2, 2, 1)))
    assert data.labels.names == ("1", "2", "10")
    assert data.train.labels == ["10", "2", "2", "1"]


def test_the_digest_follows_contents_and_not_the_format_or_other_columns(tmp_path: Path) -> None:
    digests = {bound(write(tmp_path / f"t{ending}", ROWS), **FRACTIONS).digest() for ending in (".csv", ".jsonl", ".parquet")}
    digests.add(bound(write(tmp_path / "more.csv", [row | {"note": "x"} for row in ROWS]), **FRACTIONS).digest())
    assert len(digests) == 1


@pytest.mark.parametrize("column", ["id", "text", "label"])
@pytest.mark.parametrize("place", [0, 31, 59])
def test_any_changed_cell_that_counts_changes_the_digest(column: str, place: int, tmp_path: Path) -> None:
    other = {"id": "new", "text": "another text", "label": "positive" if place % 2 == 0 else "negative"}
    changed = [row | {column: other[column]} if i == place else row for i, row in enumerate(ROWS)]
    assert bound(write_csv(tmp_path / "a.csv", ROWS)).digest() != bound(write_csv(tmp_path / "b.csv", changed)).digest()


def test_cells_cannot_flow_into_each_other_unseen(tmp_path: Path) -> None:
    one, other = rows_with("a", "b"), rows_with("a", "b")
    one[0] |= {"id": "ab", "text": "c"}
    other[0] |= {"id": "a", "text": "bc"}
    assert bound(write_csv(tmp_path / "a.csv", one)).digest() != bound(write_csv(tmp_path / "b.csv", other)).digest()


def test_texts_that_stand_in_two_splits_are_counted(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [{"id": i, "text": f"Text {i}", "label": "ab"[i % 2]} for i in range(6)])
    texts = ["text  1", "TEXT 2 ", "new", "new"]
    test = write_csv(tmp_path / "test.csv", [{"id": i, "text": text, "label": "a"} for i, text in enumerate(texts)])
    assert bound(train, test=str(test)).shared_texts() == {"test in train": 2}


def test_training_samples_are_drawn_the_same_way_every_time(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ROWS)
    drawn = [bound(path, seed, max_train_samples=20, **FRACTIONS).train.ids for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(drawn[0], key=lambda key: int(key[1:]))
    assert len(drawn[0]) == 20


def test_training_samples_are_the_same_rows_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    mixed = [*ROWS[37:], *ROWS[:37][::-1]]
    one, other = (
        bound(write_csv(tmp_path / name, rows), max_train_samples=20, **FRACTIONS).train.ids
        for name, rows in (("a.csv", ROWS), ("b.csv", mixed))
    )
    assert sorted(one) == sorted(other)
    assert other == [row["id"] for row in mixed if row["id"] in set(one)]


def test_a_smaller_training_sample_is_part_of_a_larger_one(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ROWS)
    few, many = (set(bound(path, max_train_samples=number, **FRACTIONS).train.ids) for number in (10, 20))
    assert few < many


def test_fewer_training_samples_leave_the_other_splits_alone(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ROWS)
    whole, part = bound(path, **FRACTIONS), bound(path, max_train_samples=20, **FRACTIONS)
    assert {name: part.digests()[name] for name in ("validation", "test")} == {
        name: whole.digests()[name] for name in ("validation", "test")
    }
    assert set(part.train.ids) < set(whole.train.ids)


def test_every_row_is_in_exactly_one_split(tmp_path: Path) -> None:
    data = bound(write_csv(tmp_path / "t.csv", ROWS), **FRACTIONS)
    ids = [key for rows in data.splits().values() for key in rows.ids]
    assert sorted(ids) == sorted(row["id"] for row in ROWS)


def test_all_unsound_rows_are_named_and_a_long_list_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,text,label\n1,,a\n2,x\n3,y,\n4,z,b,c\n,q,a\n" + "".join(f"{i},ok,\n" for i in range(5, 15)))
    faults = faults_of(lambda: bound(path))
    assert faults[:5] == [
        "row 1: 'text' is empty; correct or remove the row",
        "row 2: has 2 fields, the header has 3; correct or remove the row",
        "row 3: 'label' is empty; correct or remove the row",
        "row 4: has 4 fields, the header has 3; correct or remove the row",
        "row 5: 'id' is empty; correct or remove the row",
    ]
    assert len(faults) == 11
    assert faults[-1] == "… and 5 more"


def test_the_faults_of_all_files_are_told_together(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("id,text\n1,a\n")
    test.write_text("id,text,label\n1,,a\n")
    faults = faults_of(lambda: bound(train, test=str(test), validation=str(tmp_path / "none.csv")))
    assert [fault.split(": ")[0] for fault in faults] == [str(train), str(tmp_path / "none.csv"), str(test)]


@pytest.mark.parametrize(("value", "words"), [(["a"], "holds a list"), ({"x": 1}, "holds an object")])
@pytest.mark.parametrize("column", ["text", "label", "id"])
def test_a_cell_that_is_no_text_is_refused(value: object, words: str, column: str, tmp_path: Path) -> None:
    rows = [*rows_with("a", "b"), {"id": "2", "text": "t", "label": "a"} | {column: value}]
    assert faults_of(lambda: bound(write(tmp_path / "t.jsonl", rows))) == [
        f"row 3: {column!r} {words}; expected text; correct or remove the row"
    ]


def test_bytes_are_no_text(tmp_path: Path) -> None:
    rows = [{"id": "1", "text": b"\xff", "label": "a"}, {"id": "2", "text": b"x", "label": "b"}]
    assert "row 1: 'text' holds bytes" in faults_of(lambda: bound(write(tmp_path / "t.parquet", rows)))[0]


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    rows = [{"id": key, "text": "t", "label": label} for key, label in [("x", "a"), ("y", "b"), ("x ", "a")]]
    assert faults_of(lambda: bound(write_csv(tmp_path / "t.csv", rows))) == [
        "the id 'x' stands 2 times; an id belongs to one row"
    ]


def test_without_a_column_for_it_the_id_is_the_number_of_the_row(tmp_path: Path) -> None:
    assert bound(write_csv(tmp_path / "t.csv", rows_with("a", "b")), id=None).train.ids == ["1", "2"]


def test_a_file_with_only_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,text,label\n")
    assert faults_of(lambda: bound(path)) == ["has a header but no rows"]


def test_one_label_is_not_enough(tmp_path: Path) -> None:
    faults = faults_of(lambda: bound(write_csv(tmp_path / "t.csv", rows_with("a", "a"))))
    assert faults == ["the training rows hold 1 label(s) (a); a classifier needs at least two"]


def test_a_label_that_only_the_test_rows_have_is_counted_and_refused(tmp_path: Path) -> None:
    train, test = write_csv(tmp_path / "a.csv", rows_with("a", "b")), write_csv(tmp_path / "b.csv", rows_with("c", "a", "c"))
    (fault,) = faults_of(lambda: bound(train, test=str(test)))
    assert fault == "test: labels that no training row has: 'c' (2 rows); training labels are a, b; correct them"


def test_a_label_that_a_cut_took_away_from_training_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", rows_with(*"ab" * 5, *"cdefghij"))
    (fault,) = faults_of(lambda: bound(path, test={"fraction": 0.5}))
    assert fault.endswith("correct them; or set data.test.stratify, which leaves a row of every label to train on")
    assert len(bound(path, test={"fraction": 0.5, "stratify": True}).labels.names) == 10


def test_a_label_that_stands_once_stays_with_the_training_rows_of_a_stratified_split(tmp_path: Path) -> None:
    data = bound(write_csv(tmp_path / "t.csv", rows_with(*"abababababababababab", "rare")), **FRACTIONS)
    assert data.labels.names == ("a", "b", "rare")
    assert data.train.labels.count("rare") == 1
    assert data.remarks() == [
        f"{split}: no row has the label 'rare', which is trained and not scored there" for split in ("validation", "test")
    ]
    assert bound(write_csv(tmp_path / "t.csv", rows_with(*"ab" * 10)), **FRACTIONS).remarks() == []


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["negative", "positive"], "positive"),
        (["0", "1"], "1"),
        (["yes", "zero"], "yes"),
        (["a", "b"], "b"),
        (["pos", "positive"], "positive"),
        (["a", "b", "c"], None),
    ],
)
def test_the_positive_label_follows_custom(labels: list[str], positive: str | None) -> None:
    for order in (labels, labels[::-1]):
        assert make_label_map(order, None, {}, "t.csv").positive == positive


def test_settings_about_labels_must_be_about_labels_there_are() -> None:
    assert faults_of(lambda: make_label_map(["good", "bad"], "god", {"baad": "x"}, "t.csv")) == [
        "data.positive_label: 'god' is no label; nearest is 'good'; labels are bad, good",
        "data.label_names: 'baad' is no label; nearest is 'bad'; labels are bad, good",
    ]
    assert "for two labels only" in faults_of(lambda: make_label_map("abc", "a", {}, "t.csv"))[0]


def test_answers_of_another_file_are_joined_by_id_whatever_their_order(tmp_path: Path) -> None:
    texts = write_csv(tmp_path / "x.csv", [{"id": i, "text": f"t{i}"} for i in (3, 1, 2)])
    answers = write(tmp_path / "y.parquet", [{"id": float(i), "label": "ab"[i % 2]} for i in (1, 2, 3, 4)])
    rows = join_answers(texts, answers, Data(train="-", id="id"))
    assert (rows.ids, rows.labels) == (["3", "1", "2"], ["b", "b", "a"])


def test_answers_that_are_doubled_missing_or_broken_are_told_at_once(tmp_path: Path) -> None:
    texts = write_csv(tmp_path / "x.csv", [{"id": i, "text": f"t{i}"} for i in range(4)])
    answers = tmp_path / "y.csv"
    answers.write_text("id,label\n0,a\n0,b\n1,\n2,a,b\n")
    assert faults_of(lambda: join_answers(texts, answers, Data(train="-", id="id"))) == [
        "row 3: 'label' is empty; correct or remove the row",
        "row 4: has 3 fields, the header has 2; correct or remove the row",
        "the id '0' stands twice",
        "no label for 2 of 4 ids of x.csv: 1, 3",
    ]


def test_rows_without_labels_keep_every_column(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", [{"id": 1, "text": "t", "note": "=1+1"}])
    rows = read_rows(path, Data(train="-"), labelled=False)
    assert (rows.labels, rows.columns) == ([""], {"id": ["1"], "text": ["t"], "note": ["=1+1"]})


def mapped(tmp_path: Path) -> Data:
    """Three files of which each has its own columns, encoding and delimiter."""
    (tmp_path / "a.csv").write_text("key;review;stars\n1;träge, flach;schlecht\n2;schön;gut\n", "cp1252")
    (tmp_path / "b.csv").write_text("content,sentiment,note\nschön,gut,x\nträge,schlecht,y\n", "utf-8")
    pq.write_table(pa.table({"text": ["müde"], "label": ["schlecht"]}), tmp_path / "c.parquet")
    train = {"file": str(tmp_path / "a.csv"), "text": "review", "label": "stars", "id": "key"}
    test = {"file": str(tmp_path / "b.csv"), "text": "content", "label": "sentiment", "encoding": "utf-8", "delimiter": ","}
    return Data.model_validate({"train": train, "test": test, "validation": str(tmp_path / "c.parquet")})


def test_every_split_has_its_own_columns_and_keeps_all_of_them(tmp_path: Path) -> None:
    data = bind(mapped(tmp_path), 1, Path)
    assert {name: (rows.ids, rows.texts, rows.labels) for name, rows in data.splits().items()} == {
        "train": (["1", "2"], ["träge, flach", "schön"], ["schlecht", "gut"]),
        "validation": (["1"], ["müde"], ["schlecht"]),
        "test": (["1", "2"], ["schön", "träge"], ["gut", "schlecht"]),
    }
    assert {name: list(rows.columns) for name, rows in data.splits().items()} == {
        "train": ["key", "review", "stars"],
        "validation": ["text", "label"],
        "test": ["content", "sentiment", "note"],
    }
    assert data.remarks() == [
        "a.csv is read as cp1252, delimited by ';'",
        "validation: no row has the label 'gut', which is trained and not scored there",
    ]


def test_a_column_that_a_split_lacks_is_told_with_whose_setting_it_is(tmp_path: Path) -> None:
    data = mapped(tmp_path)
    wrong = data.model_copy(update={"test": str(tmp_path / "b.csv")})
    assert faults_of(lambda: bind(wrong, 1, Path))[0].startswith("no column 'text' (setting data.text)")
    own = data.model_copy(update={"train": data.train.model_copy(update={"text": "revue"})})
    assert "no column 'revue' (setting text of this split); nearest is 'review'" in faults_of(lambda: bind(own, 1, Path))[0]


@pytest.mark.parametrize(
    ("header", "text"), [("text,label", "text"), ("review,stars", "review"), ("content,sentiment,review", "content")]
)
def test_a_file_that_the_recipe_does_not_name_is_read_like_the_split_whose_columns_it_has(
    header: str, text: str, tmp_path: Path
) -> None:
    data = mapped(tmp_path).model_copy(update={"encoding": "big5", "delimiter": "|"})
    path = tmp_path / "new.csv"
    path.write_text(header + "\n" + ",".join(f"ü {name}" for name in header.split(",")), "utf-8")
    assert read_like(path, data).texts == [f"ü {text}"]


def test_texts_are_cleaned_and_columns_are_not(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [{"text": "a<br />b &amp; c", "label": "<b>x</b>"}])
    rows = read_rows(path, Data.model_validate({"train": "-", "clean": {"html": "strip"}}))
    assert (rows.texts, rows.labels) == (["a b & c"], ["<b>x</b>"])
    assert rows.columns["text"] == ["a<br />b &amp; c"]
    assert rows.digest() != read_rows(path, Data(train="-")).digest()


def test_a_text_beyond_all_measure_is_a_fault_of_its_row(tmp_path: Path) -> None:
    rows = rows_with("a", "b")
    rows[1]["text"] = "x" * 10_000_001
    assert faults_of(lambda: bound(write_csv(tmp_path / "t.csv", rows))) == [
        "row 2: 'text' holds 10,000,001 characters; at most 10,000,000 are read; correct or remove the row"
    ]
