"""Find new items by their content, before users have interacted with them."""

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
"""Share of the mean similarity added to each: the rarest items count five times the average."""


class NewItemsConfig(ContentConfig):
    """Settings of `NewItems`: those of `Content`, and which items are new."""

    max_age: str = "30d"
    """How long an item is new after its first event: a number and s, m, h, d or w."""
    affinity: float = Field(1.0, ge=0)
    """α: an item is found only if it fits the profile this many times better than the average."""
    known: float = Field(0.5, ge=0)
    """γ: a score is divided by (1 + the item's events, without exposures) to this power."""
    popularity: float = Field(0.0, ge=0)
    """β of `Content`; 0, because the popularity of items with few events is mostly noise."""

    @field_validator("max_age")
    @classmethod
    def _is_young_duration(cls, value: str) -> str:
        parse_duration(value, "max_age")
        return value


class NewItems(Retriever):
    """New items recommended to the users whose profiles they fit best.

    An item is new if it was added after training, or if its first event is at most `max_age` before
    the request. An item that was in the catalogue at training but has no event before the request
    is not new: its age is unknown, and treating it as new would use information from the future.

    With p the profile and v the vectors of `Content`, v̄ the mean vector of the catalogue, a new
    item i scores

        p · vᵢ × rᵢ / (1 + eᵢ)^γ,   rᵢ = c̄ / (cᵢ + c̄/4),   cᵢ = vᵢ · v̄

    where c̄ is the mean of c and e the number of events of an item. The score compares the
    similarity to the user's profile with the similarity to the catalogue, so that rare kinds of
    items reach more than the users with broad profiles. It falls with the number of events of an
    item, as the width of a confidence interval shrinks with the root of the sample size. An item is
    found if its score is above α · p · v̄, the user's mean over the catalogue: new items reach their
    audience, other users do not see them, and items that have become known are no longer found.

    Attributes:
        content: a `Content` retriever with the same settings over the whole catalogue.
        typical: float32[terms], v̄; c̄ is its square.
        rarity: float32[items], r.
        exposures: the kinds of event with the role `exposure`, which are not counted in e.

    Cost: that of `Content`, and a lookup of the events of each new item.

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
        """Fits by encoding the catalogue; events are not used."""
        dataset.require_clock("NewItems")
        self.content = self._content().fit(dataset, options)
        self.n_fitted = self.content.n_fitted
        vectors = self.content.rows.matrix(self.content.encoder.width)
        self.typical = (vectors.sum(axis=0) / max(1, self.n_fitted)).astype(np.float32)
        self.rarity = self._rarities(self.content.rows)
        self.exposures = tuple(k for k, kind in dataset.kinds.items() if kind.role == "exposure")
        return self

    def with_items(self, catalogue: Catalogue, changed: NDArray[np.int64] = NO_ITEMS) -> Self:
        """A copy of this retriever that also knows the catalogue's later items, all of them new."""
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
        """The new items that fit the history best, and better than the average item."""
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
        """The item of the history whose content is most similar to each candidate's."""
        self.require_fitted()
        return self.content.explain(requests, candidates)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the encoder, the vectors, and the statistics of the catalogue."""
        self.content.save(writer)
        writer.array("typical", self.typical)
        writer.array("rarity", self.rarity[: self.n_fitted])
        writer.json("exposures", self.exposures)

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the encoder, the vectors, and the statistics of the catalogue."""
        self.content = self._content().load(reader)
        self.n_fitted = self.content.n_fitted
        self.typical, self.rarity = reader.array("typical"), reader.array("rarity")
        self.exposures = tuple(reader.json("exposures"))
        return self

    def _content(self) -> Content:
        own = NewItemsConfig.model_fields.keys() - ContentConfig.model_fields.keys()
        return Content(**self.config.model_dump(exclude=own))

    def _rarities(self, rows: SparseRows) -> NDArray[np.float32]:
        """The rarity r of each row; all 0 if the catalogue has no content."""
        mean = self.typical @ self.typical
        similarity = rows.matrix(len(self.typical)) @ self.typical
        if not mean > 0:
            return np.zeros(len(similarity), np.float32)
        rarity: NDArray[np.float32] = mean / (similarity + _SMOOTHING * mean)
        return rarity.astype(np.float32)

    def _weights(
        self, statistics: ItemStatistics, moments: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The factors of the similarities, float32[moments × items]; 0 if an item is not new."""
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
        """The time of each item's first event, `END_OF_TIME` if it has none; cached.

        The statistics may have items that this retriever does not know, and vice versa.
        """
        latest = self._latest
        if latest is None or latest[0] is not statistics:
            items = np.arange(max(statistics.n_items, self.content.n_items), dtype=np.int32)
            first, _ = statistics.first_and_last(items, np.full(len(items), END_OF_TIME))
            first[first == NO_TIME] = END_OF_TIME
            latest = self._latest = (statistics, first)
        return latest[1]
