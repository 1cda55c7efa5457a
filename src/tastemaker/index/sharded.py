"""The size of vectors, the number of shards they need, and search over several shards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, offsets_of, rows_of
from tastemaker.data.requests import Masks, Requests
from tastemaker.index.vector_index import VectorIndex, load_index


@dataclass(frozen=True, slots=True)
class Sizing:
    """The memory that item vectors take.

    Attributes:
        items: the number of items.
        factors: the length of a vector.
        limit: the maximum size of a shard in bytes.

    Example:
        >>> print(Sizing(500_000_000, 64, limit=16 * 10**9))
        500,000,000 items × 64 factors × 4 bytes = 128.0 GB in 8 shards of at most 16.0 GB
    """

    items: int
    factors: int
    limit: int

    @property
    def bytes(self) -> int:
        """The size of the vectors alone, in float32: items × factors × 4."""
        return self.items * self.factors * 4

    @property
    def shards(self) -> int:
        """The smallest number of shards that stay within the limit.

        Raises:
            ValueError: the limit is smaller than one vector.
        """
        each = self.limit // (4 * self.factors)
        if each < 1:
            needed = 4 * self.factors
            raise ValueError(
                f"'limit' must fit at least one vector ({needed} bytes), got {self.limit}"
            )
        return max(1, -(-self.items // each))

    def __str__(self) -> str:
        return (
            f"{self.items:,} items × {self.factors} factors × 4 bytes = {self.bytes / 1e9:.1f} GB "
            f"in {self.shards} shards of at most {self.limit / 1e9:.1f} GB"
        )


class ShardedIndex(VectorIndex):
    """Several indexes over consecutive ranges of items, searched one after the other.

    Every shard returns its best n items, and the best n of these are the best n of all. With exact
    shards the lists are bitwise identical to those of one exact index.

    Attributes:
        shards: the indexes, lowest items first.

    Cost: the sum over the shards, and sorting n × shards candidates per request.
    """

    kind: ClassVar = "sharded"

    def __init__(self, shards: Sequence[VectorIndex]) -> None:
        if not shards:
            raise ValueError("'shards' must have at least one index, got none")
        self.shards = tuple(shards)
        self.recall = min(shard.recall for shard in shards)

    @property
    def size(self) -> int:
        """The number of items in the index."""
        return sum(shard.size for shard in self.shards)

    def top_n(
        self,
        x: NDArray[np.float32],
        requests: Requests,
        n: int,
        *,
        min_score: float = -np.inf,
        threads: int = 1,
    ) -> Candidates:
        """The n eligible items of largest inner product over all shards."""
        first, found = 0, []
        for shard in self.shards:
            narrowed = _narrowed(requests, first, first + shard.size)
            some = shard.top_n(x, narrowed, n, min_score=min_score, threads=threads)
            found.append(replace(some, item=some.item + np.int32(first)))
            first += shard.size
        row = np.concatenate([rows_of(some.offsets) for some in found])
        item = np.concatenate([some.item for some in found])
        score = np.concatenate([some.score for some in found])
        order = np.lexsort((item, -score, row))
        counts = np.bincount(row, minlength=len(requests))
        return Candidates(offsets_of(counts), item[order], score[order]).head(max(0, n))

    def added(self, vectors: NDArray[np.float32]) -> Self:
        """A new index whose last shard also holds the given vectors."""
        return type(self)([*self.shards[:-1], self.shards[-1].added(vectors)])

    def save(self, writer: ArtifactWriter) -> None:
        """Writes every shard to a separate folder."""
        writer.json("about", {"kind": self.kind, "shards": len(self.shards)})
        for place, shard in enumerate(self.shards):
            shard.save(writer.child(f"shard-{place}"))

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps every shard."""
        count = reader.json("about")["shards"]
        return cls([load_index(reader.child(f"shard-{place}")) for place in range(count)])


def _narrowed(requests: Requests, start: int, stop: int) -> Requests:
    """The requests for a shard of the items start … stop − 1, with item indices from 0."""
    exclude = requests.exclude
    inside = (exclude.values >= start) & (exclude.values < stop)
    kept = np.concatenate([[0], np.cumsum(inside)])
    return replace(
        requests,
        exclude=Ragged(kept[exclude.offsets], exclude.values[inside] - np.int32(start)),
        eligible=Masks(
            np.ascontiguousarray(requests.eligible.bitmaps[:, start:stop]), requests.eligible.row
        ),
    )
