"""The process that answers: opens models, keeps them open, and counts what recipes would need. Started by ``client.Asking``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from tunebench import jobs
from tunebench.asking.opened import Opened
from tunebench.binding import labels_of
from tunebench.data.cleaning import cleaner, text_fault
from tunebench.data.encoding import writable
from tunebench.errors import InputError, TunebenchError
from tunebench.fitting import need_train_extra
from tunebench.predict.occlusion import occlude
from tunebench.recipe.load import anchored, parse_yaml, validate_any
from tunebench.recipe.spec import Recipe
from tunebench.recipe.stages import StagedRecipe
from tunebench.runs import exports
from tunebench.runs.answering import serve
from tunebench.runs.index import find_run
from tunebench.runs.run import Run
from tunebench.training import open_scorer

Request = dict[str, Any]
Found = TypeVar("Found")
QUESTION = "answers questions with options; ask it with a passage, a question and its options"


class Answers:
    """Answers requests by their ``verb``; what was opened for one is open for the next."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def answer(self, request: Request) -> dict[str, Any]:
        """The answer to one request; raises TunebenchError where there is none."""
        verbs: dict[str, Callable[[Request, Path], dict[str, Any]]] = {
            "predict": self._predict,
            "choose": self._choose,
            "why": self._why,
            "params": _params,
            "plan": _plan,
        }
        return verbs[request["verb"]](_sound(request), Path(request["runs"]))

    def _predict(self, request: Request, runs: Path) -> dict[str, Any]:
        return {"runs": [self._told(name, runs, request) for name in request["names"]]}

    def _told(self, name: str, runs: Path, request: Request) -> dict[str, Any]:
        """What one run says, or why it cannot say anything."""
        backend, calibrated = request["backend"], request["calibrated"]

        def answers(run: Run) -> list[dict[str, Any]]:
            if run.recipe.task == "multiple-choice":
                raise InputError(run.name, QUESTION)
            return jobs.predict_texts(name, runs, request["texts"], backend, calibrated=calibrated, opener=self._opened.scorer)

        try:
            found, about = self._timed(name, runs, answers, backend)
        except TunebenchError as error:
            return {"run": name, "error": str(error)}
        except Exception as error:  # noqa: BLE001 - the other runs still answer
            return {"run": name, "error": f"{name}: cannot be asked ({type(error).__name__}: {error})"}
        return about | {"answers": found}

    def _choose(self, request: Request, runs: Path) -> dict[str, Any]:
        name, asked = request["name"], [request[key] for key in ("passage", "question", "choices")]
        found, about = self._timed(name, runs, lambda _: jobs.choose(name, runs, *asked, opener=self._opened.scorer))
        return about | found

    def _why(self, request: Request, runs: Path) -> dict[str, Any]:
        found, about = self._timed(request["name"], runs, lambda run: self._explained(run, request["text"]))
        return about | found

    def _explained(self, run: Run, text: str) -> dict[str, Any]:
        if run.recipe.task == "multiple-choice":
            raise InputError(run.name, QUESTION)
        labels, clean = labels_of(run), cleaner(run.recipe.data.clean)
        if fault := text_fault(text, clean):
            raise InputError("text", fault)
        base, cleaned = run.recipe.base, clean(text)
        found = occlude(self._opened.scorer(run), cleaned, from_end=base is not None and base.truncation_side == "left")
        return {
            "text": cleaned,
            "words": [asdict(word) for word in found.words],
            "predicted": labels.names[found.label],
            "probability": found.probability,
            "cut": found.cut,
            "truncated": found.truncated,
        }

    def _timed(
        self, name: str, runs: Path, ask: Callable[[Run], Found], backend: str | None = None
    ) -> tuple[Found, dict[str, Any]]:
        run = find_run(name, runs)
        backend = backend or exports.default_backend(run)
        opened, begun = self._opened.load_seconds, time.perf_counter()
        found = ask(run)
        load = self._opened.load_seconds - opened
        seconds = time.perf_counter() - begun - load
        about = {"run": name, "device": _device(run, backend), "backend": backend}
        return found, about | {"load_seconds": load, "seconds": seconds}


def _device(run: Run, backend: str) -> str:
    """Where a backend computes: only torch uses a GPU, and of its forms not the one in 8-bit integers."""
    torch = sys.modules.get("torch") if run.recipe.base is not None else None
    on_gpu = torch is not None and backend in (exports.TORCH, exports.TORCH_MERGED) and torch.cuda.is_available()
    return "cuda" if on_gpu else "cpu"


def _params(request: Request, runs: Path) -> dict[str, Any]:
    need_train_extra()
    from tunebench.model.parameters import parameter_table  # noqa: PLC0415 - baselines are asked without torch

    recipe = _recipe(request["recipe"], runs)
    if isinstance(recipe, StagedRecipe):
        raise InputError("recipe", f"has {len(recipe.stages)} stages, and this counts one; plan counts every stage")
    if recipe.base is None:
        raise InputError("method.kind", f"the baseline {recipe.method.kind!r} has no model; choose another kind")
    number = max(2, len(recipe.data.label_names))
    return parameter_table(recipe.base.model, recipe.method, recipe.base.pooling, number).as_dict()


def _plan(request: Request, runs: Path) -> dict[str, Any]:
    need_train_extra()
    from tunebench.planning.planner import plan  # noqa: PLC0415 - as above

    return plan(_recipe(request["recipe"], runs), {}, runs, timed=False, say=lambda line: None).as_dict()


def _recipe(text: str, runs: Path) -> Recipe | StagedRecipe:
    settings = parse_yaml(text, "recipe")
    if not isinstance(settings, dict):
        raise InputError("recipe", "expected settings such as `name: my-run`")
    return anchored(validate_any(settings, "recipe"), runs / ".studio" / "recipes")


def _sound(value: Any) -> Any:
    """A request with U+FFFD in place of every half of a character, which no tokenizer and no file can take."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, list):
        return [_sound(item) for item in value]
    return {key: _sound(item) for key, item in value.items()} if isinstance(value, dict) else value


def _answers() -> Callable[[Request], dict[str, Any]]:
    bases = None
    if find_spec("torch") and find_spec("peft"):
        from tunebench.model import bundle, sharing  # noqa: F401, PLC0415 - bundle while nobody waits for it

        bases = sharing.SharedBases()
    return Answers(Opened(lambda run, backend: open_scorer(run, backend, bases))).answer


if __name__ == "__main__":
    serve(_answers)
