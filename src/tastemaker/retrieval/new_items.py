"""Items that have only just appeared: found by what they are about, before anyone can like them."""

from copy import copy
from functools import partial
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import NO_ITEMS, Capabilities, FitOptions, Retriever, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import NO_TIME, Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.times import parse_duration
from tastemaker.inventory import Inventory
from tastemaker.retrieval.content import Content, ContentConfig
from tastemaker.retrieval.content_vectors import SparseRows
from tastemaker.statistics import ALL_TIME, EVERY, ItemStatistics

END_OF_TIME = np.iinfo(np.int64).max
_SMOOTHING = np.float32(0.25)
"""Of the mean likeness, what is added to each: the rarest kind counts five times the average."""


class NewItemsConfig(ContentConfig):
    """Settings of `NewItems`: those of `Content`, and who counts as new."""

    max_age: str = "30d"
    """An item is new for so long after its first event: a number and s, m, h, d or w."""
    affinity: float = Field(1.0, ge=0)
    """α: an item is found only where it fits so many times better than the average item."""
    known: float = Field(0.5, ge=0)
    """γ: a score is divided by (1 + the item's events, exposures apart) to this power."""
    popularity: float = Field(0.0, ge=0)
    """β of `Content`: what few events say of popularity is mostly chance."""

    @field_validator("max_age")
    @classmethod
    def _is_young_duration(cls, value: str) -> str:
        parse_duration(value, "max_age")
        return value


class NewItems(Retriever):
    """New items for whom they fit best, which elsewhere drown among all that are alike.

    New is an item that came after training, or whose first event is at most `max_age` before the
    request. An item that was there at training and had no event by the moment of the request is
    not: when it came, nobody knows, and to take it for new would be to know of events to come.

    With p the profile and v the vectors of `Content`, v̄ the mean of those of the catalogue, a new
    item i scores

        p · vᵢ × rᵢ / (1 + eᵢ)^γ,   rᵢ = c̄ / (cᵢ + c̄/4),   cᵢ = vᵢ · v̄

    where c̄ is the mean of c and e the events an item has: by how much more it is like what this
    user chose than like just anything, so that a rare kind of item is not left to those who like
    everything a little, and less of what is known already, as the width of an interval shrinks
    with the root of what it is made of. It is found where that is above α · p · v̄, the user's mean
    over the catalogue: each item among its own audience, nobody sees what does not concern them
    only because it is new, and what has become known is no longer found.

    Attributes:
        content: the same settings over the whole catalogue.
        typical: float32[terms], v̄; c̄ is its square.
        rarity: float32[items], r.
        exposures: the kinds of event that say nothing of an item, and are not counted in e.

    Cost: that of `Content`, and a look-up of its events for each new item.

    Example:
        >>> NewItems(max_age="14d")
        NewItems(max_age='14d')
    """

    name = "new_items"
    capabilities: ClassVar = Capabilities(history="native", new_items=True)
    requires_timestamps: ClassVar = "absolute"
    reason_text: ClassVar = "new, and similar to what you chose"
    config: NewItemsConfig
    content: Content
    typical: NDArray[np.float32]
    rarity: NDArray[np.float32]
    exposures: tuple[str, ...]
    _latest: tuple[ItemStatistics, NDArray[np.int64]] | None = None

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Encodes the catalogue; the events are not read."""
        dataset.require_clock("NewItems")
        self.content = self._content().fit(dataset, options)
        self.n_fitted = self.content.n_fitted
        vectors = self.content.rows.matrix(self.content.encoder.width)
        self.typical = (vectors.sum(axis=0) / max(1, self.n_fitted)).astype(np.float32)
        self.rarity = self._rarities(self.content.rows)
        self.exposures = tuple(k for k, kind in dataset.kinds.items() if kind.role == "exposure")
        return self

    def with_items(self, catalogue: Catalogue, changed: NDArray[np.int64] = NO_ITEMS) -> Self:
        """This retriever that also knows the catalogue's later items, all of them new."""
        self.require_fitted()
        grown = copy(self)
        grown.content = self.content.with_items(catalogue, changed)
        later = np.arange(self.content.n_items, grown.content.n_items)
        items = np.concatenate([changed, later])
        grown.rarity = np.concatenate([self.rarity, np.empty(len(later), np.float32)])
        grown.rarity[items] = self._rarities(grown.content.added.take(items - self.n_fitted))
        grown._latest = None
        return grown

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The new items that fit the history best, and better than most would."""
        self.require_fitted()
        found = self.content.among(
            partial(self._weights, inventory.statistics), requests, n, inventory
        )
        profiles = self.content.profiles(requests).matrix(len(self.typical))
        least = np.float32(self.config.affinity) * (profiles @ self.typical)
        return found.where(found.score > least[found.rows])

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history whose content is most like each candidate's."""
        self.require_fitted()
        return self.content.explain(requests, candidates)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes encoder and vectors, and what the catalogue is like."""
        self.content.save(writer)
        writer.array("typical", self.typical)
        writer.array("rarity", self.rarity[: self.n_fitted])
        writer.json("exposures", self.exposures)

    def load(self, reader: ArtifactReader) -> Self:
        """Maps encoder and vectors, and what the catalogue is like."""
        self.content = self._content().load(reader)
        self.n_fitted = self.content.n_fitted
        self.typical, self.rarity = reader.array("typical"), reader.array("rarity")
        self.exposures = tuple(reader.json("exposures"))
        return self

    def _content(self) -> Content:
        own = NewItemsConfig.model_fields.keys() - ContentConfig.model_fields.keys()
        return Content(**self.config.model_dump(exclude=own))

    def _rarities(self, rows: SparseRows) -> NDArray[np.float32]:
        """R of each row; 0 for all where the catalogue says nothing."""
        mean = self.typical @ self.typical
        likeness = rows.matrix(len(self.typical)) @ self.typical
        if not mean > 0:
            return np.zeros(len(likeness), np.float32)
        rarity: NDArray[np.float32] = mean / (likeness + _SMOOTHING * mean)
        return rarity.astype(np.float32)

    def _weights(
        self, statistics: ItemStatistics, moments: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """What makes a likeness a score, float32[moments × items]; 0 for what is not new."""
        max_age = parse_duration(self.config.max_age, "max_age")
        first, at = self._first_events(statistics)[: self.content.n_items], moments[:, None]
        new = (first < at) & (first >= at - max_age)
        new[:, self.n_fitted :] = True
        row, item = np.divmod(np.flatnonzero(new), new.shape[1])
        items, times = item.astype(np.int32), moments[row]
        stretches = statistics.stretches(items, times, (ALL_TIME,))
        events = stretches.counts(EVERY)[:, 0]
        for kind in self.exposures:
            events -= stretches.counts(kind)[:, 0]
        weights = np.zeros(new.shape, np.float32)
        weights[row, item] = self.rarity[item] / (1 + events) ** np.float32(self.config.known)
        return weights

    def _first_events(self, statistics: ItemStatistics) -> NDArray[np.int64]:
        """When each item had its first event, the end of time if it had none; the latest is kept.

        Later statistics may know of items that are not known here, and the other way round.
        """
        latest = self._latest
        if latest is None or latest[0] is not statistics:
            items = np.arange(max(statistics.n_items, self.content.n_items), dtype=np.int32)
            first, _ = statistics.first_and_last(items, np.full(len(items), END_OF_TIME))
            first[first == NO_TIME] = END_OF_TIME
            latest = self._latest = (statistics, first)
        return latest[1]
