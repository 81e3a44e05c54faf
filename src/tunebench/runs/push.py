"""A finished run's model on the model hub, with its card: only what was proved, byte for byte."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tunebench.errors import InputError, MissingExtra, TunebenchError
from tunebench.recipe.methods import ADAPTERS, BASELINES
from tunebench.runs.bases import is_public
from tunebench.runs.cache import MODEL_FILES, folder_digest
from tunebench.runs.card import model_card
from tunebench.runs.hub import first_line
from tunebench.runs.run import Run

_PUSHED = (*MODEL_FILES, "adapter_config.json", "generation_config.json")
"""What of a run's folder is uploaded; whatever else lies there is the user's own."""


def push_run(run: Run, repository: str, *, merged: bool, private: bool, revision: str | None) -> dict[str, Any]:
    """Upload ``adapter/`` or ``model/``, or ``merged/``, as one commit; the repository and the branch are made where needed.

    The card's lines name the repository; every other file is the run's own. Raises InputError for a run that is not
    finished, was altered, or has nothing to push; TunebenchError where the hub cannot be reached or refuses.
    """
    folder = _folder(run, merged=merged)
    card = model_card(run, run.metrics, merged=merged, repository=repository)
    with _explained(repository):
        from huggingface_hub import CommitOperationAdd, HfApi  # noqa: PLC0415 - only where a hub is asked

        hub = HfApi()
        hub.create_repo(repository, private=private or None, exist_ok=True)
        if revision is not None:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        paths = sorted(path for path in folder.iterdir() if any(fnmatchcase(path.name, pattern) for pattern in _PUSHED))
        files = [CommitOperationAdd(path.name, path) for path in paths] + [CommitOperationAdd("README.md", card.encode())]
        done = hub.create_commit(repository, files, commit_message=f"Push {run.name} with tunebench", revision=revision)
    return {
        "run": run.name,
        "repository": repository,
        "url": f"{hub.endpoint}/{repository}" + (f"/tree/{revision}" if revision else ""),
        "commit": done.oid,
        "files": sorted(file.path_in_repo for file in files),
        "warnings": _warnings(run, merged=merged),
    }


def _folder(run: Run, *, merged: bool) -> Path:
    kind = run.recipe.method.kind
    if kind in BASELINES:
        raise InputError(run.name, f"is the baseline {kind!r}, which nothing but tunebench can open; there is no model to push")
    run.check_weights()
    if not run.is_finished():
        raise InputError(run.name, f"is not finished (status: {run.status()}); finish it with `tunebench train`")
    if not merged:
        return run.weights
    if kind not in ADAPTERS:
        raise InputError(run.name, f"its method is {kind!r}, which has nothing to merge; push it without --merged")
    if not (run.path / "merged").is_dir():
        raise InputError(run.name, f"has no merged/ yet; run `tunebench merge {run.name}` first")
    if run.manifest.get("merged_weights") != folder_digest(run.path / "merged"):
        raise InputError(
            str(run.path / "merged"), f"holds other files than the ones that were proved; run `tunebench merge {run.name}`"
        )
    return run.path / "merged"


def _warnings(run: Run, *, merged: bool) -> list[str]:
    base = run.recipe.base
    assert base is not None
    if merged or run.recipe.method.kind not in ADAPTERS or is_public(base.model):
        return []
    return [
        f"the adapter's base is {base.model}, which others cannot get from the hub: nobody can use the adapter without it; "
        "push the whole model with --merged"
    ]


@contextlib.contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into words; its network library has changed its name, so those errors are the rest."""
    try:
        from huggingface_hub import errors  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("huggingface_hub", "train", "pushing to the hub") from None
    try:
        yield
    except errors.HFValidationError:
        raise InputError(repository, "is no repository of a hub; expected an id such as `my-name/my-model`") from None
    except errors.OfflineModeIsEnabled:
        raise InputError(repository, "HF_HUB_OFFLINE forbids to push; set HF_HUB_OFFLINE=0") from None
    except (errors.HfHubHTTPError, errors.LocalTokenNotFoundError) as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, errors.LocalTokenNotFoundError | errors.RepositoryNotFoundError) or code in (401, 403):
            raise TunebenchError(
                f"{repository}: the hub lets nobody write there with this token ({first_line(error)}); check the id, and set "
                "HF_TOKEN to a token that may write (`hf auth login` keeps one)"
            ) from None
        raise TunebenchError(f"{repository}: the hub answered {first_line(error)}; try again later") from None
    except Exception as error:  # noqa: BLE001
        raise TunebenchError(
            f"{repository}: the connection to the hub failed ({first_line(error)}); check the network, HF_ENDPOINT and proxies, "
            "and push again"
        ) from None
