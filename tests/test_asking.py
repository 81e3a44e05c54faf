"""Runs are asked in a process that keeps them open: what it says is what the files say, whatever happens to them or to it."""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import parrot
import pytest
import torch
from peft import PeftModel
from prompted import ZERO_SHOT, settings_of, write, write_bases, write_files
from quiz import make_questions, write_quiz
from test_peft_types import METHODS, Ground, ground, logits, method_of
from tiny import World, write_csv, write_recipe

from tunebench import jobs
from tunebench.asking import opened, process
from tunebench.asking.client import Asking
from tunebench.errors import InputError, TunebenchError
from tunebench.model.methods import expected_warnings, trainable_state
from tunebench.model.residual import save_adapter
from tunebench.model.sharing import SharedBases
from tunebench.predict.occlusion import occlude
from tunebench.runs.answering import Answering
from tunebench.runs.run import Run
from tunebench.training import open_scorer

TEXTS = ["a good film", "the plot is dull and the actor cold", "great"]
HOSTILE = {
    "": "the text is empty",
    " \n\t": "the text is empty",
    "half \ud800 of it": None,
    "two halves \ud83d\ude00": None,
    "\x00\x07\x1b[31m\u202e\u200b": None,
    "<script>alert(1)</script> =1+1": None,
    "good " * 200_000: None,
}


@pytest.fixture
def answers() -> process.Answers:
    """What answers in the process, in this one."""
    bases = SharedBases()
    return process.Answers(opened.Opened(lambda run, backend: open_scorer(run, backend, bases)))


@pytest.fixture
def ask(answers: process.Answers, world: World) -> Callable[..., dict[str, Any]]:
    def asked(verb: str, runs: Path = world.folder / "runs", **request: Any) -> dict[str, Any]:
        request = {"names": [], "texts": [], "backend": None, "calibrated": False} | request
        answer: dict[str, Any] = json.loads(json.dumps(answers.answer({"verb": verb, "runs": str(runs), **request})))
        return answer

    return asked


@pytest.fixture
def of_its_own(tiny_run: Callable[..., Run], tmp_path: Path) -> Run:
    """A run that a test may damage."""
    shutil.copytree(tiny_run("bert", "lora").path, tmp_path / "own")
    return Run(tmp_path / "own")


