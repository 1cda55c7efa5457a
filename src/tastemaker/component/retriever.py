"""Retrievers: what finds candidates, and the abilities it may have."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component.component import Component, FitOptions
from tastemaker.component.task import Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import Clock
from tastemaker.inventory import Inventory

NO_ITEMS: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a retriever declares it can do; the conformance suite holds it to that.

    Attributes:
        history: how it uses a request's history: `native`, the model is itself a function of
            a history (EASE, nearest neighbours); `exact`, a user vector is solved as in training
            (ALS); `approximate`, it is estimated; `none`, all users get the same. Only `none` or
            not is tested.
        empty_history: whether it answers a request without history.
        new_items: whether it can find items that had no event when it was fitted.
        similar_items: whether it answers `similar`.
        deterministic: whether fitting twice with one seed gives the same.
        remote: whether an answer waits for another machine; only then it is waited for no longer
            than the deadline allows.
        holds_users: whether the fitted state holds anything per user (ids, rows, vectors).
    """

    history: Literal["native", "exact", "approximate", "none"]
    empty_history: bool = False
    new_items: bool = False
    similar_items: bool = False
    deterministic: bool = True
    remote: bool = False
    holds_users: bool = False

    @property
    def personal(self) -> bool:
        """Whether two different histories can get different answers."""
        return self.history != "none"


class Retriever(Component, ABC):
    """Finds candidates for requests.

    A new model is one file: a config, `fit`, `retrieve`, `save`, `load`, and a test class.

    Attributes:
        capabilities: what it can do.
        requires_timestamps: what times must be for `fit`: moments, an order at least, or nothing.
        reason_text: what it finds, in a few words: a reason where no better one is known, and its
            name on the page; true for every event type, so neither "liked" nor "bought".
        n_fitted: items in the catalogue when it was fitted; set by `fit` and by `load`. Items at or
            above this index were added later.
    """

    capabilities: ClassVar[Capabilities]
    requires_timestamps: ClassVar[Clock] = "none"
    reason_text: ClassVar[str] = "close to your taste"
    n_fitted: int

    @abstractmethod
    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Learns from the events; changes no setting, and forgets any earlier fit.

        Args:
            dataset: what happened.
            options: seed, threads, memory budget, progress.
            validation: later requests, for whoever stops early; never for learning, and None
                where the figure is to be reported (the window would lie inside `dataset`).
        """

    @abstractmethod
    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """At most n items for each request, best first; respects `exclude` and `eligible`.

        Raises:
            NotFittedError: `fit` was not called.
        """

    @abstractmethod
    def save(self, writer: ArtifactWriter) -> None:
        """Writes the fitted arrays."""

    @abstractmethod
    def load(self, reader: ArtifactReader) -> Self:
        """Takes the fitted arrays from an artifact, mapped from disk, and sets `n_fitted`.

        Called on an instance made with the settings that were saved.
        """

    def require_fitted(self) -> None:
        """Raises NotFittedError unless `fit` or `load` was called."""
        self.require("n_fitted")


@runtime_checkable
class SimilarItems(Protocol):
    """Can name the items most like given ones."""

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """At most n items for each of `items`, best first, never the item itself."""
        ...


@runtime_checkable
class Explains(Protocol):
    """Can name the event of the history that speaks most for a candidate."""

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """For each candidate the strongest item of the history, −1 if none, and its share."""
        ...


@runtime_checkable
class ItemSimilarity(Protocol):
    """Can say how alike two items are in its own space: for features and for diversity."""

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The likeness of each pair, float32[pairs], at most 1.

        The same bits whatever else is asked in the same call; 0 where either item is unknown
        (−1, or added later to a retriever that does not extend).
        """
        ...


@runtime_checkable
class SupportsNewItems(Protocol):
    """Can take up items that came after it was fitted, from what the catalogue says of them."""

    def with_items(self, catalogue: Catalogue, changed: NDArray[np.int64] = NO_ITEMS) -> Self:
        """This retriever that also knows the catalogue's later items; the present one stays.

        Args:
            catalogue: the one it was fitted on, or one made from that by `with_items` or `changed`.
            changed: int64[m], the later items that it knows and that are described again,
                ascending and distinct. Only these are to be encoded again: a server calls it
                for every item that is put.
        """
        ...


@runtime_checkable
class ScoresItems(Protocol):
    """Can say what it thinks of given items, whether or not it would find them."""

    def score(self, requests: Requests, items: Ragged) -> NDArray[np.float32]:
        """The score of each item for its request, as `retrieve` ranks them.

        Args:
            requests: n requests; `exclude` and `eligible` do not matter.
            items: the items asked about, a row for each request.

        Returns:
            float32[total], aligned with `items.values`; NaN for an item it knows nothing of.
        """
        ...


@runtime_checkable
class Incremental(Protocol):
    """Can take up later events for less than the cost of fitting anew."""

    def update(self, dataset: Dataset, options: FitOptions = FitOptions()) -> Self:
        """This retriever as fitted on `dataset`, to the last bit; the present one stays.

        Args:
            dataset: all that it was fitted on, and what happened since; the same items.
            options: threads, memory budget, progress.

        Raises:
            DataError: the items are not those it was fitted on.
        """
        ...
