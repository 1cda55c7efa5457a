"""The input of feature families: (request, candidate) pairs and the data around them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import SettingError
from tastemaker.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Pairs:
    """Candidates to build features for, each at its request's time.

    Attributes:
        requests: n requests.
        candidates: the whole merged list of each request, for features that depend on the list.
        inventory: catalogue and statistics, read as of each request's time.
        sources: the retrievers by name; some of them provide item similarities.
        entry: int64[rows], the positions of the candidates, ascending.
        row: int64[rows], the request of each candidate.
        item: int32[rows], the item of each candidate.
    """

    requests: Requests
    candidates: Candidates
    inventory: Inventory
    sources: Mapping[str, Retriever]
    entry: NDArray[np.int64]
    row: NDArray[np.int64]
    item: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        requests: Requests,
        candidates: Candidates,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
        entries: NDArray[np.int64] | None = None,
    ) -> "Pairs":
        """The pairs of some entries of the candidates, by default of all."""
        entry = np.arange(len(candidates.item)) if entries is None else entries
        row = candidates.rows[entry]
        return cls(requests, candidates, inventory, sources, entry, row, candidates.item[entry])

    @property
    def time(self) -> NDArray[np.int64]:
        """The request time of each pair, int64[rows], microseconds."""
        return self.requests.time[self.row]


class Family(Protocol):
    """A group of related features that are computed together.

    A value must depend only on its own request and candidate, bit for bit. Use kernels and
    elementwise operations, no matrix product and no sum whose order depends on the batch.
    """

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column by name, in the order of the columns."""
        ...

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills `out`, float32[rows × columns]; NaN where a value does not exist."""
        ...


def distinct(columns: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The (name, meaning) pairs as a dictionary; rejects duplicate names.

    Names are built from column and source names, so two of them can be equal.

    Raises:
        SettingError: two features have the same name.
    """
    named: dict[str, str] = {}
    for name, meaning in columns:
        if name in named:
            raise SettingError(
                f"two features are called '{name}': rename the column or the source it comes from"
            )
        named[name] = meaning
    return named
