"""Exports: each predicts what its run was scored on, without torch, or says that it does not and is never used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored import scored_texts
from shelf import tunebench
from tiny import METHODS, World, make_rows, write_recipe

from tunebench import exporting, jobs, options
from tunebench.errors import GateFailed, InputError, MissingExtra
from tunebench.predict.exported import open_export
from tunebench.runs import exports
from tunebench.runs.run import Run
from tunebench.training import open_scorer

pytest.importorskip("onnxscript", reason="the extra `openvino` is not installed")
pytest.importorskip("nncf", reason="the extra `openvino` is not installed")

FORMATS = tuple(exports.ENGINES)
FLOAT = ("onnx", "openvino")
TEXTS = [row["text"] for row in make_rows(9, seed=4)] + ["good", f"{' '.join(['very', 'long'] * 40)} good bright", "", "é 漢"]
PLAIN = """
import builtins, json, os, re, runpy, sys
from pathlib import Path
for name in ("torch", "transformers", "tunebench"):
    sys.modules[name] = None
os.chdir(sys.argv[1])
code = re.search(r"```python\\n(.*?)```", Path("README.md").read_text("utf-8"), re.DOTALL).group(1)
code, replaced = re.subn(r"(?m)^texts = .*$", lambda _: f"texts = {json.loads(sys.argv[2])!r}", code)
assert replaced == 1
names = {}
exec(code, names)
print(json.dumps(names["probabilities"].tolist()))
"""


def quiet(event: object) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def run(tiny_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with an export of every format."""
    path = tmp_path_factory.mktemp("exports") / "bert-lora-mean"
    shutil.copytree(tiny_run("bert", "lora", "mean").path, path, ignore=shutil.ignore_patterns("merged"))  # others merge it
    for name in FORMATS:
        exporting.export_run(Run(path), name, quiet)
    return Run(path)


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    """The same, to be changed."""
    shutil.copytree(run.path, tmp_path / "runs" / run.name)
    return Run(tmp_path / "runs" / run.name)


@pytest.mark.parametrize("name", FLOAT)
def test_a_float_export_gives_torchs_logits_and_flips_no_label(run: Run, name: str) -> None:
    expected, found = open_scorer(run, "torch").score(TEXTS), open_scorer(run, name).score(TEXTS)
    assert np.abs(found.logits - expected.logits).max() <= 1e-4
    assert found.truncated == expected.truncated
    told = exports.exported(run, name)
    assert told is not None
    assert told["passed"]
    assert told["proof"]["largest_difference"] <= 1e-4
    assert told["label_flips"] == told["proof"]["label_flips"] == 0
    assert told["scores"]["export"] == told["scores"]["torch"]


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-int8"])
def test_eight_bits_are_near_told_and_reload_exactly(run: Run, name: str) -> None:
    difference = np.abs(open_scorer(run, name).score(TEXTS).probabilities - open_scorer(run, "torch").score(TEXTS).probabilities)
    assert 0 < difference.max() < 0.2
    told = exports.exported(run, name)
    assert told is not None
    assert told["proof"]["largest_difference"] == 0
    assert (told["split"], told["rows"]) == ("validation", run.manifest["data"]["validation"]["rows"])
    assert told["scores"]["export"]["accuracy"]["n"] == told["rows"]


@pytest.mark.parametrize("name", FORMATS)
def test_neighbours_and_order_change_no_probability(run: Run, name: str) -> None:
    scorer = open_scorer(run, name)
    together = scorer.score(TEXTS).probabilities
    alone = np.concatenate([scorer.score([text]).probabilities for text in TEXTS])
    assert np.ptp(alone[:, 0]) > 0.01
    assert np.abs(together - alone).max() <= 1e-5
    assert np.abs(scorer.score(TEXTS[::-1]).probabilities[::-1] - together).max() <= 1e-5


@pytest.mark.parametrize("name", FORMATS)
def test_the_lines_of_the_readme_predict_without_torch_or_tunebench(run: Run, name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(exports.export_folder(run, name), tmp_path / "anywhere")
    command = [sys.executable, "-c", PLAIN, str(folder), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.abs(np.array(json.loads(done.stdout)) - open_scorer(run, name).score(TEXTS).probabilities).max() <= 1e-6


def test_the_middle_is_cut_by_the_readme_too(copy: Run, tmp_path: Path) -> None:
    folder = exports.export_folder(copy, "onnx")
    told = json.loads((folder / "export.json").read_text("utf-8")) | {"truncation_side": "middle"}
    (folder / "export.json").write_text(json.dumps(told), "utf-8")
    (folder / "README.md").write_text(exporting.export_card(told, "a", ""), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder), json.dumps(TEXTS)], capture_output=True, text=True, check=True
    )
    found = open_export(folder).score(TEXTS).probabilities
    assert np.abs(np.array(json.loads(done.stdout)) - found).max() <= 1e-6
    assert np.abs(found - open_scorer(copy, "torch").score(TEXTS).probabilities).max() > 1e-4, "the side matters for a long text"


