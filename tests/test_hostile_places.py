"""Hostile recipes and disks: an exit code, words that help, nothing lost; and where each kind of bad input is tested."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shelf import finished_run, tunebench
from test_hostile_input import Capture, digests, refused
from tiny import World, write_csv, write_recipe

from tunebench.compare import curves
from tunebench.errors import TunebenchError
from tunebench.events import Failed, Warned
from tunebench.runs.run import Run

draw_curves = curves.draw_curves
TABLE = "test_hostile_input.py::test_a_table_just_works_or_is_refused_with_words"
BASE = "test_bases.py::test_an_unsound_base_is_refused_before_anything_is_begun"
PROMPT = "test_hostile_prompts.py::test_settings_that_cannot_work_are_refused_before_anything_is_begun"
DATA = "test_hostile_prompts.py::test_data_that_teach_nothing_are_refused_before_anything_is_begun"
CHAT = "test_hostile_prompts.py::test_a_chat_template_that_does_not_do_is_refused"
CHAIN = "test_hostile_decoders.py::test_stages_that_cannot_follow_each_other_are_refused_before_anything_is_begun"
VERB = "test_hostile_decoders.py::test_what_a_run_cannot_do_is_refused"
RECIPE = "test_hostile_places.py::test_an_unsound_recipe_is_refused_in_few_words"
DECODERS = "test_hostile_decoders.py"
TESTED: dict[str, str] = {
    "a byte order mark": f"{TABLE}[a byte order mark]",
    "cp1252": f"{TABLE}[Windows text]",
    "UTF-16": f"{TABLE}[UTF-16]",
    "semicolons": f"{TABLE}[semicolons]",
    "tabs": f"{TABLE}[tabs in a .csv]",
    "quoted newlines": f"{TABLE}[quoted newlines]",
    "NUL bytes": f"{TABLE}[a NUL in a text]",
    "a missing column": f"{TABLE}[no label column]",
    "an unnamed column": f"{TABLE}[a column without a name]",
    "a doubled column": f"{TABLE}[a doubled column]",
    "a label that appears once": f"{TABLE}[a label that stands once]",
    "a label only in the test split": "test_hostile_input.py::test_a_label_that_no_training_row_has_is_refused",
    "an empty file": f"{TABLE}[an empty file]",
    "a header only": f"{TABLE}[only a header]",
    "100 MB in one cell": f"{TABLE}[100 MB in a cell]",
    "emoji and text from right to left": f"{TABLE}[emoji and text from right to left]",
    "numbers as labels": f"{TABLE}[numbers as labels]",
    "doubled ids": f"{TABLE}[a doubled id]",
    "columns named predicted and error": f"{TABLE}[columns named like answers]",
    "a recipe with unknown keys": f"{RECIPE}[an unknown key]",
    "a recipe with wrong types": "test_hostile_places.py::test_all_faults_of_a_recipe_are_told_at_once",
    "a recipe with an anchor bomb": f"{RECIPE}[an anchor bomb]",
    "a base without a tokenizer": f"{BASE}[no tokenizer]",
    "a corrupt safetensors file": f"{BASE}[weights of zeros]",
    "a truncated safetensors file": f"{BASE}[weights cut short]",
    "an adapter made for another base": "test_bases.py::test_an_adapter_made_for_another_base_is_never_laid_on_this_one",
    "a full disk while training": "test_hostile_places.py::test_a_disk_that_fills_up_loses_nothing",
    "a full disk, told by the libraries": "test_hostile_places.py::test_a_library_that_cannot_write_is_explained",
    "a full disk elsewhere": "test_hostile_places.py::test_an_output_that_cannot_be_written_leaves_the_older_one",
    "a read-only runs folder": "test_hostile_places.py::test_a_read_only_runs_folder_is_told",
    "a template naming a missing column": f"{PROMPT}[a place that no row has]",
    "a template longer than the context": f"{PROMPT}[a template of 200,000 characters]",
    "label words that share their first token": f"{PROMPT}[label words that begin alike]",
    "label words that no text is written with": f"{PROMPT}[a special token as label word]",
    "options that are missing": f"{PROMPT}[a column of options that is missing]",
    "options that are repeated": f"{DATA}[an option twice]",
    "options that are empty": f"{DATA}[an empty option]",
    "an answer outside the options": f"{DATA}[an answer outside the options]",
    "an answer written as text": f"{DATA}[an answer written as text]",
    "a question longer than the context": f"{DATA}[a question longer than the context]",
    "a passage longer than the context": f"{DECODERS}::test_only_the_passage_is_cut_and_long_questions_say_so",
    "a corpus of one document": f"{DATA}[one document]",
    "a document of five million characters": "test_hostile_prompts.py::test_a_document_of_five_million_characters_takes_seconds",
    "a file that is not JSON": f"{DATA}[no JSON]",
    "lone surrogates in a prompt": f"{PROMPT}[a template with half a character]",
    "lone surrogates in a question": f"{DATA}[half a question]",
    "lone surrogates in a document": f"{DATA}[half a document]",
    "lone surrogates in a conversation": f"{DATA}[half a message]",
    "a base without a chat template": f"{PROMPT}[a base without a chat template]",
    "a chat template that is hostile": f"{CHAT}[that fills the memory]",
    "an encoder that is to write": f"{PROMPT}[an encoder that is to write]",
    "a decoder without its output layer": f"{PROMPT}[a decoder without its output layer]",
    "a merge target of another shape": "test_hostile_decoders.py::test_what_has_another_shape_is_not_merged",
    "a stage edited after it ran": "test_stages.py::test_a_finished_stage_that_was_edited_is_refused_and_with_force_done_anew",
    "a stage that is a path": f"{CHAIN}[a stage that is a path]",
    "texts that look like a prompt": "test_hostile_decoders.py::test_texts_that_look_like_a_prompt_are_texts",
    "a run asked for what it has not": f"{VERB}[answers to a run without labels]",
    "nothing is lost": "test_hostile_input.py::test_files_beside_the_input_stay_as_they_are_when_all_goes_well",
}


@pytest.mark.parametrize("item", TESTED)
def test_every_kind_of_bad_input_has_its_test(item: str) -> None:
    file, test, case = re.fullmatch(r"(\w+\.py)::(\w+)(?:\[(.+)\])?", TESTED[item]).groups()  # type: ignore[union-attr]
    source = (Path(__file__).parent / file).read_text("utf-8")
    assert f"\ndef {test}(" in source
    assert case is None or f'\n    "{case}": ' in source


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "t.csv")
    write_recipe(tmp_path / "r.yaml", data=Path("t.csv"))


SOUND = "name: r\ndata: {train: t.csv, test: {fraction: 0.2}}\nmethod: {kind: majority}\n"
LONG = "k" * 300_000
Content = str | bytes | Callable[[], str]
RECIPES: dict[str, tuple[Content, str]] = {
    "an unknown key": (SOUND + "sed: 3\n", "sed: unknown key; nearest is 'seed'"),
    "3,000 unknown keys": (lambda: SOUND + "".join(f"k{i}: 1\n" for i in range(3000)), "3,000 faults"),
    "an anchor bomb": ("a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(9)), "aliases (*name) are not read"),
    "a merge bomb": ("a: &a {x: 1}\nb: {<<: *a}\n", "aliases (*name) are not read"),
    "50 MB": (lambda: SOUND + "# " + "x" * 50_000_000, "is 50,000,07"),
    "deep blocks": ("".join(" " * i + "a:\n" for i in range(1200)), "settings are nested too deeply"),
    "deep brackets": ("{a: " * 3000, "settings are nested too deeply"),
    "UTF-16": (SOUND.encode("utf-16"), "not UTF-8 text at byte 0; save the recipe as UTF-8"),
    "UTF-32": (SOUND.encode("utf-32"), "not UTF-8 text at byte 0"),
    "Windows text in a comment": (b"# caf\xe9\n" + SOUND.encode(), "not UTF-8 text at byte 5"),
    "a NUL": (SOUND + "\0", "not readable as YAML"),
    "a NUL in a comment": ("# \0\n" + SOUND, "not readable as YAML"),
    "a number too large for any": (SOUND + "seed: 1e999\n", "seed: expected a whole number, found inf"),
    "a number of 20 digits": (SOUND + f"seed: {10**20}\n", "a number of 21 digits; write it in quotes where it is a name"),
    "a number of 5,000 digits": (SOUND + f"seed: {'9' * 5000}\n", "a number of 5000 digits"),
    "a doubled key": (SOUND + "name: b\n", "the key 'name' stands twice"),
    "two recipes": (SOUND + "---\n" + SOUND, "line 4, column 1"),
    "a long key": (f"? {LONG}\n: 1\n{SOUND}", "characters left out"),
    "a long key that is doubled": (f"? {LONG}\n: 1\n" * 2, "stands twice"),
    "a long tag": (f"a: !!python/{LONG} x\n", "could not determine a constructor"),
    "a long name": (SOUND.replace("name: r", f"name: {LONG}"), "name: expected letters"),
    "a long method": (SOUND.replace("majority", LONG), "method.kind: expected one of full"),
    "a long column": (SOUND.replace("{train", f"{{label: {LONG}, train"), "(setting data.label); columns are id, text, label"),
    "a long file": (SOUND.replace("t.csv", LONG), "cannot be read (File name too long)"),
    "a long base": (
        SOUND.replace("majority", "lora") + f"base: {{model: {LONG}}}\ntrain: {{eval_strategy: no}}\n",
        "characters left out",
    ),
    "a list for a file": (SOUND.replace("t.csv", "[a, b]"), "data.train: expected a file, or {file: …}"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_an_unsound_recipe_is_refused_in_few_words(name: str, capsys: Capture) -> None:
    content, words = RECIPES[name]
    content = content() if callable(content) else content
    Path("x.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(capsys, 2, words, "train", "x.yaml")
    assert len(tunebench(capsys, "check", "x.yaml")[2]) < 10_000


def test_all_faults_of_a_recipe_are_told_at_once(capsys: Capture) -> None:
    faults = {
        "name: [a]": "name: expected text",
        "seed: x": "seed: expected a whole number",
        "base: 3": "base: expected settings",
        "data: []": "data: expected settings",
        "method: lora": "method: expected settings such as {kind: lora}",
        "train: text": "train: expected settings",
        "report_to: 3": "report_to: expected a list",
        "stage: 1": "stage: unknown key",
    }
    Path("x.yaml").write_text("\n".join(faults))
    err = tunebench(capsys, "train", "x.yaml")[2]
    refused(capsys, 2, "x.yaml: 8 faults", "train", "x.yaml")
    assert sum(line.startswith("  - ") for line in err.splitlines()) == 8
    assert [words for words in faults.values() if f"\n  - {words}" not in err] == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("", "expected section.key=value"),
        ("..=1", "expected section.key=value"),
        ("k" * 100_000, "characters left out"),
        ("k" * 100_000 + "=1", "unknown key"),
        (".".join(["a"] * 50_000) + "=1", "a: unknown key"),
        ("name=" + "[" * 5000, "settings are nested too deeply"),
        ("name=\udcff", "special characters are not allowed"),
        ("name=*a", "aliases (*name) are not read"),
        ("name.x=1", "'name' holds text, not settings"),
        ("data=3", "data: expected settings, found 3"),
        ("report_to.0=x", "report_to: expected a list"),
        ("data.positive_label=" + "x" * 100_000, "is no label; labels are negative, positive"),
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode(),
)
def test_an_unsound_override_is_refused_in_few_words(override: str, words: str, capsys: Capture) -> None:
    refused(capsys, 2, words, "train", "r.yaml", "--set", override)
    assert len(tunebench(capsys, "train", "r.yaml", "--set", override)[2]) < 3000


@pytest.mark.parametrize("rank", ["1_000_000_000_000", "0x" + "f" * 15])
def test_more_weights_than_there_is_memory_for_are_explained(rank: str, world: World, warm: None, capsys: Capture) -> None:
    rank = rank.replace("_", "")
    recipe = write_recipe(Path("lora.yaml"), data=world.data, base=world.bases["bert"])
    code, _, err = tunebench(capsys, "train", recipe, "--set", f"method.r={rank}")
    assert (code, "out of memory" in err, "`tunebench params`" in err) == (1, True, True), err


@contextmanager
def files_of(most: int) -> Iterator[None]:
    """No file of this process may grow beyond that many bytes: what any library writes then fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_place_for(name: str, code: int) -> Iterator[None]:
    """Nothing of that name can be put into its place."""

    def refusing(move: Callable[..., Any]) -> Callable[..., Any]:
        def moved(source: Any, target: Any, **options: Any) -> None:
            if Path(target).name == name:
                raise OSError(code, os.strerror(code), str(target))
            move(source, target, **options)

        return moved

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", refusing(os.replace))
        patch.setattr(os, "rename", refusing(os.rename))
        yield


