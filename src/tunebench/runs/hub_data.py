"""Data sets of the model hub: fetched once per commit, kept in the cache as Parquet files with the labels as names.

The library `datasets` (extra `hub`) knows which files of a repository are which split. Only tables are read with it, at
a commit that is written into the run; nothing in a repository is run.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tunebench.errors import InputError, MissingExtra, TunebenchError, listing, nearest
from tunebench.recipe.resolve import digest_of
from tunebench.recipe.sources import Data
from tunebench.runs import bases, hub
from tunebench.runs.cache import cache_root, cached, write_atomic

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

FORMAT = 1
"""Of what is cached; raised when the files change, so that older ones are not taken for newer."""
TABLES = ("arrow", "csv", "json", "parquet", "text")
"""Kinds of files that hold tables. Others are archives, media, or pickles."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SPLIT = re.compile(r"\w[\w.-]*")
_ROWS = 1024


def pinned(data: Data) -> Data:
    """The data with the commit that the revision of its hub data set stands for, so that a moving branch changes nothing later.

    Hubs being off, it is the commit that the revision stood for when it was last asked for.
    """
    if data.dataset is None or _COMMIT.fullmatch(data.dataset_revision or ""):
        return data
    asked = {"dataset": data.dataset, "revision": data.dataset_revision}
    known = cache_root() / "dataset-revisions" / f"{digest_of(asked)}.json"
    with _explained(data):
        from huggingface_hub import HfApi, constants  # noqa: PLC0415 - only where a hub is asked

        if not constants.HF_HUB_OFFLINE:
            commit = HfApi().dataset_info(data.dataset, revision=data.dataset_revision).sha
            write_atomic(known, json.dumps(asked | {"commit": commit}))
        elif known.is_file():
            commit = json.loads(known.read_text("utf-8"))["commit"]
        else:
            raise _offline(data)
    return data.model_copy(update={"dataset_revision": commit})


def locator(data: Data) -> Callable[[str], Path]:
    """What finds the file behind a split of a recipe: in the hub data set that it names, else where the recipe says."""
    fixed = pinned(data)
    return (lambda split: _split_file(fixed, split)) if data.dataset else bases.locate


def _split_file(data: Data, split: str) -> Path:
    settings = {"format": FORMAT, "dataset": data.dataset, "config": data.dataset_config, "commit": data.dataset_revision}
    folder = cached("datasets", digest_of(settings), lambda made: _convert(data, made))
    files = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    if split not in files:
        raise InputError(_subject(data), f"{split!r} is no split of it{nearest(split, files)}; splits are {listing(files)}")
    return files[split]


def _convert(data: Data, folder: Path) -> None:
    """Fill ``folder`` with a Parquet file for every split of the data set."""
    build = folder / ".build"
    for split, rows in _built(data, build).items():
        if not _SPLIT.fullmatch(split):
            raise InputError(_subject(data), f"{split!r} is no name for a split")
        _write(rows, folder / f"{split}.parquet")
    shutil.rmtree(build)


def _built(data: Data, build: Path) -> Mapping[str, Dataset]:
    """The splits as the library reads them; what it makes on the way lies in ``build``."""
    try:
        import datasets  # noqa: PLC0415 - costs seconds, and only a hub data set needs it
    except ImportError:
        raise MissingExtra("datasets", "hub", "a data set of the hub") from None
    if datasets.config.HF_HUB_OFFLINE:
        raise _offline(data)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # it would tell a third server what is loaded
    with _explained(data):
        builder = _builder(data, build)
        try:
            builder.download_and_prepare()
            return dict(builder.as_dataset())
        except (datasets.exceptions.DatasetBuildError, pa.ArrowException, OSError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError) and (cause.errno is not None or type(cause) is not OSError):
                raise cause from None  # of the disk or the network; Arrow says that bytes are broken by a plain OSError
            raise InputError(_subject(data), f"its files do not make one table ({_in_a_line(cause)})") from None


def _builder(data: Data, build: Path) -> DatasetBuilder:
    """What will read the files of the repository; InputError where they are no tables, or are several."""
    from datasets import load_dataset_builder  # noqa: PLC0415
    from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415

    try:
        builder = load_dataset_builder(
            f"hf://datasets/{data.dataset}", data.dataset_config, revision=data.dataset_revision, cache_dir=str(build)
        )
    except ValueError as error:
        raise InputError("data.dataset_config", f"{data.dataset!r}: {_in_a_line(error)}") from None
    except (FileNotFoundError, RuntimeError) as error:
        if isinstance(error, EntryNotFoundError):
            raise  # of the network, not about what the repository holds
        raise InputError(_subject(data), f"holds no tables that can be read ({_in_a_line(error)})") from None
    kind = type(builder).__module__.rsplit(".", 1)[-1]
    if kind not in TABLES:
        raise InputError(_subject(data), f"holds files of the kind {kind!r}; tables are read: {listing(TABLES)}")
    return builder


def _write(rows: Dataset, path: Path) -> None:
    """The rows as Parquet, with the names of labels in place of their numbers; -1 is a row without a label."""
    names = {column: feature.names for column, feature in rows.features.items() if type(feature).__name__ == "ClassLabel"}
    fields = [(field.name, pa.string() if field.name in names else field.type) for field in rows.features.arrow_schema]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema) as out:
        for table in rows.with_format("arrow").iter(_ROWS):
            columns = {name: table.column(name) for name, _ in fields}
            for name, labels in names.items():
                numbers = columns[name].to_pylist()
                columns[name] = pa.array([None if i is None or i < 0 else labels[i] for i in numbers], pa.string())
            out.write_table(pa.table(columns, schema=schema))


def _subject(data: Data) -> str:
    return f"data.dataset {data.dataset!r}"


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _offline(data: Data) -> InputError:
    return InputError(_subject(data), "is not in the cache, and HF_HUB_OFFLINE forbids to fetch it; fetch it once without that")


@contextlib.contextmanager
def _explained(data: Data) -> Iterator[None]:
    """Turn what a hub refuses into words; its network library has changed its name, so those errors are the rest."""
    try:
        from huggingface_hub import errors  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("huggingface_hub", "hub", "a data set of the hub") from None
    try:
        yield
    except TunebenchError:
        raise
    except errors.HFValidationError:
        raise InputError(_subject(data), "is no id of a data set such as `stanfordnlp/imdb`") from None
    except errors.RevisionNotFoundError:
        raise InputError("data.dataset_revision", f"{data.dataset!r} on the hub has no {data.dataset_revision!r}") from None
    except errors.GatedRepoError as error:
        raise hub.refusal(error, _subject(data)) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            _subject(data), "no such data set on the hub; check the id, and set HF_TOKEN where it is a private one"
        ) from None
    except errors.HfHubHTTPError as error:
        raise hub.refusal(error, _subject(data)) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise  # of a file here
        raise TunebenchError(
            f"{_subject(data)}: the connection to the hub failed ({hub.first_line(error)}); check the network, HF_ENDPOINT and "
            "proxies, and run the same command again, or set HF_HUB_OFFLINE=1 to use what was fetched before"
        ) from None
