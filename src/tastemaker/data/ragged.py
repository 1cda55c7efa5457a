"""Ragged arrays: rows of different lengths in two flat arrays, as in histories and candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Value = TypeVar("Value", bound=np.generic)


def offsets_of(counts: ArrayLike) -> NDArray[np.int64]:
    """Row lengths [n] → offsets int64[n + 1]; row i is `values[offsets[i]:offsets[i + 1]]`."""
    counts = np.asarray(counts)
    offsets = np.zeros(len(counts) + 1, np.int64)
    counts.cumsum(out=offsets[1:])
    return offsets


def counts_of(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offsets int64[n + 1] → row lengths int64[n]; faster than `np.diff` for few rows."""
    return offsets[1:] - offsets[:-1]


def rows_of(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row number of every entry, int64[total]."""
    return np.arange(len(offsets) - 1).repeat(counts_of(offsets))


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenates `starts[i], starts[i] + 1, …` (`counts[i]` of them), int64[sum of counts].

    >>> ranges(np.array([7, 3]), np.array([2, 3])).tolist()
    [7, 8, 3, 4, 5]
    """
    offsets = offsets_of(counts)
    return (starts - offsets[:-1]).repeat(counts) + np.arange(offsets[-1])


def sorted_distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct values, sorted; uses a sort, since `np.unique` is slow for composite keys.

    >>> sorted_distinct(np.array([7, 3, 7])).tolist()
    [3, 7]
    """
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def with_rows(
    offsets: NDArray[np.int64],
    values: NDArray[Value],
    rows: NDArray[np.int64],
    new_offsets: NDArray[np.int64],
    new: NDArray[Value],
) -> NDArray[Value]:
    """Values with some rows, ascending and distinct, replaced.

    Cost: one copy of the values.

    >>> with_rows(np.array([0, 1, 3]), np.array([7, 8, 9]), [1], [0, 1], np.array([5])).tolist()
    [7, 5]
    """
    parts, last = list[NDArray[Value]](), 0
    for place, row in enumerate(rows):
        parts += [values[last : offsets[row]], new[new_offsets[place] : new_offsets[place + 1]]]
        last = offsets[row + 1]
    return np.concatenate([*parts, values[last:]])


def offsets_with_rows(
    offsets: NDArray[np.int64], rows: NDArray[np.int64], new_offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The offsets for the result of `with_rows`."""
    counts = counts_of(offsets)
    counts[rows] = counts_of(new_offsets)
    return offsets_of(counts)


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of int32 values, such as the items to exclude from each request.

    Attributes:
        offsets: int64[n + 1].
        values: int32[total].
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.int32]

    @classmethod
    def of(cls, rows: Sequence[ArrayLike]) -> "Ragged":
        """Ragged rows from a list of rows.

        >>> Ragged.of([[3, 1], []])[0].tolist()
        [3, 1]
        """
        arrays = [np.asarray(row, np.int32) for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0, np.int32)
        return cls(offsets_of([len(row) for row in arrays]), values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Row lengths, int64[n]."""
        return counts_of(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> "Ragged":
        """The given rows, in the given order."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        return Ragged(offsets_of(counts), self.values[ranges(self.offsets[rows], counts)])

    def with_rows(self, rows: NDArray[np.int64], new: "Ragged") -> "Ragged":
        """These rows with those at `rows`, ascending and distinct, replaced."""
        return Ragged(
            offsets_with_rows(self.offsets, rows, new.offsets),
            with_rows(self.offsets, self.values, rows, new.offsets, new.values),
        )
