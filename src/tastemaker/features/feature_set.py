"""Feature sets: declared once, computed by the same function in training and serving."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Features, ItemSimilarity, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import NumberColumn, TagsColumn, TimeColumn, VectorColumn
from tastemaker.data.requests import Requests
from tastemaker.features.activity import Activity
from tastemaker.features.affinity import Affinity
from tastemaker.features.attributes import Attributes
from tastemaker.features.context import Context
from tastemaker.features.pairs import Family, Pairs, distinct
from tastemaker.features.popularity import Popularity
from tastemaker.features.profile import Profile
from tastemaker.features.repeats import Repeats
from tastemaker.features.retrieval_signals import RetrievalSignals
from tastemaker.features.similarity import Similarity
from tastemaker.features.vector_similarity import VectorSimilarity
from tastemaker.inventory import Inventory


class FeatureSet:
    """An ordered set of feature families.

    Attributes:
        meanings: the meaning of each feature by name, in the order of the columns.

    Example:
        >>> from tastemaker.features.context import Context
        >>> list(FeatureSet([Context()]).meanings)
        ['hour_sin', 'hour_cos', 'weekday']

    Raises:
        SettingError: two families have a column of the same name.
    """

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = tuple(families)
        declared = [family.columns for family in families]
        self.meanings = distinct(pair for columns in declared for pair in columns.items())
        self._widths = tuple(len(columns) for columns in declared)

    @classmethod
    def of(cls, inventory: Inventory, sources: Mapping[str, Retriever]) -> "FeatureSet":
        """All features that the catalogue, its event types and the sources support."""
        columns = inventory.catalogue.columns
        labels = [name for name, column in columns.items() if isinstance(column, TagsColumn)]
        times = [name for name, column in columns.items() if isinstance(column, TimeColumn)]
        numbers = [
            name
            for name, column in columns.items()
            if isinstance(column, NumberColumn) and name not in times
        ]
        vectors = [name for name, column in columns.items() if isinstance(column, VectorColumn)]
        compared = [name for name, source in sources.items() if isinstance(source, ItemSimilarity)]
        families: list[Family] = [
            Popularity(inventory.statistics.kinds),
            Attributes(tuple(numbers), tuple(times)),
            Activity(),
            Repeats(),
            *(Affinity(name) for name in labels),
            *(VectorSimilarity(name) for name in vectors),
            *(Similarity(name) for name in compared),
            RetrievalSignals(tuple(sources)),
            Context(),
            *([Profile(inventory.profiles)] if inventory.profiles else []),
        ]
        return cls(families)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.meanings)

    def build(
        self,
        requests: Requests,
        candidates: Candidates,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
        entries: NDArray[np.int64] | None = None,
    ) -> Features:
        """The features of each candidate at its request's time; later data is not read.

        The values of a pair are bit-identical whatever else is in the batch.

        Args:
            requests: n requests.
            candidates: merged and filtered candidates of each request.
            inventory: catalogue and statistics.
            sources: the retrievers that found the candidates, by name.
            entries: int64[rows], ascending, the candidates to build features for; by default all.
        """
        pairs = Pairs.of(requests, candidates, inventory, sources, entries)
        values = np.empty((len(pairs.entry), len(self.meanings)), np.float32)
        start = 0
        for family, width in zip(self._families, self._widths):
            family.write(pairs, values[:, start : start + width])
            start += width
        return Features(self.names, values)