def test_forms_name_what_can_be_opened(run: Run, copy: Run, baseline_run: Callable[[str], Run]) -> None:
    assert exports.forms(run) == ["torch", "torch-int8", *FORMATS]
    assert exports.forms(baseline_run("tfidf")) == ["torch"]
    shutil.rmtree(exports.export_folder(copy, "onnx"))
    assert "onnx" not in exports.forms(copy)


def test_the_command_line_offers_what_can_be_opened() -> None:
    assert options.BACKENDS == exports.BACKENDS  # written out there: help imports nothing
    assert (*exports.ENGINES, exports.TORCH) == options.FORMATS


def test_merged_is_a_form_too_and_is_refused_where_it_was_changed(copy: Run) -> None:
    with pytest.raises(InputError, match="tunebench merge"):
        open_scorer(copy, "torch-merged")
    jobs.merge(str(copy.path), copy.path.parent, quiet)
    assert "torch-merged" in exports.forms(copy)
    found = open_scorer(copy, "torch-merged").score(TEXTS).logits
    assert np.abs(found - open_scorer(copy, "torch").score(TEXTS).logits).max() <= 1e-4
    with (copy.path / "merged" / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(InputError, match="other files than the ones that were proved"):
        open_scorer(copy, "torch-merged")


def test_rows_are_found_again_by_the_seed_that_drew_them(world: World, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "a.yaml", data=world.data, method={"kind": "tfidf"}, seed=8)
    run = jobs.train(str(recipe), ["data.seed=7"], tmp_path / "runs", quiet).run
    job = exporting.job_of(run, "onnx")
    assert (job.split, job.rows.digest()) == ("validation", run.manifest["data"]["validation"]["digest"])


def _no_export(run: Run) -> None:
    shutil.rmtree(exports.export_folder(run, "onnx"))


def _other_weights_told(run: Run) -> None:
    path = exports.export_folder(run, "onnx") / "export.json"
    path.write_text(path.read_text("utf-8").replace(run.manifest["end_weights"], "0" * 64), "utf-8")


def _other_length(run: Run) -> None:
    path = exports.export_folder(run, "onnx") / "export.json"
    path.write_text(path.read_text("utf-8").replace('"max_length": 32', '"max_length": 31'), "utf-8")


def _other_graph(run: Run) -> None:
    with (exports.export_folder(run, "onnx") / "model.onnx").open("ab") as file:
        file.write(b"\0")


def _broken_json(run: Run) -> None:
    (exports.export_folder(run, "onnx") / "export.json").write_text("{", "utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_no_export, "has no such export; make it with: tunebench export"),
        (_other_weights_told, "was made of other weights"),
        (_other_length, "other files than the ones that were proved"),
        (_other_graph, "other files than the ones that were proved"),
        (_broken_json, "not readable as JSON"),
    ],
)
def test_what_was_not_proved_is_not_opened_and_is_made_anew(copy: Run, change: Callable[[Run], None], words: str) -> None:
    change(copy)
    with pytest.raises(InputError, match=words):
        open_scorer(copy, "onnx")


def test_an_unsound_export_is_made_anew_and_a_sound_one_kept(copy: Run) -> None:
    kept = exports.export_folder(copy, "onnx") / "model.onnx"
    before = kept.stat().st_mtime_ns
    exporting.export_run(copy, "onnx", quiet)
    assert kept.stat().st_mtime_ns == before
    _other_graph(copy)
    exporting.export_run(copy, "onnx", quiet)
    assert open_scorer(copy, "onnx").score(TEXTS[:1]).logits.shape == (1, 2)


