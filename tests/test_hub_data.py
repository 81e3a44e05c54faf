"""Data sets of a hub: fetched once at one commit, with labels as names, and never again; and words for all that fails."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hub import Done, Hub, Repository, commands, environment
from tiny import make_rows

from tunebench.errors import MissingExtra
from tunebench.recipe.sources import Data
from tunebench.runs import bases, hub_data

CARD = {
    "dataset_info": {
        "features": [
            {"name": "text", "dtype": "string"},
            {"name": "label", "dtype": {"class_label": {"names": {"0": "negative", "1": "positive"}}}},
        ]
    }
}
CONFIGS = {"configs": [{"config_name": name, "data_files": f"{name}/*.csv"} for name in ("small", "large")]}
TRAIN = "data/train-00000-of-00001.parquet"


def card(content: dict[str, Any]) -> bytes:
    return f"---\n{yaml.safe_dump(content)}---\n".encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), written)
    return written.getvalue()


def numbered(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [{"text": row["text"], "label": int(row["label"] == "positive")} for row in rows]


def csv(rows: list[dict[str, str]]) -> bytes:
    return ("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows)).encode()


def reviews(number: int = 60) -> Repository:
    """The usual shape: Parquet files by split, labels as numbers, names in the card, a split of unlabelled rows."""
    rows = numbered(make_rows(number))
    unlabelled = [row | {"label": -1} for row in rows[:10]]
    files = {TRAIN: parquet(rows), "data/test-00000-of-00001.parquet": parquet(rows[:20]), "README.md": card(CARD)}
    return Repository(files | {"data/unsupervised-00000-of-00001.parquet": parquet(unlabelled)})


class Shop:
    """A hub with data sets, and a user of it with caches that last."""

    def __init__(self, folder: Path, served: Hub) -> None:
        self.folder, self.hub = folder, served
        self.told = environment(served, folder / "hf") | {"TUNEBENCH_HOME": str(folder / "home")}

    def train(self, name: str, **data: Any) -> list[str]:
        """The command that trains on a data set, and its recipe."""
        settings = {"train": "train", "test": "test", "validation": {"fraction": 0.2, "stratify": True}} | data
        recipe = {"name": name, "data": {key: value for key, value in settings.items() if value is not None}}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe | {"method": {"kind": "majority"}}), "utf-8")
        return ["train", str(path), "--runs", str(self.folder / "runs")]

    def run(self, *lines: list[str], offline: bool = False) -> list[Done]:
        return commands(self.told | {"HF_HUB_OFFLINE": str(int(offline))}, *lines)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    rows = make_rows(60)
    with Hub() as served:
        for name, made in {
            "me/reviews": reviews(),
            "me/other": Repository({"train.csv": csv(rows), "test.csv": csv(rows[:20])}),
            "me/configured": Repository(
                {"README.md": card(CONFIGS), "small/train.csv": csv(rows[:40]), "large/train.csv": csv(rows)}
            ),
            "me/pictures": Repository({f"train/{label}/{i}.png": b"\x89PNG" for label in "ab" for i in range(3)}),
            "me/script": Repository({"script.py": b"import os\n"}),
            "me/nothing": Repository({"README.md": b"# nothing\n"}),
            "me/broken": Repository({"data/train.parquet": b"PAR1" + b"\0" * 40 + b"PAR1"}),
            "me/secret": Repository(reviews().files, "private"),
            "me/gated": Repository(reviews().files, "gated"),
        }.items():
            served.repositories[f"datasets/{name}"] = made
        yield Shop(tmp_path_factory.mktemp("shop"), served)


@pytest.fixture(scope="module")
def fetched(shop: Shop) -> dict[str, Done]:
    """What each command said, all in one process; one download is cut off after 100 bytes."""
    shop.hub.cut[f"datasets/me/reviews/{TRAIN}"] = [100]
    lines = {
        "reviews": shop.train("reviews", dataset="me/reviews"),
        "again": shop.train("again", dataset="me/reviews", dataset_revision="main"),
        "look": ["evaluate", "reviews", "--runs", str(shop.folder / "runs")],
        "csv": shop.train("csv", dataset="me/other"),
        "large": shop.train("large", dataset="me/configured", dataset_config="large", test=None),
        **{name: shop.train(f"no-{i}", **data) for i, (name, (data, *_)) in enumerate(REFUSED.items())},
    }
    return dict(zip(lines, shop.run(*lines.values()), strict=True))


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "an unknown split": (
        {"dataset": "me/reviews", "train": "trian"},
        2,
        "nearest is 'train'; splits are test, train, unsupervised",
    ),
    "a split without labels": (
        {"dataset": "me/reviews", "test": "unsupervised"},
        2,
        "me/reviews (unsupervised): 10 faults\n  - row 1: 'label' is empty",
    ),
    "an unknown data set": ({"dataset": "me/reviws"}, 2, "data.dataset 'me/reviws': no such data set on the hub; check the id"),
    "no id": ({"dataset": "./me/reviews/x"}, 2, "is no id of a data set such as"),
    "an unknown revision": (
        {"dataset": "me/reviews", "dataset_revision": "v9"},
        2,
        "data.dataset_revision: 'me/reviews' on the hub",
    ),
    "no configuration": ({"dataset": "me/configured"}, 2, "['small', 'large']"),
    "an unknown configuration": ({"dataset": "me/configured", "dataset_config": "smal"}, 2, "Available: ['small', 'large']"),
    "pictures": ({"dataset": "me/pictures"}, 2, "holds files of the kind 'imagefolder'; tables are read: arrow, csv, json"),
    "a script": ({"dataset": "me/script"}, 2, "holds no tables that can be read (Dataset scripts are no longer supported"),
    "no tables": ({"dataset": "me/nothing"}, 2, "holds no tables that can be read"),
    "a broken file": ({"dataset": "me/broken", "test": None}, 2, "its files do not make one table"),
    "a private one": ({"dataset": "me/secret"}, 2, "set HF_TOKEN where it is a private one"),
    "a gated one": ({"dataset": "me/gated"}, 1, "accept the terms on its page, and set HF_TOKEN"),
}


def test_a_data_set_is_trained_on_by_its_splits_with_labels_as_names(shop: Shop, fetched: dict[str, Done]) -> None:
    for name in ("reviews", "again", "look", "csv", "large"):
        assert fetched[name].code == 0, fetched[name].err
    run = shop.folder / "runs" / "reviews"
    commit = shop.hub.repositories["datasets/me/reviews"].commit
    assert yaml.safe_load((run / "recipe.yaml").read_text("utf-8"))["data"]["dataset_revision"] == commit
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    assert manifest["labels"]["names"] == ["negative", "positive"]
    assert {name: (split["source"], split["rows"]) for name, split in manifest["data"].items()} == {
        "train": ("me/reviews: train", 48),
        "validation": ("cut from train", 12),
        "test": ("me/reviews: test", 20),
    }
    rows = pq.read_table(run / "predictions.parquet").to_pylist()
    assert [{"text": row["text"], "label": row["label"]} for row in rows] == [
        {"text": row["text"], "label": row["label"]} for row in make_rows(60)[:20]
    ]


def test_it_is_fetched_once_and_only_the_tables_are(shop: Shop, fetched: dict[str, Done]) -> None:
    assert fetched["again"].code == 0
    files = [line.split("/")[-1] for line in shop.hub.asked if line.startswith("GET") and "me/reviews/resolve" in line]
    assert sorted(set(files)) == sorted({Path(name).name for name in shop.hub.repositories["datasets/me/reviews"].files})
    assert files.count(Path(TRAIN).name) == 2  # the first was cut off
    kept = sorted(path.name for path in (shop.folder / "home" / "datasets").glob("*/*"))
    assert {name: kept.count(name) for name in kept} == {"test.parquet": 2, "train.parquet": 3, "unsupervised.parquet": 1}
    assert not list((shop.folder / "home" / "datasets").rglob(".build"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_is_told(name: str, fetched: dict[str, Done]) -> None:
    _, code, words = REFUSED[name]
    assert words in fetched[name].err
    assert fetched[name].code == code
    assert "Traceback" not in fetched[name].err


def test_a_finished_run_needs_no_hub_and_no_moving_branch_changes_it(shop: Shop, fetched: dict[str, Done]) -> None:
    first = shop.hub.repositories["datasets/me/reviews"]
    shop.hub.repositories["datasets/me/reviews"] = reviews(80)
    asked = len(shop.hub.asked)
    look, offline, unknown, revision = shop.run(
        ["evaluate", "reviews", "--runs", str(shop.folder / "runs")],
        shop.train("offline", dataset="me/reviews"),
        shop.train("unknown", dataset="me/script"),
        shop.train("v1", dataset="me/reviews", dataset_revision="v1"),
        offline=True,
    )
    assert (look.code, offline.code, unknown.code, revision.code) == (0, 0, 2, 2), offline.err
    for refused in (unknown, revision):
        assert "is not in the cache, and HF_HUB_OFFLINE forbids to fetch it" in refused.err
    assert len(shop.hub.asked) == asked

    (moved,) = shop.run(shop.train("reviews", dataset="me/reviews"))
    assert moved.code == 2
    assert "a run of this name exists and differs: data (contents): " in moved.err
    shop.hub.repositories["datasets/me/reviews"] = first


def test_a_hub_that_does_not_answer_is_no_fault_of_the_recipe(tmp_path: Path) -> None:
    with Hub() as gone:
        nobody = Shop(tmp_path, gone)
    (done,) = nobody.run(nobody.train("a", dataset="me/reviews"))
    assert done.code == 1
    assert "data.dataset 'me/reviews': the connection to the hub failed (" in done.err
    assert "set HF_HUB_OFFLINE=1 to use what was fetched before" in done.err


def test_without_a_data_set_nothing_is_pinned_and_files_are_where_the_recipe_says() -> None:
    data = Data(train="a.csv")
    assert hub_data.pinned(data) is data
    assert hub_data.locator(data) is bases.locate
    pinned = Data(dataset="me/x", dataset_revision="0" * 40, train="train")
    assert hub_data.pinned(pinned) is pinned


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBENCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    data = Data(dataset="me/x", dataset_revision="0" * 40, train="train")
    with pytest.raises(MissingExtra, match=r"a data set of the hub needs the package 'datasets'.*tunebench\[hub\]"):
        hub_data.locator(data)("train")
    assert not list(tmp_path.rglob("*.parquet"))
