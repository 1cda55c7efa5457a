"""What is liked now: popularity that halves with age, as of each request's moment."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import FitOptions, Retriever, Serves, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.times import parse_duration
from tastemaker.index import ranked_top_n
from tastemaker.world import World

TICKS_PER_HALF_LIFE = 32


class TrendingConfig(Settings):
    """Settings of `Trending`."""

    half_life: str = "7d"
    """In this time an event loses half its weight: a number and s, m, h, d or w."""

    @field_validator("half_life")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        parse_duration(value, "half_life")
        return value


class Trending(Retriever):
    """Items by time-decayed positive weight, as of the request's moment.

    Popularity is read at the last tick (a 32nd of the half-life) at or before the request, so
    that requests of one tick share one ranking; it never sees the request's moment or later.

    Nothing is fitted: the world's statistics grow with the events, and the ranking with them.
    Cost: one ranking of all items per tick, then as `Popular`.

    Example:
        >>> Trending(half_life="2d")
        Trending(half_life='2d')
    """

    name = "trending"
    serves: ClassVar = Serves(history="none", empty_history=True, new_items=True)
    needs_clock: ClassVar = True
    because: ClassVar = "liked by many of late"
    config: TrendingConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Checks that the data has a clock."""
        dataset.require_clock("Trending")
        self.n_fitted = len(dataset.catalogue)
        return self

    def retrieve(self, requests: Requests, n: int, world: World) -> Candidates:
        """The items most liked of late that the user may be shown."""
        self.require_fitted()
        half_life = parse_duration(self.config.half_life, "half_life")
        tick = max(1, half_life // TICKS_PER_HALF_LIFE)
        ticks, which = np.unique(requests.time // tick, return_inverse=True)
        rankings: list[tuple[NDArray[np.int32], NDArray[np.float32]]] = []
        for moment in ticks:
            weight = world.statistics.decayed(int(moment) * tick, half_life)
            order = np.argsort(-weight, kind="stable")[: int((weight > 0).sum())]
            rankings.append((order.astype(np.int32), weight[order]))
        return ranked_top_n(rankings, which, requests, n)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes that it was fitted."""
        writer.json("fitted", {"items": self.n_fitted})

    def load(self, reader: ArtifactReader) -> Self:
        """Reads that it was fitted."""
        self.n_fitted = reader.json("fitted")["items"]
        return self
