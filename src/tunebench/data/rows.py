"""The rows of one split as columns: what every reader gives, and everything behind it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tunebench.data.items import Item, flat


@dataclass(frozen=True)
class Rows:
    """Rows of one split, in order. ``ids``, ``texts``, ``labels`` are read out of ``columns``, which keeps every input column.

    ``texts`` are items (``data/items.py``), cleaned as the recipe says; ``columns`` are as they stand in the file. ``labels``
    are empty where the task has none. ``remark`` is that of its reader.
    """

    ids: list[str]
    texts: list[Item]
    labels: list[str]
    columns: dict[str, list[Any]]
    types: dict[str, pa.DataType]
    remark: str | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at these places, in this order."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[i] for i in places]

        columns = {name: pick(values) for name, values in self.columns.items()}
        return Rows(pick(self.ids), pick(self.texts), pick(self.labels), columns, self.types, self.remark)

    def digest(self) -> str:
        """sha256 of ids, items and labels in order; file format and other columns do not matter."""
        state = hashlib.sha256()
        for key, item, label in zip(self.ids, self.texts, self.labels, strict=True):
            for cell in (key, flat(item), label):
                data = cell.encode("utf-8", "surrogatepass")
                state.update(len(data).to_bytes(8, "little") + data)
        return state.hexdigest()
