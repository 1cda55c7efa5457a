"""Items that have only just appeared: found by what they are about, before anyone can like them."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import FitOptions, Retriever, Serves, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import NO_TIME, Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.times import parse_duration
from tastemaker.retrieval.content import Content, ContentConfig
from tastemaker.statistics import ItemStatistics
from tastemaker.world import World

END_OF_TIME = np.iinfo(np.int64).max


class NewcomersConfig(ContentConfig):
    """Settings of `Newcomers`: those of `Content`, and who counts as new."""

    young: str = "30d"
    """An item is new for so long after its first event: a number and s, m, h, d or w."""

    @field_validator("young")
    @classmethod
    def _is_young_duration(cls, value: str) -> str:
        parse_duration(value, "young")
        return value


class Newcomers(Retriever):
    """`Content` among new items alone, which elsewhere drown among all that are alike.

    New is an item that came after training, or whose first event is at most `young` before the
    request. An item that was there at training and had no event by the moment of the request is
    not: when it came, nobody knows, and to take it for new would be to know of events to come.

    Attributes:
        content: the same settings over the whole catalogue.

    Cost: that of `Content`.

    Example:
        >>> Newcomers(young="14d")
        Newcomers(young='14d')
    """

    name = "newcomers"
    serves: ClassVar = Serves(history="native", new_items=True)
    needs_clock: ClassVar = True
    because: ClassVar = "new, and like what you chose"
    config: NewcomersConfig
    content: Content
    _latest: tuple[ItemStatistics, NDArray[np.int64]] | None = None

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Encodes the catalogue; the events are not read."""
        dataset.require_clock("Newcomers")
        self.content = self._content().fit(dataset, options)
        self.n_fitted = self.content.n_fitted
        return self

    def extended(self, catalogue: Catalogue) -> Self:
        """This retriever that also knows the catalogue's later items, all of them new."""
        self.require_fitted()
        grown = type(self)(**self.config.model_dump(exclude_unset=True))
        grown.content = self.content.extended(catalogue)
        grown.n_fitted = self.n_fitted
        return grown

    def retrieve(self, requests: Requests, n: int, world: World) -> Candidates:
        """The new items most like the history."""
        self.require_fitted()
        young = parse_duration(self.config.young, "young")
        first = self._first_events(world.statistics)

        def new(moments: NDArray[np.int64]) -> NDArray[np.bool_]:
            at = moments[:, None]
            fresh: NDArray[np.bool_] = (first < at) & (first >= at - young)
            fresh[:, self.n_fitted :] = True
            return fresh

        return self.content.among(new, requests, n, world)

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history whose content is most like each candidate's."""
        self.require_fitted()
        return self.content.explain(requests, candidates)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes encoder and vectors."""
        self.content.save(writer)

    def load(self, reader: ArtifactReader) -> Self:
        """Maps encoder and vectors."""
        self.content = self._content().load(reader)
        self.n_fitted = self.content.n_fitted
        return self

    def _content(self) -> Content:
        return Content(**self.config.model_dump(exclude_unset=True, exclude={"young"}))

    def _first_events(self, statistics: ItemStatistics) -> NDArray[np.int64]:
        """When each item had its first event, the end of time if it had none; the latest is kept.

        Later statistics may know of items that are not known here, and the other way round.
        """
        latest = self._latest
        if latest is None or latest[0] is not statistics:
            first = np.full(max(statistics.n_items, self.content.n_items), END_OF_TIME)
            items = np.arange(statistics.n_items, dtype=np.int32)
            found, _ = statistics.first_and_last(items, np.full(len(items), END_OF_TIME))
            first[: len(items)] = np.where(found == NO_TIME, END_OF_TIME, found)
            latest = self._latest = (statistics, first)
        return latest[1]
