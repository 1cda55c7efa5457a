"""Items that are popular at the time of each request: popularity with exponential decay."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import Capabilities, FitOptions, Retriever, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.times import parse_duration
from tastemaker.index import exact_top_n
from tastemaker.inventory import Inventory
from tastemaker.statistics import ItemStatistics

TICKS_PER_HALF_LIFE = 32


class TrendingConfig(Settings):
    """Settings of `Trending`."""

    half_life: str = "7d"
    """The time in which an event loses half its weight: a number and s, m, h, d or w."""

    @field_validator("half_life")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        parse_duration(value, "half_life")
        return value


class Trending(Retriever):
    """Items ranked by time-decayed positive weight at the time of the request.

    Popularity is computed at the last tick (a 32nd of the half-life) at or before the request, so
    that all requests of a tick share it. Events at or after the time of the request do not count.

    Nothing is fitted: the inventory's statistics grow with the events, and so does the ranking.
    Cost: a request, one pass over the items; the first request of a tick, a binary search per item.

    Example:
        >>> Trending(half_life="2d")
        Trending(half_life='2d')
    """

    name = "trending"
    capabilities: ClassVar = Capabilities(history="none", empty_history=True, new_items=True)
    requires_timestamps: ClassVar = "absolute"
    reason_text: ClassVar = "popular recently"
    config: TrendingConfig
    _latest: tuple[ItemStatistics, int, NDArray[np.float32]] | None = None

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Checks that the data has timestamps; nothing is fitted."""
        dataset.require_clock("Trending")
        self.n_fitted = len(dataset.catalogue)
        return self

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The eligible items with the most recent popularity."""
        self.require_fitted()
        half_life = parse_duration(self.config.half_life, "half_life")
        tick = max(1, half_life // TICKS_PER_HALF_LIFE)
        ticks = requests.time // tick * tick
        n_items = inventory.statistics.n_items

        def score(chunk: slice) -> NDArray[np.float32]:
            scores = np.empty((chunk.stop - chunk.start, n_items), np.float32)
            moments = ticks[chunk]
            for moment in sorted(set(moments.tolist())):
                scores[moments == moment] = self._weights(inventory.statistics, moment, half_life)
            return scores

        return exact_top_n(score, requests, n, n_items, min_score=0.0)

    def _weights(
        self, statistics: ItemStatistics, moment: int, half_life: int
    ) -> NDArray[np.float32]:
        """The weight of every item; the last result is cached, as most requests share a tick."""
        latest = self._latest
        if latest is None or latest[:2] != (statistics, moment):
            latest = self._latest = (statistics, moment, statistics.decayed(moment, half_life))
        return latest[2]

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the fitted state."""
        writer.json("fitted", {"items": self.n_fitted})

    def load(self, reader: ArtifactReader) -> Self:
        """Reads the fitted state."""
        self.n_fitted = reader.json("fitted")["items"]
        return self
