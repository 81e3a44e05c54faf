"""The model hub: fetching a base, and what its refusals mean. Only huggingface_hub is needed, and only here."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tunebench.errors import InputError, MissingExtra, TunebenchError, listing
from tunebench.runs.cache import BASE_FILES
from tunebench.runs.disk import FULL_DISK

_NEEDED = {
    "config.json": "",
    "tokenizer.json": "; save it with a fast tokenizer (AutoTokenizer.from_pretrained(...).save_pretrained(folder)) and give "
    "the folder",
}
_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch(model: str, revision: str | None) -> Path:
    """The folder in the hub's own cache with a base's weights, config and tokenizer; what lies there already is not fetched.

    Raises InputError where the hub has no such base or not one of safetensors with a tokenizer, or where hubs are off
    and it is not in the cache; TunebenchError where the hub cannot be reached or lets nobody in with this token.
    """
    with _explained(model, revision):
        from huggingface_hub import HfApi, constants, snapshot_download  # noqa: PLC0415 - only where a hub is asked

        if constants.HF_HUB_OFFLINE:
            return Path(snapshot_download(model, revision=revision, allow_patterns=list(BASE_FILES), local_files_only=True))
        if revision is not None and _COMMIT.fullmatch(revision) and (found := _in_cache(model, revision)):
            return found  # a commit never changes
        if faults := _lacking([item.rfilename for item in HfApi().model_info(model, revision=revision).siblings or []]):
            raise InputError("base.model", [f"{model!r} on the hub {fault}" for fault in faults])
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(BASE_FILES)))


def at_hand(model: str, revision: str | None) -> Path | None:
    """The folder of a base that the hub's cache holds whole; None where it would have to be fetched."""
    with _explained(model, revision):
        return _in_cache(model, revision)


def _in_cache(model: str, commit: str | None) -> Path | None:
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        found = Path(snapshot_download(model, revision=commit, allow_patterns=list(BASE_FILES), local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return found if _is_whole(found) else None


def _is_whole(folder: Path) -> bool:
    """A download may have been cut off between two files."""
    names = {path.name for path in folder.iterdir()}
    if _lacking(sorted(names)):
        return False
    index = folder / "model.safetensors.index.json"
    parts = json.loads(index.read_text("utf-8"))["weight_map"].values() if "model.safetensors" not in names else ()
    return set(parts) <= names


def _lacking(names: list[str]) -> list[str]:
    faults = [f"has no {name}{hint}" for name, hint in _NEEDED.items() if name not in names]
    if "model.safetensors" not in names and "model.safetensors.index.json" not in names:
        other = [name for name in names if name.endswith((".bin", ".h5", ".msgpack", ".pt", ".gguf"))]
        faults.append(
            f"has no model.safetensors (found {listing(other, most=3) or 'no weights'}); pickled weights are never loaded: look "
            "for a revision or another repository with safetensors, or convert it with save_pretrained of transformers"
        )
    return faults


@contextlib.contextmanager
def _explained(model: str, revision: str | None) -> Iterator[None]:
    """Turn what huggingface_hub raises into words; its network library has changed its name, so those errors are the rest."""
    try:
        from huggingface_hub import constants, errors  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("huggingface_hub", "train", "loading a base from the hub") from None
    try:
        yield
    except TunebenchError:
        raise
    except errors.HFValidationError:
        raise InputError("base.model", f"{model!r}: no such folder, and no hub id such as `bert-base-uncased`") from None
    except errors.RevisionNotFoundError:
        raise InputError("base.revision", f"{model!r} has no revision {revision!r} on the hub; check its branches") from None
    except errors.LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise InputError(
                "base.model",
                f"{model!r}: no such folder, and not (whole) in the hub's cache, while HF_HUB_OFFLINE forbids to fetch it; give "
                "a local folder or `starter:minilm`, or fetch it once with HF_HUB_OFFLINE=0",
            ) from None
        raise TunebenchError(_unreachable(model, error)) from None
    except errors.HfHubHTTPError as error:
        raise refusal(error, f"base.model {model!r}") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise  # about this machine's disk, not about the hub
        raise TunebenchError(_unreachable(model, error)) from None


def refusal(error: Exception, subject: str) -> TunebenchError:
    """A hub's answer that is no success, in words: an unknown name is the user's (exit 2), anything else is not."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError  # noqa: PLC0415

    code = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError) or (code in (401, 403) and not isinstance(error, RepositoryNotFoundError)):
        return TunebenchError(
            f"{subject}: the hub refuses access ({first_line(error)}); accept the terms on its page, and set HF_TOKEN to a token "
            "that may do this (`hf auth login` keeps one)"
        )
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            subject, "no such folder, and no such repository on the hub; check the id, and set HF_TOKEN if it is a private one"
        )
    return TunebenchError(f"{subject}: the hub answered {first_line(error)}; try again later, or check HF_ENDPOINT")


def _unreachable(model: str, error: Exception) -> str:
    return (
        f"base.model {model!r}: no such folder, and the connection to the hub failed ({first_line(error)}); check the network, "
        "HF_ENDPOINT and proxies, and run the same command again: what has been fetched is kept. HF_HUB_OFFLINE=1 makes do "
        "with what was fetched earlier"
    )


def first_line(error: Exception) -> str:
    """What an error says, without the pages that follow."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .")