def test_an_export_that_fails_its_proof_is_kept_beside_and_never_used(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(exports.export_folder(copy, "onnx"))
    honest = exporting.fresh_logits
    monkeypatch.setattr(exporting, "fresh_logits", lambda folder, texts: honest(folder, texts) + np.float32([0.01, 0]))
    with pytest.raises(GateFailed, match=r"failed its proof: its logits are not those .*onnx-failed, and never used"):
        exporting.export_run(copy, "onnx", quiet)
    told = json.loads((copy.path / "export" / "onnx-failed" / "export.json").read_text("utf-8"))
    assert not told["passed"]
    assert "is not to be used" in (copy.path / "export" / "onnx-failed" / "README.md").read_text("utf-8")
    assert "onnx" not in exports.forms(copy)
    with pytest.raises(InputError, match="failed its proof, and is never used"):
        open_scorer(copy, "onnx")


@pytest.mark.parametrize(
    ("flips", "lost", "lossy", "passes"),
    [(20, 4, True, True), (21, 0, True, False), (10, 5, True, False), (30, 0, False, True)],
)
def test_the_rule_for_eight_bits(flips: int, lost: int, *, lossy: bool, passes: bool) -> None:
    scores = {side: {"accuracy": {"value": (900 - less) / 1000}} for side, less in (("torch", 0), ("export", lost))}
    assert (exporting.faults_of(flips, scores, 1000, same=True, lossy=lossy) == []) == passes


def test_the_default_is_what_predicts_and_can_be_undone(copy: Run, capsys: pytest.CaptureFixture[str]) -> None:
    runs, text = ["--runs", copy.path.parent], ["--text", "good film", "--json"]

    def answers(*more: str) -> Any:
        code, out, error = tunebench(capsys, "predict", copy.name, *text, *more, *runs)
        assert code == 0, error
        return json.loads(out)

    assert answers() == answers("--backend", "torch")
    code, out, _ = tunebench(capsys, "export", copy.name, "--format", "openvino-int8", "--default", "--json", *runs)
    assert (code, json.loads(out)["default"]) == (0, True)
    assert answers() == answers("--backend", "openvino-int8") != answers("--backend", "torch")
    data = copy.recipe.data.source("train")
    assert data is not None
    code, out, _ = tunebench(capsys, "evaluate", copy.name, "--data", data.file, "--json", *runs)
    assert (code, json.loads(out)["backend"]) == (0, "openvino-int8")
    assert tunebench(capsys, "export", copy.name, "--format", "torch", "--default", *runs)[0] == 0
    assert answers() == answers("--backend", "torch")
    assert tunebench(capsys, "export", copy.name, "--format", "torch", *runs)[0] == 2


def test_a_default_that_is_gone_is_refused_and_nothing_else_answers(copy: Run) -> None:
    exporting.export_run(copy, "onnx", quiet, default=True)
    _no_export(copy)
    with pytest.raises(InputError, match="--backend torch or"):
        open_scorer(copy)


def test_a_run_without_validation_says_so_and_gets_no_default(world: World, tmp_path: Path, warm: None) -> None:
    recipe = write_recipe(tmp_path / "bare.yaml", data=world.data, base=world.bases["bert"], method=METHODS["head"])
    bare = jobs.train(str(recipe), ["data.validation=null", "train.eval_strategy=no"], tmp_path / "runs", quiet).run
    with pytest.raises(InputError, match="no validation rows"):
        exporting.export_run(bare, "onnx", quiet, default=True)
    assert not (bare.path / "export").exists()
    assert exporting.export_run(bare, "onnx", quiet)["split"] == "train"
    with pytest.raises(InputError, match="not scored on validation"):
        exporting.export_run(bare, "onnx", quiet, default=True)


def test_what_has_no_graph_is_refused(baseline_run: Callable[[str], Run], copy: Run) -> None:
    with pytest.raises(InputError, match="is the baseline 'tfidf'"):
        exporting.export_run(baseline_run("tfidf"), "onnx", quiet)
    with pytest.raises(InputError, match="one form only"):
        open_scorer(baseline_run("tfidf"), "onnx")


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_engine_is_named_with_its_extra(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    engine, honest = exports.ENGINES[name], exports.find_spec
    monkeypatch.setattr(exports, "find_spec", lambda package: None if package == engine else honest(package))
    with pytest.raises(MissingExtra, match=re.escape(f"tunebench[{exports.extra_of(name)}]")):
        open_scorer(run, name)
    assert name not in exports.forms(run)


WATCHED = """
import json, socket, sys
log = sys.argv.pop(1)
def refuse(*arguments, **more):
    open(log, "a").write("tried\\n")
    raise OSError("no network here")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
from tunebench.cli import main
for sys.argv[1:] in json.loads(sys.argv[1]):
    main()
heavy = [name for name in ("torch", "transformers", "peft", "sklearn", "matplotlib", "nncf") if name in sys.modules]
print("heavy:", heavy, "telemetry:", sys.modules.get("openvino_telemetry"))
"""


def watched(home: Path, *commands: list[str]) -> tuple[str, str]:
    """What commands say in one process, a user's, without CI or pytest in its environment, and which addresses it asked for."""
    hidden = ("CI", "PYTEST", "TUNEBENCH_HOME", "XDG", "HOME", "GITHUB")
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    log = home.parent / "asked.txt"
    log.write_text("")
    home.mkdir(exist_ok=True)
    surroundings |= {"HOME": str(home), "TUNEBENCH_HOME": str(home.parent / "cache")}
    command = [sys.executable, "-c", WATCHED, str(log), json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    assert done.returncode == 0, done.stderr
    return done.stdout, log.read_text()


@pytest.mark.parametrize("name", FORMATS)
def test_predicting_sends_nothing_writes_nothing_at_home_and_loads_no_torch(run: Run, tmp_path: Path, name: str) -> None:
    said, asked = watched(tmp_path / "home", ["predict", str(run.path), "--text", "good film", "--backend", name])
    assert "heavy: [] telemetry: None" in said
    assert (asked, list((tmp_path / "home").rglob("*"))) == ("", [])


def test_exporting_sends_nothing_and_writes_nothing_at_home(copy: Run, tmp_path: Path) -> None:
    again = [["export", str(copy.path), "--format", name, "--force"] for name in ("openvino-int8", "onnx-int8")]
    said, asked = watched(tmp_path / "home", *again)
    assert said.count("is ready") == 2
    assert (asked, list((tmp_path / "home").rglob("*"))) == ("", [])


def test_the_test_rows_have_no_part_in_an_export(copy: Run) -> None:
    job = exporting.job_of(copy, "openvino-int8")
    assert not set(scored_texts(copy)) & set(map(str, job.rows.texts))
