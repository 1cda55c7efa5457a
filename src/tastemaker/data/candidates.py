"""Candidates: ranked items per request, with their scores and sources."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tastemaker.data.ragged import counts_of, offsets_of, ranges, rows_of


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of n requests as ragged columns; the order within a request is the rank.

    Attributes:
        offsets: int64[n + 1].
        item: int32[total].
        score: float32[total].
        sources: names of the S merged retrievers; empty before merging.
        source_rank: int16[total, S], from 0; −1 if the source did not find the item.
        source_score: float32[total, S]; NaN if the source did not find the item.
        columns: further columns, each [total], that later stages add.
    """

    offsets: NDArray[np.int64]
    item: NDArray[np.int32]
    score: NDArray[np.float32]
    sources: tuple[str, ...] = ()
    source_rank: NDArray[np.int16] = field(default_factory=lambda: np.empty((0, 0), np.int16))
    source_score: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, rows: Sequence[tuple[ArrayLike, ArrayLike]]) -> "Candidates":
        """Candidates from one (items, scores) pair per request, best first."""
        items = [np.asarray(item, np.int32) for item, _ in rows]
        scores = [np.asarray(score, np.float32) for _, score in rows]
        return cls(
            offsets_of([len(item) for item in items]),
            np.concatenate([*items, np.empty(0, np.int32)]),
            np.concatenate([*scores, np.empty(0, np.float32)]),
        )

    @classmethod
    def concatenated(cls, parts: "Sequence[Candidates]") -> "Candidates":
        """The candidates of several batches with the same sources, concatenated."""
        return cls(
            offsets_of(np.concatenate([part.counts for part in parts])),
            np.concatenate([part.item for part in parts]),
            np.concatenate([part.score for part in parts]),
            parts[0].sources,
            np.concatenate([part.source_rank for part in parts]),
            np.concatenate([part.source_score for part in parts]),
        )

    @classmethod
    def none(cls, n: int) -> "Candidates":
        """Empty candidates for n requests."""
        return cls(np.zeros(n + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of items per request, int64[n]."""
        return counts_of(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The request of every candidate, int64[total]."""
        return rows_of(self.offsets)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The rank of every candidate within its request, from 0, int64[total]."""
        return np.arange(len(self.item)) - np.repeat(self.offsets[:-1], self.counts)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        """The items of one request, best first."""
        return self.item[self.offsets[row] : self.offsets[row + 1]]

    def entries(self, index: NDArray[np.int64], offsets: NDArray[np.int64]) -> "Candidates":
        """Candidates of the entries `index`, grouped by `offsets`."""
        merged = bool(self.sources)
        return Candidates(
            offsets,
            self.item[index],
            self.score[index],
            self.sources,
            self.source_rank[index] if merged else self.source_rank,
            self.source_score[index] if merged else self.source_score,
            {name: column[index] for name, column in self.columns.items()},
        )

    def where(self, keep: NDArray[np.bool_]) -> "Candidates":
        """The candidates for which `keep` bool[total] is true, in order."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        return self.entries(np.flatnonzero(keep), kept[self.offsets].astype(np.int64))

    def head(self, n: int) -> "Candidates":
        """At most the first n of each request."""
        if (self.counts <= n).all():
            return self
        counts = np.minimum(self.counts, n)
        return self.entries(ranges(self.offsets[:-1], counts), offsets_of(counts))

    @property
    def lowest(self) -> NDArray[np.float32]:
        """The lowest score of each list, float32[n]; 0 if the list is empty."""
        lowest = np.full(len(self), np.inf, np.float32)
        np.minimum.at(lowest, self.rows, self.score)
        return np.where(np.isinf(lowest), np.float32(0), lowest)

    def followed_by(self, more: "Candidates") -> "Candidates":
        """Each list, followed by the items of `more` for the same request.

        The added items get the lowest score of the list they follow. They keep the ranks and scores
        of sources that are listed here; all other columns are missing (NaN, −1).

        Args:
            more: n lists of items that are not in the existing lists.
        """
        count = len(more.item)
        rank = with_missing(self.source_rank, count if self.sources else 0)
        source_score = with_missing(self.source_score, count if self.sources else 0)
        for place, name in enumerate(more.sources):
            if name in self.sources:
                column = self.sources.index(name)
                rank[len(self.item) :, column] = more.source_rank[:, place]
                source_score[len(self.item) :, column] = more.source_score[:, place]
        joined = Candidates(
            offsets_of(self.counts + more.counts),
            np.concatenate([self.item, more.item]),
            np.concatenate([self.score, self.lowest[more.rows]]),
            self.sources,
            rank,
            source_score,
            {name: with_missing(column, count) for name, column in self.columns.items()},
        )
        order = np.argsort(np.concatenate([self.rows, more.rows]), kind="stable")
        return joined.entries(order, joined.offsets)

    def take(self, rows: NDArray[np.integer]) -> "Candidates":
        """The candidates of the given requests, in the given order."""
        counts = self.counts[rows]
        return self.entries(ranges(self.offsets[rows], counts), offsets_of(counts))


def with_missing(column: NDArray[Any], count: int) -> NDArray[Any]:
    """A copy with `count` missing values appended: NaN, −1, or the type's empty value."""
    missing = np.zeros((count, *column.shape[1:]), column.dtype)
    if column.dtype.kind in "fi":
        missing[:] = np.nan if column.dtype.kind == "f" else -1
    return np.concatenate([column, missing])
