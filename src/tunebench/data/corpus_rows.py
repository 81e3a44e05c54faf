"""The rows of a corpus as they stand in its files: texts with the columns that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tunebench.data.corpus_files import files_of, is_text, open_texts
from tunebench.data.labels import label_name
from tunebench.data.readers import Chunk, TableReader, cell_fault, open_table, require_columns
from tunebench.errors import InputError
from tunebench.recipe.sources import Clean, Data, SplitFile


class Document(NamedTuple):
    """A text of a corpus: its id, its place in words, the text, and its cells in the columns that are kept."""

    id: str
    place: str
    text: str
    cells: dict[str, Any]


@dataclass
class Corpus:
    """The rows of all files in order, the Arrow types of the columns that are kept, and what is said of the files."""

    rows: list[Document] = field(default_factory=list)
    types: dict[str, pa.DataType] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


class _Columns(NamedTuple):
    text: str
    key: str | None
    clean: Clean

    def wanted(self) -> dict[str, str]:
        """Columns that a file must have, by their setting."""
        found = {"data.text": self.text} | {f"data.clean.merge_by, {name}": name for name in self.clean.merge_by or ()}
        found |= {"data.clean.order_by": self.clean.order_by} if self.clean.order_by else {}
        return found | ({"data.id": self.key} if self.key else {})

    def kept(self, names: list[str]) -> list[str]:
        """Of a file's columns those that documents keep: of paragraphs what makes documents of them, else all but the text."""
        paragraph = [*(self.clean.merge_by or ()), *([self.clean.order_by] if self.clean.order_by else [])]
        return [name for name in names if (name in paragraph if paragraph else name != self.text)]


def read_documents(place: Path, data: Data, source: SplitFile) -> Corpus:
    """The rows of all files behind ``place``, texts as they stand there; a row without a text has an empty one.

    Raises InputError with the faults of all files.
    """
    root, files, left_out = files_of(place)
    columns = _Columns(source.text or data.text, source.id or data.id, data.clean)
    encoding, delimiter = source.encoding or data.encoding, source.delimiter or data.delimiter
    texts = [file for file in files if is_text(file)]
    named = {file: file.relative_to(root).as_posix() if len(files) > 1 else "" for file in files}
    openers: list[tuple[str, _Columns, Callable[[], TableReader]]] = [
        (named[file], columns, partial(open_table, file, encoding, delimiter)) for file in files if file not in set(texts)
    ]
    if texts:
        of_texts = columns._replace(key=columns.key or "id")
        openers.append(("", of_texts, partial(open_texts, root, texts, str(of_texts.key), columns.text, encoding)))
    corpus, errors = Corpus(remarks=[left_out] if left_out else []), list[InputError]()
    for name, wanted, opener in openers:
        try:
            _read(opener(), name, wanted, corpus)
        except InputError as error:
            errors.append(error)
    if len(errors) > 1:
        raise InputError(str(place), [f"{error.subject}: {fault}" for error in errors for fault in error.faults])
    if errors:
        raise errors[0]
    return corpus


def _read(reader: TableReader, name: str, columns: _Columns, corpus: Corpus) -> None:
    """Append the rows of a file, whose ``name`` goes before the numbers of its rows where there are several files."""
    require_columns(reader, columns.wanted())
    kept, faults = columns.kept(list(reader.types)), list[str]()
    for column in kept:
        kind = corpus.types.setdefault(column, reader.types[column])
        corpus.types[column] = kind if kind == reader.types[column] else pa.string()
    corpus.remarks += [reader.remark] if reader.remark else []
    for chunk in reader.chunks():
        for i, number in enumerate(range(chunk.first_row, chunk.first_row + len(chunk))):
            found = list(_faults(chunk, i, columns))
            faults += [f"row {number}: {fault}; correct or remove the row" for fault in found]
            if found:
                continue
            cell = chunk.columns[columns.text][i]
            key = label_name(chunk.columns[columns.key][i]) if columns.key else f"{name}:{number}" if name else str(number)
            corpus.rows.append(
                Document(
                    key or "",
                    f"{name}, row {number}" if name else f"row {number}",
                    "" if cell_fault(cell) else str(cell),
                    {column: chunk.columns[column][i] for column in kept},
                )
            )
    if faults:
        raise InputError(str(reader.path), faults)


def _faults(chunk: Chunk, place: int, columns: _Columns) -> Iterator[str]:
    """What is wrong with a row; an empty text is not, it is cleaned away."""
    if error := chunk.errors[place]:
        yield error
        return
    merging = columns.clean.merge_by or []
    cells = {name: cell_fault(chunk.columns[name][place]) for name in columns.wanted().values()}
    for name, fault in cells.items():
        if fault and not (fault == "is empty" and (name == columns.text or name in merging)):
            yield f"{name!r} {fault}"
    if merging and all(cells[name] for name in merging):
        yield f"{' and '.join(map(repr, merging))}: empty; which document does it belong to?"