def whole(folder: Path) -> dict[str, str]:
    """What must be the same after an interruption: weights and predictions."""
    return {Path(name).name: digest for name, digest in digests(folder).items() if name.endswith((".safetensors", ".parquet"))}


@pytest.fixture(scope="module")
def lora(world: World, warm: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A recipe with checkpoints, and what it ends with when nothing is in its way."""
    folder = tmp_path_factory.mktemp("sound")
    often = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    recipe = write_recipe(folder / "lora.yaml", data=world.data, base=world.bases["bert"], train=often)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tunebench", "train", str(recipe), "--runs", str(folder / "runs")])
        from tunebench.cli import main

        main()
    return recipe, whole(folder / "runs")


def fails_and_goes_on(capsys: Capture, lora: tuple[Path, dict[str, str]], words: str, obstacle: Any) -> None:
    recipe, expected = lora
    runs = Path("runs").absolute()
    with obstacle:
        code, out, err = tunebench(capsys, "train", recipe, "--runs", runs)
    assert (code, out) == (1, ""), err
    message = err[err.index("error: ") :]
    assert [word for word in (str(runs / "lora"), words, "; ") if word not in message] == [], message
    assert [name for name in digests(runs) if "/." in name and not name.endswith("/.lock")] == []
    assert Run(runs / "lora").status() in ("failed", "interrupted")
    code, _, err = tunebench(capsys, "train", recipe, "--runs", runs)
    assert code == 0, err
    assert whole(runs) == expected


STAGES: dict[str, int] = {
    "recipe.yaml": errno.EDQUOT,
    "events.jsonl": errno.ENOSPC,
    "splits.json": errno.ENOSPC,
    "checkpoint-2": errno.ENOSPC,
    "checkpoint-6": errno.EDQUOT,
    "adapter": errno.ENOSPC,
    "predictions.parquet": errno.EDQUOT,
    "README.md": errno.ENOSPC,
    "curves.pdf": errno.ENOSPC,
    "metrics.json": errno.EROFS,
}


@pytest.mark.parametrize("name", STAGES)
def test_a_disk_that_fills_up_loses_nothing(
    name: str, lora: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(curves, "draw_curves", draw_curves)
    fails_and_goes_on(capsys, lora, os.strerror(STAGES[name]), no_place_for(name, STAGES[name]))
    assert (Path("runs/lora/figures/curves.pdf")).is_file()


@pytest.mark.parametrize("most", [200, 2000, 4500, 7000, 12_000])
def test_a_library_that_cannot_write_is_explained(most: int, lora: tuple[Path, dict[str, str]], capsys: Capture) -> None:
    if most > 1000:
        fails_and_goes_on(capsys, lora, "File too large", files_of(most))
        return
    with files_of(most):
        code, _, err = tunebench(capsys, "train", lora[0])
    assert (code, "cannot write manifest.json in runs/lora: File too large" in err) == (1, True), err
    assert {Path(name).name for name in digests(Path("runs"))} == {".lock"}


def test_a_fitted_baseline_that_cannot_be_written_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("TUNEBENCH_HOME", str(tmp_path / "home"))
    text = " ".join(f"w{i}x" for i in range(300))
    write_csv(Path("t.csv"), [{"id": str(i), "text": text, "label": "ab"[i % 2]} for i in range(60)])
    recipe = write_recipe(Path("words.yaml"), data=Path("t.csv"), method={"kind": "tfidf"})
    with files_of(6000):
        code, _, err = tunebench(capsys, "train", recipe)
    assert (code, "File too large" in err, "set TUNEBENCH_HOME to a folder" in err) == (1, True, True), err
    assert digests(tmp_path / "home") == {}
    with no_place_for("tfidf.safetensors", errno.ENOSPC):
        code, _, err = tunebench(capsys, "train", recipe)
    assert (code, "cannot write tfidf.safetensors in" in err) == (1, True), err
    assert not Path("runs/words/model/tfidf.safetensors").exists()
    assert tunebench(capsys, "train", recipe)[0] == 0


def test_what_went_wrong_is_told_even_where_the_run_cannot_note_it(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    record = Run.record

    def full(run: Run, event: Any) -> None:
        if isinstance(event, Failed):
            raise TunebenchError("no room for this event")
        record(run, event)

    monkeypatch.setattr(Run, "record", full)
    with no_place_for("predictions.parquet", errno.ENOSPC):
        code, _, err = tunebench(capsys, "train", "r.yaml")
    assert (code, "predictions.parquet: cannot be written (No space left on device)" in err) == (1, True), err
    assert Run(Path("runs/r")).status() == "interrupted"


def test_an_event_that_is_cut_off_by_a_full_disk_does_not_damage_the_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "runs")
    said = list(run.events())
    with files_of((run.path / "events.jsonl").stat().st_size + 40), pytest.raises(TunebenchError, match="File too large"):
        run.record(Warned("never told"))
    assert (run.path / "events.jsonl").read_bytes()[-1:] != b"\n"
    run.record(Warned("told"))
    assert list(run.events()) == [*said, Warned("told")]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("most", [100, 20_000])
def test_an_output_that_cannot_be_written_leaves_the_older_one(ending: str, most: int, capsys: Capture) -> None:
    assert tunebench(capsys, "train", "r.yaml")[0] == 0
    Path("many.csv").write_text("id,text\n" + "".join(f"{i},{i * 7919:x}\n" for i in range(3000)))
    Path(f"out{ending}").write_text("older")
    with files_of(most):
        refused(capsys, 1, f"out{ending}: cannot be written", "predict", "r", "many.csv", "--output", f"out{ending}")
    assert tunebench(capsys, "predict", "r", "many.csv", "--output", f"out{ending}")[0] == 0


def two_runs(capsys: Capture) -> None:
    write_recipe(Path("s.yaml"), data=Path("t.csv"))
    for name in "rs":
        assert tunebench(capsys, "train", f"{name}.yaml")[0] == 0


def test_no_room_for_a_comparison_or_a_recipe_is_told(capsys: Capture) -> None:
    two_runs(capsys)
    Path("comparison").mkdir()
    Path("comparison/comparison.csv").write_text("older")
    with files_of(10):
        refused(capsys, 1, "runs/r: cannot be written (File too large", "compare", "runs/r", "runs/s", "--no-bench")
    with files_of(20_000):
        code, out, err = tunebench(capsys, "compare", "runs/r", "runs/s", "--no-bench")  # that test rows were read is counted
        assert (code, out) == (1, "")
        assert "cannot write report.html in comparison: File too large" in err
    assert {path.name: path.read_text() for path in Path("comparison").iterdir()} == {"comparison.csv": "older"}
    with files_of(10):
        refused(capsys, 1, "cannot write new.yaml in", "init", "t.csv", "--output", "new.yaml")
        refused(capsys, 1, "cannot write x in", "init", "t.csv", "--output", "t.csv/x")
        assert tunebench(capsys, "check", "r.yaml")[0] == 0


def test_no_room_to_merge_leaves_the_run_as_it_is(lora: tuple[Path, dict[str, str]], capsys: Capture) -> None:
    run = shutil.copytree(lora[0].parent / "runs" / "lora", Path("lora").absolute())
    for obstacle in (files_of(30_000), no_place_for("merged-unproved", errno.ENOSPC)):
        with obstacle:
            refused(capsys, 1, "lora: cannot be written", "merge", run)
    assert tunebench(capsys, "merge", run)[0] == 0
    with no_place_for("merged-unproved", errno.EDQUOT):
        refused(capsys, 1, "lora: cannot be written (Disk quota exceeded", "merge", run)


def test_a_read_only_runs_folder_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    two_runs(capsys)
    write_recipe(Path("new.yaml"), data=Path("t.csv"))

    def refuse(path: Any, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    words = "runs/new: cannot be made (Read-only file system); make the folder writable, or give --runs another one"
    refused(capsys, 1, words, "train", "new.yaml")
    refused(capsys, 1, "cannot write .writable in comparison: Read-only file system", "compare", "runs/r", "runs/s")
    assert tunebench(capsys, "predict", "r", "--text", "x")[0] == 0
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: refuse(path) if a == ("a",) else opened(path, *a, **k))
    words = "runs/r: cannot be written (Read-only file system: runs/r/.lock); make the folder writable"
    refused(capsys, 1, words, "train", "r.yaml")
