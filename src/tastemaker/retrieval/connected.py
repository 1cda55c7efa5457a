"""The items that the events connect: vector models relate no other pairs."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.data.ragged import Ragged

_NAME = "connected"


class ConnectedItems:
    """The connected components of a graph of items.

    Two items of different components share no user, neither directly nor through other items and
    users. A low-rank model still gives such a pair a small nonzero score, since it keeps fewer
    directions than the data has; this score is an approximation error.

    Attributes:
        of_item: int32[items], the component of each item; −1 for an item without events, for which
            a model must have a zero vector.
        size: the number of components.
        is_whole: whether there is at most one component.
    """

    def __init__(self, of_item: NDArray[np.int32]) -> None:
        self.of_item = of_item
        self.size = int(of_item.max(initial=-1)) + 1
        self.is_whole = self.size <= 1

    @classmethod
    def whole(cls, n_items: int) -> Self:
        """All items in one component, so that all pairs are related."""
        return cls(np.zeros(n_items, np.int32))

    @classmethod
    def by_users(cls, liked: csr_array) -> Self:
        """Items connected by users who like both.

        Args:
            liked: [users × items].

        Cost: one pass over the entries; 16 bytes per entry.
        """
        n_users, n_items = liked.shape
        offsets = np.concatenate([liked.indptr, np.full(n_items, liked.indptr[-1])])
        entries = (np.ones(liked.nnz, np.int8), liked.indices + n_users, offsets)
        both = csr_array(entries, shape=(n_users + n_items, n_users + n_items))
        alone = np.bincount(liked.indices, minlength=n_items) == 0
        return cls._of(both, alone)

    @classmethod
    def by_edges(cls, edges: csr_array) -> Self:
        """Items connected by edges.

        Args:
            edges: [items × items], symmetric.
        """
        return cls._of(edges, np.diff(edges.indptr) == 0)

    @classmethod
    def _of(cls, graph: csr_array, alone: NDArray[np.bool_]) -> Self:
        """The components of the last len(alone) nodes of a graph; `alone` marks isolated items."""
        _, labels = connected_components(graph, directed=False)
        of_item = labels[len(labels) - len(alone) :]
        numbers = np.full(len(alone), -1, np.int32)
        numbers[~alone] = np.unique(of_item[~alone], return_inverse=True)[1]
        return cls(numbers)

    def related(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the items of each pair are in one component, bool[pairs]; False if unknown.

        Args:
            left: int32[pairs].
            right: int32[pairs].
        """
        n = len(self.of_item)
        known = (left >= 0) & (left < n) & (right >= 0) & (right < n)
        related = np.zeros(len(left), np.bool_)
        one, other = self.of_item[left[known]], self.of_item[right[known]]
        related[known] = (one == other) & (one >= 0)
        return related

    def reached(self, liked: csr_array, items: Ragged) -> NDArray[np.bool_]:
        """Whether each item is in a component of its request's history, bool[total].

        Args:
            liked: the histories, [requests × items].
            items: the items to check for each request.
        """
        reached = np.zeros(len(items.values), np.bool_)
        _reached(
            *(liked.indptr, liked.indices, self.of_item, self.size),
            *(items.offsets, items.values, reached),
        )
        return reached

    def mask_unconnected(self, liked: csr_array, scores: NDArray[np.float32], score: float) -> None:
        """Overwrites the scores of items that are not connected to the history, in place.

        Args:
            liked: the histories, [requests × items].
            scores: float32[requests × items].
            score: the value to write.
        """
        if not self.is_whole:
            shared = (liked.indptr, liked.indices, self.of_item, self.size)
            _mask_unconnected(*shared, scores, np.float32(score))

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the components."""
        writer.array(_NAME, self.of_item + np.int32(1))  # valid indices start at 0

    @classmethod
    def load(cls, reader: ArtifactReader, n_items: int) -> Self:
        """Memory-maps the components."""
        return cls(reader.array(_NAME, np.int32, (n_items,), below=n_items + 1) - np.int32(1))


@kernel
def _reached(offsets, liked, of_item, size, item_offsets, items, reached):  # type: ignore[no-untyped-def]
    """Writes whether each item is in a component of its row."""
    touched = np.full(size, -1, np.int64)
    for row in range(len(item_offsets) - 1):
        for entry in range(offsets[row], offsets[row + 1]):
            if of_item[liked[entry]] >= 0:
                touched[of_item[liked[entry]]] = row
        for entry in range(item_offsets[row], item_offsets[row + 1]):
            item = items[entry]
            if 0 <= item < len(of_item) and of_item[item] >= 0:
                reached[entry] = touched[of_item[item]] == row


@kernel
def _mask_unconnected(offsets, liked, of_item, size, scores, score):  # type: ignore[no-untyped-def]
    """Writes `score` to the items of every component in which a row has no item."""
    touched = np.full(size, -1, np.int64)
    for row in range(len(scores)):
        for entry in range(offsets[row], offsets[row + 1]):
            if of_item[liked[entry]] >= 0:
                touched[of_item[liked[entry]]] = row
        for item in range(len(of_item)):
            if of_item[item] < 0 or touched[of_item[item]] != row:
                scores[row, item] = score
