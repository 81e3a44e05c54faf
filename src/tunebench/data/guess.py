"""Which column of a table holds the texts, which the labels and which the ids: by their names, else by what stands in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.data.labels import label_name
from tunebench.data.readers import TableReader, cell_fault
from tunebench.data.shingles import count_words
from tunebench.errors import InputError, listing, nearest

TEXT_NAMES = (
    "text", "review", "sentence", "content", "contents", "comment", "body", "message", "tweet", "post", "document", "utterance",
    "question", "query", "description", "summary", "headline", "title", "phrase", "reviews", "texts", "texte", "texto",
    "文章", "文本", "內容", "内容", "評論", "评论", "句子", "本文", "テキスト", "문장",
)  # fmt: skip
LABEL_NAMES = (
    "label", "sentiment", "target", "class", "category", "labels", "polarity", "emotion", "intent", "topic", "tag", "type",
    "genre", "language", "spam", "toxic", "rating", "score", "stars", "y", "gold",
    "標籤", "标签", "類別", "类别", "情感", "分類", "ラベル", "라벨",
)  # fmt: skip
ID_NAMES = ("id", "uid", "uuid", "guid", "idx", "index", "key", "編號", "编号", "番号")
SAMPLE_ROWS = 20_000
SAMPLE_CHARACTERS = 50_000_000
MOST_LABELS = 200
_LEAST_CHARACTERS = 15
_CLEARLY = 2.0
_COUNTED = 2000
_HTML = re.compile(r"<br\s*/?>|</?p>|&(?:amp|lt|gt|quot|#\d+);")
_WORDS = re.compile(r"[A-Z]?[^\W_A-Z]+|[A-Z]+|\d+")


@dataclass(frozen=True)
class Column:
    """What stands in a column, in the first rows of its file."""

    name: str
    filled: int
    rows: int
    characters: float
    values: Counter[str]
    is_text: bool

    @classmethod
    def of(cls, name: str, cells: Sequence[Any]) -> Column:
        """Look at some cells."""
        sound = [value for value in cells if cell_fault(value) is None]
        texts = [str(value) for value in sound]
        values = Counter(label for value in sound if (label := label_name(value)))
        mean = sum(map(len, texts)) / max(1, len(texts))
        return cls(name, len(sound), len(cells), mean, values, any(not _is_number(text) for text in texts))

    @property
    def may_be_labels(self) -> bool:
        """Whether a few values stand again and again."""
        return 2 <= len(self.values) <= min(MOST_LABELS, max(2, self.filled / 2))

    @property
    def may_be_ids(self) -> bool:
        """Whether every row has a value of its own."""
        return self.filled == self.rows == len(self.values) and self.characters < 100


@dataclass(frozen=True)
class Guess:
    """The columns that were chosen, and why; and what stands in them.

    ``rows`` can be read, besides them there are ``unreadable`` ones. ``labels`` are counted in all of them if ``is_whole``,
    else in some. ``words`` are the lengths of some texts, ascending.
    """

    text: str
    label: str
    id: str | None
    reasons: dict[str, str]
    rows: int
    unreadable: int
    is_whole: bool
    labels: dict[str, int]
    words: list[int]
    has_html: bool


def guess_columns(reader: TableReader, text: str | None = None, label: str | None = None) -> Guess:
    """Choose the columns; ``text`` and ``label`` were told, or are None.

    Raises InputError where it is not clear: then it names the columns and how to tell.
    """
    cells, rows, unreadable, is_whole = _look(reader)
    columns = {name: Column.of(name, values) for name, values in cells.items()}
    _check_told(columns, {"--text-column": text, "--label-column": label}, str(reader.path))
    labels, why_labels = (label, "as told") if label is not None else _label(columns, text, str(reader.path))
    texts, why_texts = (text, "as told") if text is not None else _text(columns, labels, str(reader.path))
    ids = _id(columns, {labels, texts}, reader)
    sound = [str(value) for value in cells[texts] if cell_fault(value) is None]
    return Guess(
        text=texts,
        label=labels,
        id=ids,
        reasons={"text": why_texts, "label": why_labels, "id": "by its name; every row has its own"},
        rows=rows - unreadable,
        unreadable=unreadable,
        is_whole=is_whole,
        labels=dict(columns[labels].values.most_common()),
        words=sorted(count_words(sound[:: 1 + len(sound) // _COUNTED])),
        has_html=sum(_HTML.search(found) is not None for found in sound) > 0.01 * len(sound),
    )


def _look(reader: TableReader) -> tuple[dict[str, list[Any]], int, int, bool]:
    """Cells of the rows that can be read, how many rows were read and how many could not be, and whether all cells are kept.

    Of a long file fewer and fewer: its rows may be sorted by label, so its end is looked at too.
    """
    cells: dict[str, list[Any]] = {name: [] for name in reader.types}
    rows = broken = characters = 0
    for chunk in reader.chunks():
        step = 1 + rows // SAMPLE_ROWS
        sound = [i for i, error in enumerate(chunk.errors) if not error]
        for name, values in chunk.columns.items():
            kept = [values[i] for i in sound[::step]]
            cells[name] += kept
            characters += sum(len(value) for value in kept if isinstance(value, str))
        rows, broken = rows + len(chunk), broken + len(chunk) - len(sound)
        if characters > SAMPLE_CHARACTERS:
            break
    if not rows:
        raise InputError(str(reader.path), "has a header but no rows")
    if broken == rows:
        raise InputError(str(reader.path), f"none of its {rows:,} rows can be read; is it a whole {reader.path.suffix} file?")
    return cells, rows, broken, len(next(iter(cells.values()))) == rows - broken


def _check_told(columns: Mapping[str, Column], told: Mapping[str, str | None], path: str) -> None:
    faults = [
        f"no column {name!r} ({option}){nearest(name, columns)}; columns are {listing(map(repr, columns))}"
        for option, name in told.items()
        if name is not None and name not in columns
    ]
    if None not in told.values() and len(set(told.values())) == 1:
        faults.append(f"{' and '.join(told)} name one column; the texts and the labels stand in two")
    if len(columns) == 1:
        faults.append(f"has one column only, {next(iter(columns))!r}; expected one with the texts and one with the labels")
    if faults:
        raise InputError(path, faults)


def _label(columns: Mapping[str, Column], text: str | None, path: str) -> tuple[str, str]:
    fitting = {name: column for name, column in columns.items() if column.may_be_labels and name != text}
    if named := _named(fitting, LABEL_NAMES):
        return named, "by its name"
    # Long texts that stand twice are no labels.
    short = [name for name, column in fitting.items() if column.characters < 50 and not _is_named(name, (*TEXT_NAMES, *ID_NAMES))]
    if len(short) == 1:
        return short[0], f"the only column with few values ({len(columns[short[0]].values)})"
    if short:
        what = f"several columns may hold the labels: {_told(short, columns)}"
    else:
        what = f"no column looks like labels (few values that stand again and again); columns are {_told(columns, columns)}"
    raise InputError(path, f"{what}; choose with --label-column")


def _text(columns: Mapping[str, Column], label: str, path: str) -> tuple[str, str]:
    fitting = {name: column for name, column in columns.items() if name != label and column.filled and column.is_text}
    if named := _named(fitting, TEXT_NAMES):
        return named, "by its name"
    ordered = sorted(fitting, key=lambda name: -fitting[name].characters)
    long = [name for name in ordered if fitting[name].characters >= _LEAST_CHARACTERS and not _is_named(name, ID_NAMES)]
    if long and all(fitting[long[0]].characters >= _CLEARLY * fitting[other].characters for other in long[1:]):
        return long[0], f"the longest texts ({fitting[long[0]].characters:.0f} characters on average)"
    if long:
        what = f"several columns may hold the texts: {listing(map(repr, long))}"
    else:
        what = f"no column besides {label!r} looks like texts; columns are {listing(map(repr, columns))}"
    raise InputError(path, f"{what}; choose with --text-column")


def _id(columns: Mapping[str, Column], taken: set[str], reader: TableReader) -> str | None:
    """A column with the name of an id, of which every row of the whole file has its own."""
    fitting = {name: column for name, column in columns.items() if name not in taken and column.may_be_ids}
    named = _named(fitting, ID_NAMES)
    if named is None:
        return None
    seen, rows = set[int](), 0
    for chunk in reader.chunks():
        names = [label_name(value) for value in chunk.columns[named]]
        seen.update(hash(name) for name in names if name)
        rows += len(names)
        if len(seen) < rows:
            return None
    return named


def _named(columns: Mapping[str, Column], names: Sequence[str]) -> str | None:
    """The column with the first of these names, whatever its case, else the first with one of them as a word."""
    for name in names:
        for column in columns:
            if column.strip().casefold() == name:
                return column
    return next((column for name in names for column in columns if name in _split(column)), None)


def _is_named(column: str, names: Sequence[str]) -> bool:
    return any(name in _split(column) for name in names)


def _split(column: str) -> list[str]:
    """``ReviewText`` and ``review_text`` as their words."""
    return [word.casefold() for word in _WORDS.findall(column)]


def _told(names: Sequence[str] | Mapping[str, Column], columns: Mapping[str, Column]) -> str:
    return listing(f"{name!r} ({len(columns[name].values):,} values)" for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
