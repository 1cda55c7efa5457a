"""Attributes of the user table, and how they match the item's labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.catalogue import NO_TIME, Column, NumberColumn, TagsColumn
from tastemaker.data.profiles import ProfileSchema
from tastemaker.data.times import MICROSECONDS
from tastemaker.features.pairs import Pairs, distinct

_HOUR = MICROSECONDS["h"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Numbers, ages, one column per frequent label, and labels that user and item share.

    The most frequent labels of users and of items have a column each, 1 or 0. A ranker learns from
    them which users like which items, without any events of the user. Missing values are NaN: an
    unknown user, a missing column, a user without a row in the table.

    Attributes:
        schema: the user columns and their labels at the time of training.
    """

    schema: ProfileSchema

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        named: list[tuple[str, str]] = []
        for name, role in self.schema.roles.items():
            if role == "number":
                named.append((f"profile_{name}", f"the user's {name}"))
            elif role == "time":
                named.append((f"profile_{name}_age", f"hours since the user's {name}, log"))
        for name, labels in self.schema.labels.items():
            named += [(f"profile_{name}_is_{v}", f"the user's {name} is {v}") for v in labels]
        for name, labels in self.schema.item_labels.items():
            named += [(f"catalogue_{name}_is_{v}", f"the item's {name} is {v}") for v in labels]
        for user, item in self.schema.matched:
            meaning = f"share of the item's {item} that are among the user's {user}"
            named.append((f"profile_{user}_in_{item}", meaning))
        return distinct(named)

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        out[:] = np.nan
        profile, catalogue = pairs.requests.profile, pairs.inventory.catalogue.columns
        place = 0
        for name, role in self.schema.roles.items():
            if role in ("number", "time"):
                column = profile.get(name)
                if isinstance(column, NumberColumn):
                    _write_number(column, role, pairs, out[:, place])
                place += 1
        user_row, item_row = pairs.row.astype(np.int64), pairs.item.astype(np.int64)
        place = _write_all(self.schema.labels, profile, user_row, out, place)
        place = _write_all(self.schema.item_labels, catalogue, item_row, out, place)
        for user, item in self.schema.matched:
            mine, theirs = profile.get(user), catalogue.get(item)
            if isinstance(mine, TagsColumn) and isinstance(theirs, TagsColumn):
                codes = _translate(mine, theirs)
                _share(
                    *(pairs.row, pairs.item, mine.codes.offsets, codes),
                    *(theirs.codes.offsets, theirs.codes.values, out[:, place]),
                )
            place += 1


def _write_number(column: NumberColumn, role: str, pairs: Pairs, out: NDArray[np.float32]) -> None:
    """Writes a number unchanged, or a time as hours before the request (NaN if it is later)."""
    if role == "time":
        _ages(column.values, pairs.requests.time, pairs.row, out)
    else:
        out[:] = column.values[pairs.row]


def _write_all(
    labels_of: Mapping[str, tuple[str, ...]],
    columns: Mapping[str, Column],
    row: NDArray[np.int64],
    out: NDArray[np.float32],
    place: int,
) -> int:
    """Writes the labels of several columns from `place` on; returns where the next ones begin."""
    for name, labels in labels_of.items():
        column = columns.get(name)
        if isinstance(column, TagsColumn):
            _write_labels(column, labels, row, out[:, place : place + len(labels)])
        place += len(labels)
    return place


def _write_labels(
    column: TagsColumn, labels: Sequence[str], row: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Writes 1 if a row has the label, 0 if it has only other labels, NaN if it has none."""
    place_of = np.full(len(column.labels) + 1, -1, np.int64)
    known = column.labels.indices(labels)
    place_of[known[known >= 0]] = np.flatnonzero(known >= 0)
    _mark(row, column.codes.offsets, column.codes.values, place_of, out)


def _translate(mine: TagsColumn, theirs: TagsColumn) -> NDArray[np.int64]:
    """The user column's codes as codes of the item column; −1 for labels that it does not have."""
    used, place = np.unique(mine.codes.values, return_inverse=True)
    return theirs.labels.indices(mine.labels.ids(used)).astype(np.int64)[place]


@kernel
def _ages(moments, now, row, out):  # type: ignore[no-untyped-def]
    """Hours since each user's time, log; NaN if it is missing or in the future."""
    for i in range(len(row)):
        moment = moments[row[i]]
        out[i] = np.nan
        if moment != NO_TIME and moment <= now[row[i]]:
            out[i] = np.log1p((now[row[i]] - moment) / _HOUR)


@kernel
def _mark(row, offsets, codes, place_of, out):  # type: ignore[no-untyped-def]
    """Marks the labels that have a column."""
    for i in range(len(row)):
        if not 0 <= row[i] < len(offsets) - 1 or offsets[row[i]] == offsets[row[i] + 1]:
            continue
        out[i, :] = 0
        for entry in range(offsets[row[i]], offsets[row[i] + 1]):
            place = place_of[codes[entry]]
            if place >= 0:
                out[i, place] = 1


@kernel
def _share(row, item, offsets, codes, starts, labels, out):  # type: ignore[no-untyped-def]
    """The share of each item's labels that the user has too; NaN if either has no labels."""
    for i in range(len(row)):
        first, last = offsets[row[i]], offsets[row[i] + 1]
        start, stop = starts[item[i]], starts[item[i] + 1]
        if first == last or start == stop:
            continue
        shared = 0
        for label in range(start, stop):
            for code in range(first, last):
                shared += codes[code] == labels[label]
        out[i] = shared / (stop - start)
