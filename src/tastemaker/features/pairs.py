"""What features are computed from: (request, candidate) pairs and all that is known around them."""

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
    """Candidates to describe, each as of its request's moment.

    Attributes:
        requests: n requests.
        candidates: the whole merged list of each, for what depends on the list.
        world: catalogue and statistics; read as of the requests' moments.
        sources: the retrievers by name; those that compare items lend a space.
        entry: int64[rows], the candidates to describe, ascending.
        row: int64[rows], the request of each.
        item: int32[rows].
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
        """Pairs for the given entries of the candidates, by default all."""
        entry = np.arange(len(candidates.item)) if entries is None else entries
        row = candidates.rows[entry]
        return cls(requests, candidates, inventory, sources, entry, row, candidates.item[entry])

    @property
    def time(self) -> NDArray[np.int64]:
        """The moment of each pair, int64[rows], microseconds."""
        return self.requests.time[self.row]


class Family(Protocol):
    """Features of one kind, computed together.

    A value must depend on its own request and candidate alone, to the last bit: kernels and
    elementwise steps only, no product of matrices, no sum whose order depends on the batch.
    """

    @property
    def columns(self) -> dict[str, str]:
        """Name → what it says, in their order."""
        ...

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills float32[rows × columns]; NaN where a value does not exist."""
        ...


def distinct(columns: Iterable[tuple[str, str]]) -> dict[str, str]:
    """(Name, meaning) pairs as a dictionary; a name made of others' names may come out twice.

    Raises:
        SettingError: two features have one name.
    """
    named: dict[str, str] = {}
    for name, meaning in columns:
        if name in named:
            raise SettingError(
                f"two features are called '{name}': rename the column or the source it comes from"
            )
        named[name] = meaning
    return named