@pytest.fixture(scope="module")
def quiz(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("quiz")
    write_csv(folder / "train.csv", make_questions())
    recipe = write_quiz(folder, data={"validation": {"fraction": 0.2}, "test": {"fraction": 0.2}})
    return jobs.train(str(recipe), [], folder / "runs", lambda event: None).run


@pytest.fixture
def parroting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    """An ``Asking`` whose process needs no models."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(parrot.__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr("tunebench.asking.client.Answering", lambda _, environment: Answering("parrot", environment))
    asking = Asking(Path("runs"))
    yield asking
    asking.close()


def scored(scorer: Any) -> bytes:
    found: np.ndarray = scorer.score(TEXTS).logits
    return found.tobytes()


def test_switching_between_adapters_of_one_base_changes_no_bit_and_loads_it_once(tiny_run: Callable[..., Run]) -> None:
    runs = [tiny_run("bert", "lora"), tiny_run("bert", "ia3")]
    fresh, bases = [scored(open_scorer(run)) for run in runs], SharedBases()
    kept = opened.Opened(lambda run, backend: open_scorer(run, backend, bases))
    scorers: list[Any] = [kept.scorer(run) for run in runs]
    loaded = kept.load_seconds
    assert [[scored(kept.scorer(run)) for run in runs] for _ in range(2)] == [fresh, fresh]
    assert kept.load_seconds == loaded  # both stay open
    one, other = ({item.data_ptr() for item in scorer.backend.model.parameters() if item.dim() > 1} for scorer in scorers)
    assert len(one & other) >= 10
    assert len(bases._held) == 1
    assert fresh[0] != fresh[1]


@pytest.fixture(scope="module")
def ground_of_bert(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return ground("bert", tmp_path_factory.mktemp("ground") / "bert")


@pytest.mark.parametrize("name", [*METHODS, "lora, `bias`"])
def test_no_kind_of_adapter_changes_the_base_it_shares(ground_of_bert: Ground, tmp_path: Path, name: str) -> None:
    bias = name == "lora, `bias`"
    model = ground_of_bert.composed(method_of("lora", bias="all") if bias else method_of(name))
    with torch.no_grad():
        for tensor in trainable_state(model).values():
            tensor.add_(0.1)
    save_adapter(model, tmp_path)
    bases, base = SharedBases(), ground_of_bert.model
    before = {key: tensor.clone() for key, tensor in base.state_dict().items()}
    with expected_warnings():
        made = [PeftModel.from_pretrained(bases.of("bert", lambda: base), str(tmp_path)) for _ in range(2)]
    assert torch.equal(logits(made[0]), logits(made[1]))
    assert not torch.equal(logits(made[0]), logits(base))
    assert torch.allclose(logits(made[0]), logits(model), atol=1e-5)
    assert all(torch.equal(tensor, before[key]) for key, tensor in base.state_dict().items())


def test_a_base_goes_with_the_last_model_made_of_it(ground_of_bert: Ground) -> None:
    bases, loaded = SharedBases(), list[int]()

    def load() -> Any:
        loaded.append(1)
        return copy.deepcopy(ground_of_bert.model)

    first = bases.of("bert", load)
    second = bases.of("bert", load)
    del first
    assert logits(bases.of("bert", load)).equal(logits(second))
    assert len(loaded) == 1
    del second
    bases.of("bert", load)
    assert len(loaded) == 2


def test_the_process_says_what_the_run_says_and_survives_what_it_is_asked(
    tiny_run: Callable[..., Run], baseline_run: Callable[[str], Run]
) -> None:
    runs = [tiny_run("bert", "lora"), tiny_run("bert", "ia3"), baseline_run("tfidf")]
    asking = Asking(runs[0].path.parent)
    try:
        asking.start()
        found = asking.predict([*(run.name for run in runs), "nobody"], TEXTS)
        for one, run in zip(found, runs, strict=False):
            assert {key: one[key] for key in ("run", "device", "backend")} == {
                "run": run.name,
                "device": "cuda" if torch.cuda.is_available() and run.recipe.base else "cpu",
                "backend": "torch",
            }
            assert one["answers"] == jobs.predict_texts(run.name, run.path.parent, TEXTS)
            assert one["load_seconds"] > 0
        assert found[3].keys() == {"run", "error"}
        assert "`tunebench train RECIPE` makes one" in found[3]["error"]
        for one in asking.predict([runs[0].name, runs[2].name], list(HOSTILE)):
            assert one["load_seconds"] == 0.0
            assert [answer["error"] for answer in one["answers"]] == list(HOSTILE.values())
        with pytest.raises(TunebenchError, match="no such run"):
            asking.why("nobody", "a film")
        assert asking.why(runs[0].name, TEXTS[0])["words"]
    finally:
        asking.close()


@pytest.mark.parametrize("text", [text for text, error in HOSTILE.items() if error is None])
def test_any_text_is_explained_in_time(
    ask: Callable[..., dict[str, Any]], tiny_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(process, "occlude", functools.partial(occlude, patience=0.5))
    found = ask("why", name=tiny_run("bert", "lora").name, text=text)
    assert found["seconds"] < 10
    assert found["cut"] is (len(text) > 1000)
    assert found["predicted"] in ("negative", "positive")
    assert all(found["text"][word["start"] : word["end"]] == word["text"] for word in found["words"])


def test_why_speaks_of_the_cleaned_text_and_of_the_words_that_were_read(
    ask: Callable[..., dict[str, Any]], of_its_own: Run
) -> None:
    recipe = of_its_own.path / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("html: keep", "html: strip"), "utf-8")
    found = ask("why", name=str(of_its_own.path), text="a <b>good</b> film " + "the plot is very dull " * 20)
    assert found["text"].startswith("a good film the plot")
    assert found["truncated"]
    weights = [word["weight"] for word in found["words"]]
    assert any(weights[:20])
    assert not any(weights[40:])  # max_length is 32
    (answer,) = ask("predict", names=[str(of_its_own.path)], texts=[found["text"]])["runs"][0]["answers"]
    assert (found["predicted"], found["probability"]) == (answer["predicted"], answer["probabilities"][found["predicted"]])
    with pytest.raises(InputError, match="is empty once it is cleaned"):
        ask("why", name=str(of_its_own.path), text="<b></b>")


def garbled(run: Run, name: str) -> None:
    """Half of a file, as a writer that was killed leaves it."""
    content = (run.path / name).read_bytes()
    (run.path / name).write_bytes(content[: len(content) // 2])


def deleted(run: Run, name: str) -> None:
    if name:
        (run.path / name).unlink()
    else:
        shutil.rmtree(run.path)


@pytest.mark.parametrize(
    ("harm", "name", "words"),
    [
        (deleted, "", "makes one"),
        (deleted, "manifest.json", "makes one"),
        (deleted, "recipe.yaml", "the run directory is damaged"),
        (deleted, "adapter/adapter_model.safetensors", "holds other files than the ones that were scored"),
        (garbled, "adapter/adapter_model.safetensors", "holds other files than the ones that were scored"),
        (garbled, "adapter/tokenizer.json", "holds other files than the ones that were scored"),
        (garbled, "manifest.json", "the run directory is damaged"),
        (garbled, "recipe.yaml", "recipe.yaml"),
    ],
)
def test_a_run_that_is_damaged_while_it_is_open_says_so(
    ask: Callable[..., dict[str, Any]], of_its_own: Run, harm: Callable[[Run, str], None], name: str, words: str
) -> None:
    asked = {"names": [str(of_its_own.path)], "texts": TEXTS}
    before = ask("predict", **asked)["runs"][0]["answers"]
    spare = shutil.copytree(of_its_own.path, of_its_own.path.with_name("spare"))
    harm(of_its_own, name)
    (found,) = ask("predict", **asked)["runs"]
    assert found.keys() == {"run", "error"}
    assert words in found["error"]
    shutil.rmtree(of_its_own.path, ignore_errors=True)
    spare.rename(of_its_own.path)
    assert ask("predict", **asked)["runs"][0]["answers"] == before


def test_a_run_that_was_trained_anew_answers_anew(
    ask: Callable[..., dict[str, Any]], of_its_own: Run, tiny_run: Callable[..., Run]
) -> None:
    asked = {"names": [str(of_its_own.path)], "texts": TEXTS}
    before = ask("predict", **asked)["runs"][0]
    shutil.rmtree(of_its_own.path)
    shutil.copytree(tiny_run("bert", "ia3").path, of_its_own.path)
    after = ask("predict", **asked)["runs"][0]
    assert after["load_seconds"] > 0
    assert after["answers"] != before["answers"]


def test_a_base_that_was_changed_is_refused_by_every_adapter_on_it(
    ask: Callable[..., dict[str, Any]], of_its_own: Run, world: World, tmp_path: Path
) -> None:
    base = shutil.copytree(world.bases["bert"], tmp_path / "base")
    recipe = of_its_own.path / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace(str(world.bases["bert"]), str(base)), "utf-8")
    other = shutil.copytree(of_its_own.path, tmp_path / "other")
    assert "answers" in ask("predict", names=[str(of_its_own.path)], texts=TEXTS)["runs"][0]
    shutil.copyfile(world.bases["distilbert"] / "tokenizer_config.json", base / "tokenizer_config.json")
    for found in ask("predict", names=[str(of_its_own.path), str(other)], texts=TEXTS)["runs"]:
        assert "was trained on another" in found["error"]


@pytest.mark.parametrize(("most", "room"), [(1, 10**12), (12, 0)])
def test_the_least_recently_asked_goes_where_there_is_no_room(
    tiny_run: Callable[..., Run], baseline_run: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch, most: int, room: int
) -> None:
    monkeypatch.setattr(opened, "MOST_OPEN", most)
    monkeypatch.setattr(opened, "_room", lambda: room)
    monkeypatch.setattr(opened, "_give_back", lambda: None)
    opens = list[str]()

    def counted(run: Run, backend: str | None) -> Any:
        opens.append(run.name)
        return object()

    one, other, kept = tiny_run("bert", "lora"), baseline_run("majority"), opened.Opened(counted)
    for run in (one, one, other, one):
        kept.scorer(run)
    assert opens == [one.name, other.name, one.name]


def test_each_task_is_asked_in_its_own_way(ask: Callable[..., dict[str, Any]], tiny_run: Callable[..., Run], quiz: Run) -> None:
    (found,) = ask("predict", names=[str(quiz.path)], texts=TEXTS)["runs"]
    assert "a passage, a question and its options" in found["error"]
    with pytest.raises(InputError, match="a passage, a question and its options"):
        ask("why", name=str(quiz.path), text="a film")
    question = {
        "passage": "the film is very warm . the story . a plot with cold and dull",
        "question": "is the film",
        "choices": ["cold", "warm", "dull"],
    }
    with pytest.raises(InputError, match="has no options"):
        ask("choose", name=tiny_run("bert", "lora").name, **question)
    found = ask("choose", name=str(quiz.path), **question)
    assert (found["run"], found["predicted"], found["choice"], found["error"]) == (str(quiz.path), "2", "warm", None)
    assert max(found["probabilities"], key=lambda name: found["probabilities"][name]) == "2"
    for change, words in (
        ({"choices": ["cold", "warm"]}, "questions with 3 options, found 2"),
        ({"choices": ["cold", "cold ", "warm"]}, "same option"),
        ({"passage": " "}, "'passage' is empty"),
    ):
        with pytest.raises(InputError, match=words):
            ask("choose", name=str(quiz.path), **question | change)


def test_a_decoder_that_was_never_trained_is_asked_by_its_prompt(
    ask: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: None
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()
    recipe = write(settings_of(write_bases(tmp_path / "bases"), "classify", **ZERO_SHOT))
    run = jobs.train(recipe, [], tmp_path / "runs", lambda event: None).run
    (found,) = ask("predict", runs=tmp_path / "runs", names=[run.name], texts=TEXTS)["runs"]
    assert found["answers"] == jobs.predict_texts(run.name, tmp_path / "runs", TEXTS)
    why = ask("why", runs=tmp_path / "runs", name=run.name, text="a good film")
    assert [word["text"] for word in why["words"]] == ["a", "good", "film"]
    assert any(word["weight"] for word in why["words"])


def test_calibrated_answers_need_a_calibration_and_backends_their_export(
    ask: Callable[..., dict[str, Any]], tiny_run: Callable[..., Run]
) -> None:
    name = tiny_run("bert", "lora").name
    for change, words in (({"calibrated": True}, "make it with: tunebench calibrate"), ({"backend": "onnx"}, "--format onnx")):
        (found,) = ask("predict", names=[name], texts=TEXTS, **change)["runs"]
        assert words in found["error"]
    (found,) = ask("predict", names=[name], texts=TEXTS, backend="torch-int8")["runs"]
    assert (found["backend"], found["device"]) == ("torch-int8", "cpu")
    assert found["answers"] == jobs.predict_texts(name, tiny_run("bert", "lora").path.parent, TEXTS, "torch-int8")


def test_a_recipe_is_counted_and_planned_as_the_commands_do(
    ask: Callable[..., dict[str, Any]], world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / ".studio" / "recipes"
    recipe = write_recipe(folder / "x.yaml", data=Path("up.csv"), base=world.bases["bert"])
    write_csv(folder / "up.csv")
    found = ask("plan", runs=tmp_path / "runs", recipe=recipe.read_text("utf-8"))
    known = jobs.plan(str(recipe), [], tmp_path / "runs", {}, print, timed=False).as_dict()
    for one in (found, known):
        for verdict in one["verdicts"]:
            del verdict["limit"]  # the disk's free bytes are others by now
    assert found == json.loads(json.dumps(known))
    assert found["stages"][0]["steps"] == 6
    large = recipe.read_text("utf-8").replace(str(world.bases["bert"]), "bert-base-uncased")
    found = ask("params", recipe=large)
    assert found == json.loads(json.dumps(jobs.params("bert-base-uncased", "lora", ["r=4", "lora_alpha=8"], "cls", 2).as_dict()))
    assert found["total_parameters"] > 10**8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "line 1"),
        ("- a list", "expected settings"),
        ("", "expected settings"),
        ("name: x\nmethod: {kind: lorra}", "lora"),
        ("name: x\ndata: {train: t.csv, validation: v.csv}\nmethod: {kind: majority}", "baseline"),
    ],
)
@pytest.mark.parametrize("verb", ["params", "plan"])
def test_a_recipe_that_is_none_is_explained(ask: Callable[..., dict[str, Any]], verb: str, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ask(verb, recipe=text)


def test_a_process_that_is_killed_loses_one_question_only(parroting: Asking, tmp_path: Path) -> None:
    first = parroting.why("x", "hello")
    assert (first["text"], first["spins"]) == ("hello", "PASSIVE")
    with pytest.raises(TunebenchError, match="killed"):
        parroting.why("x", "die")
    second = parroting.why("x", "again")
    assert second["text"] == "again"
    os.kill(second["process"], signal.SIGKILL)
    time.sleep(0.05)
    assert parroting.why("x", "and again")["text"] == "and again"


def test_a_refusal_keeps_the_process(parroting: Asking) -> None:
    before = parroting.why("x", "hello")["process"]
    with pytest.raises(TunebenchError, match="text: refused"):
        parroting.why("x", "refuse")
    assert parroting.why("x", "hello")["process"] == before


def test_many_threads_get_each_their_own_answer(parroting: Asking) -> None:
    found: dict[str, Any] = {}
    threads = [threading.Thread(target=lambda text=str(i): found.update({text: parroting.why("x", text)})) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer["text"] == text for text, answer in found.items())
    assert len(found) == 20
    assert len({answer["process"] for answer in found.values()}) == 1


def test_an_interrupted_question_leaves_its_answer_to_nobody(parroting: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    parroting.start()
    ask = Answering.ask

    def interrupted(self: Answering, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        raise KeyboardInterrupt  # while it waits for the answer

    monkeypatch.setattr(Answering, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parroting.why("x", "one")
    monkeypatch.setattr(Answering, "ask", ask)
    assert parroting.why("x", "two")["text"] == "two"


def test_closing_ends_a_question_that_is_being_answered(parroting: Asking, tmp_path: Path) -> None:
    flag, told = tmp_path / "flag", list[BaseException]()

    def asked() -> None:
        try:
            parroting.why("x", f"wait {flag}")
        except TunebenchError as error:
            told.append(error)

    thread = threading.Thread(target=asked)
    thread.start()
    while not flag.exists():
        time.sleep(0.01)
    parroting.close()
    thread.join(5)
    assert len(told) == 1
    assert parroting.why("x", "hello")["text"] == "hello"


def test_who_asks_loads_no_torch() -> None:
    script = (
        "import sys, tunebench.asking.client; print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
