"""Fetching a base from a model hub and pushing a model there, against a small hub on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub import TOKEN, Done, Hub, Repository, commands, environment
from plain import Saved, plain_probabilities
from scored import scored_probabilities, scored_texts
from shelf import finished_run
from tiny import World, write_base, write_csv, write_recipe, write_tokenizer

from tunebench.errors import TunebenchError
from tunebench.runs import hub as hub_room
from tunebench.runs import push as push_room
from tunebench.runs.cache import folder_digest
from tunebench.runs.run import Run

BASE = "tiny/bert"
PICKLED = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"\x80\x04."}
SETTINGS = {"train": {"max_steps": 2}}


class Story:
    """What one user did, in order, with one hub and one cache; every test looks at a part of it."""

    def __init__(self, folder: Path, bases: dict[str, Path]) -> None:
        self.folder, self.runs, self.home, self.bases = folder, folder / "runs", folder / "hf", bases
        self.data = write_csv(folder / "t.csv")
        self.done: dict[str, Done] = {}
        self.asked: dict[str, list[str]] = {}
        with Hub() as self.hub:
            self._set_up()
            self._fetch()
            self._go_offline()
            self._push()
            self.plain = self._open_plainly()

    def train(self, name: str, base: str, *more: str) -> list[str]:
        recipe = write_recipe(self.folder / f"{name}.yaml", data=self.data, base=Path(base), **SETTINGS)
        return ["train", str(recipe), "--runs", str(self.runs), *more]

    def _set_up(self) -> None:
        bert = self.bases["bert"]
        self.hub.add(BASE, bert).files["onnx.bin"] = b"not asked for"
        self.hub.add("tiny/private", bert, access="private")
        self.hub.add("tiny/gated", bert, access="gated")
        self.hub.repositories["tiny/pickled"] = Repository(PICKLED)
        self.hub.add("tiny/mute", bert, leave_out=("tokenizer.json",))
        half = len(self.hub.add("tiny/dropped", bert).files["model.safetensors"]) // 2
        self.hub.cut["tiny/dropped/model.safetensors"] = [half, *[0] * 6]  # the client tries six times before it gives up

    def _fetch(self) -> None:
        dropped = self.train("dropped", "tiny/dropped", "--set", "base.max_length=1000")  # fetched, and then refused
        lines = {
            "good": self.train("good", BASE),
            "revision": self.train("revision", BASE, "--set", "base.revision=nowhere"),
            "unknown": self.train("unknown", "tiny/nothing"),
            "no id": self.train("no-id", "tiny/a/b/c"),
            "private": self.train("private", "tiny/private"),
            "gated": self.train("gated", "tiny/gated"),
            "wrong token": ["TOKEN=hf_wrong", *self.train("private", "tiny/private")],
            "pickled": ["TOKEN=", *self.train("pickled", "tiny/pickled")],
            "mute": self.train("mute", "tiny/mute"),
            "dropped": dropped,
            "after the drop": dropped,
        }
        self.done |= dict(zip(lines, commands(environment(self.hub, self.home), *lines.values()), strict=True))
        self.asked["online"] = list(self.hub.asked)

    def _go_offline(self) -> None:
        self.hub.repositories[BASE].files["config.json"] += b"\n"  # the branch moves on
        lines = {
            "offline": self.train("good", BASE),
            "offline absent": self.train("absent", "tiny/private"),
            "offline push": ["push", "good", "me/nothing", "--runs", str(self.runs)],
        }
        begin, told = len(self.hub.asked), environment(self.hub, self.home, offline=True)
        self.done |= dict(zip(lines, commands(told, *lines.values()), strict=True))
        self.asked["offline"] = self.hub.asked[begin:]

    def _push(self) -> None:
        runs = ["--runs", str(self.runs)]
        altered, halfway = (Path(shutil.copytree(self.runs / "good", self.runs / name)) for name in ("altered", "halfway"))
        (altered / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
        (halfway / "events.jsonl").write_text("")
        finished_run(self.runs, "tfidf", base=None, train=None, method={"kind": "tfidf"})
        unmerged = ["push", "good", "me/merged", "--merged", *runs]
        before = {
            "push": ["push", "good", "me/adapter", "--private", "--json", *runs],
            "push dropped": ["push", "good", "me/dropped", *runs],
            "push unmerged": unmerged,
            "push altered": ["push", "altered", "me/altered", *runs],
            "push halfway": ["push", "halfway", "me/halfway", *runs],
            "push baseline": ["push", "tfidf", "me/tfidf", *runs],
            "push nowhere": ["push", "good", "me/a/b", *runs],
            "push with a wrong token": ["TOKEN=hf_wrong", "push", "good", "me/other", *runs],
            "push without a token": ["TOKEN=", "push", "good", "me/other", *runs],
        }
        told = environment(self.hub, self.home)
        self.hub.dropped_commits.add("me/dropped")
        self.done |= dict(zip(before, commands(told, *before.values(), token=TOKEN), strict=True))
        good = Run(self.runs / "good")
        shutil.copytree(self.bases["bert"], good.path / "merged")  # any files will do, once they count as proved
        (self.done["push unproved"],) = commands(told, unmerged, token=TOKEN)
        good.write_json("manifest.json", good.manifest | {"merged_weights": folder_digest(good.path / "merged")})
        (self.done["push merged"],) = commands(told, [*unmerged, "--revision", "tried"], token=TOKEN)

    def _open_plainly(self) -> np.ndarray:
        """Follow the pushed card in a folder that holds nothing, by a process that cannot import tunebench."""
        reader = self.folder / "reader"
        (reader / "adapter").mkdir(parents=True)
        (reader / "adapter" / "README.md").write_bytes(self.hub.repositories["me/adapter"].files["README.md"])
        self.hub.repositories[BASE].files["config.json"] = (self.bases["bert"] / "config.json").read_bytes()
        with pytest.MonkeyPatch.context() as patch:
            for key, value in (environment(self.hub, self.folder / "other-hf") | {"HF_TOKEN": TOKEN}).items():
                patch.setenv(key, value)
            (found,) = plain_probabilities([Saved(reader, "adapter", scored_texts(Run(self.runs / "good")))], self.folder)
        return np.array(found)


@pytest.fixture(scope="module")
def story(world: World, tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("hub"), world.bases)


def test_a_base_is_fetched_once_and_its_commit_pinned_in_the_run(story: Story, world: World) -> None:
    assert story.done["good"].code == 0, story.done["good"].err
    run, commit = Run(story.runs / "good"), story.hub.repositories[BASE].commit
    assert run.recipe.base is not None
    assert (run.recipe.base.model, run.recipe.base.revision) == (BASE, commit)
    assert run.manifest["base"]["digest"] == folder_digest(world.bases["bert"])
    adapter = json.loads((run.weights / "adapter_config.json").read_text("utf-8"))
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (BASE, commit)
    fetched = [line.rpartition("/")[2] for line in story.asked["online"] if line.startswith(f"GET /{BASE}/resolve/{commit}/")]
    assert sorted(fetched) == sorted(path.name for path in world.bases["bert"].iterdir())


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("revision", 2, "base.revision: 'tiny/bert' has no revision 'nowhere' on the hub"),
        ("unknown", 2, "no such folder, and no such repository on the hub; check the id"),
        ("no id", 2, "no such folder, and no hub id such as"),
        ("private", 2, "set HF_TOKEN if it is a private one"),
        ("gated", 1, "the hub refuses access"),
        ("wrong token", 1, "set HF_TOKEN to a token that may do this"),
        ("pickled", 2, "has no model.safetensors (found pytorch_model.bin); pickled weights are never loaded"),
        ("mute", 2, "has no tokenizer.json; save it with a fast tokenizer"),
        ("dropped", 1, "run the same command again: what has been fetched is kept"),
        ("after the drop", 2, "base.max_length: 1000 is more than the base has positions for"),
        ("offline absent", 2, "not (whole) in the hub's cache, while HF_HUB_OFFLINE forbids to fetch it"),
        ("offline push", 2, "HF_HUB_OFFLINE forbids to push"),
        ("push altered", 2, "holds other files than the ones that were scored"),
        ("push halfway", 2, "is not finished (status: interrupted)"),
        ("push unmerged", 2, "has no merged/ yet; run `tunebench merge good` first"),
        ("push dropped", 1, "the connection to the hub failed"),
        ("push unproved", 2, "holds other files than the ones that were proved"),
        ("push baseline", 2, "is the baseline 'tfidf'"),
        ("push nowhere", 2, "is no repository of a hub"),
        ("push with a wrong token", 1, "set HF_TOKEN to a token that may write"),
        ("push without a token", 1, "set HF_TOKEN to a token that may write"),
    ],
)
def test_what_goes_wrong_is_one_error_with_its_remedy(story: Story, name: str, code: int, words: str) -> None:
    done = story.done[name]
    assert (done.code, done.out) == (code, ""), done
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert words in line
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["pickled", "mute"])
def test_of_a_base_that_cannot_be_used_nothing_is_downloaded(story: Story, name: str) -> None:
    assert not [line for line in story.hub.asked if f"tiny/{name}/resolve" in line]
    assert not (story.runs / name).exists()


def test_a_download_that_breaks_off_is_tried_again_at_once_and_by_the_next_command(story: Story) -> None:
    asked = [line for line in story.asked["online"] if line.startswith("GET /tiny/dropped/resolve/")]
    assert sum(line.endswith("/model.safetensors") for line in asked) == 6 + 2
    assert sum(line.endswith("/config.json") for line in asked) == 1


def test_a_finished_run_needs_no_hub_although_the_branch_moved_on(story: Story) -> None:
    assert "is already finished" in story.done["offline"].out
    assert story.asked["offline"] == []


def test_what_is_pushed_is_the_run_s_own_byte_for_byte_with_a_card_for_its_new_place(story: Story) -> None:
    for name in ("adapter", "merged"):
        pushed, folder = story.hub.repositories[f"me/{name}"], story.runs / "good" / name
        assert pushed.files.keys() == {path.name for path in folder.iterdir()} | {"README.md"}
        for path in folder.iterdir():
            assert (pushed.files[path.name] == path.read_bytes()) is (path.name != "README.md"), path
        card = pushed.files["README.md"].decode()
        assert f'from_pretrained("me/{name}")' in card or f'from_pretrained(base, "me/{name}")' in card
        assert "run directory" not in card
        assert str(story.folder) not in card


def test_a_push_that_is_cut_off_leaves_nothing_behind(story: Story) -> None:
    assert "push again" in story.done["push dropped"].err
    assert "adapter_model.safetensors" not in story.hub.repositories["me/dropped"].files


def test_push_says_where_the_model_is(story: Story) -> None:
    told = json.loads(story.done["push"].out)
    assert (told["url"], told["warnings"]) == (f"{story.hub.url}/me/adapter", [])
    assert told["commit"] == story.hub.repositories["me/adapter"].commit
    assert (story.hub.repositories["me/adapter"].access, story.hub.repositories["me/merged"].access) == ("private", "public")
    assert story.hub.repositories["me/merged"].branches == {"main", "tried"}
    assert f"{story.hub.url}/me/merged/tree/tried holds" in story.done["push merged"].out
    assert not {"me/altered", "me/halfway", "me/other"} & story.hub.repositories.keys()


def test_the_lines_of_a_pushed_card_give_the_probabilities_that_were_scored(story: Story) -> None:
    assert np.abs(story.plain - scored_probabilities(Run(story.runs / "good"))).max() <= 1e-5


def test_a_snapshot_that_lacks_a_part_is_not_taken_for_whole(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base", "mistral")
    assert hub_room._is_whole(folder)
    (folder / "model-00002-of-00006.safetensors").unlink()
    assert not hub_room._is_whole(folder)
    assert not hub_room._is_whole(write_tokenizer(tmp_path / "tokenizer"))


@pytest.mark.parametrize("room", [hub_room._explained, lambda model, _: push_room._explained(model)])
def test_a_hub_that_cannot_be_reached_is_told_with_what_to_check(room: Any) -> None:
    words = r"the connection to the hub failed \(Connection refused\).*HF_ENDPOINT"
    with pytest.raises(TunebenchError, match=words) as caught, room("org/model", None):
        raise ConnectionRefusedError("Connection refused\nand pages of detail")
    assert caught.value.exit_code == 1


def test_an_adapter_whose_base_others_cannot_have_is_pushed_with_a_warning(tmp_path: Path) -> None:
    for model in ("starter:minilm", "/models/mine", "pypi:a==1/b"):
        run = finished_run(tmp_path, f"r{len(model)}", base={"model": model})
        (warning,) = push_room._warnings(run, merged=False)
        assert "nobody can use the adapter without it; push the whole model with --merged" in warning
        assert push_room._warnings(run, merged=True) == []
    assert push_room._warnings(finished_run(tmp_path, "public", base={"model": "org/base"}), merged=False) == []
