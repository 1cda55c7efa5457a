"""Retrievers: components that find candidates, and their optional capabilities."""

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
    """The declared capabilities of a retriever; the conformance suite verifies them.

    Attributes:
        history: how it uses a request's history: `native`, the model is itself a function of
            a history (EASE, nearest neighbours); `exact`, a user vector is solved as in training
            (ALS); `approximate`, the user vector is estimated; `none`, all users get the same.
            The suite tests only whether it is `none`.
        empty_history: whether it answers a request without history.
        new_items: whether it can find items that had no event when it was fitted.
        similar_items: whether it implements `similar`.
        deterministic: whether fitting twice with the same seed gives the same model.
        remote: whether it waits for another machine; only such calls have a timeout, given by the
            deadline.
        holds_users: whether the fitted state holds data per user (ids, rows, vectors).
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
        """Whether different histories can get different recommendations."""
        return self.history != "none"


class Retriever(Component, ABC):
    """Finds candidates for requests.

    To add a model, write one file with a config, `fit`, `retrieve`, `save` and `load`, and a test
    class.

    Attributes:
        capabilities: the declared capabilities.
        requires_timestamps: the kind of times that `fit` requires: moments, an order, or none.
        reason_text: what it finds, in a few words: the reason if there is no better one, and its
            name on the page. It must fit every event type, so it says neither "liked" nor "bought".
        n_fitted: the number of items in the catalogue when it was fitted; set by `fit` and `load`.
            Items at or above this index were added later.
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
        """Learns from the events; keeps its settings, and replaces any earlier fit.

        Args:
            dataset: the events to learn from.
            options: seed, threads, memory budget, progress.
            validation: later requests, for models that stop early; not for learning. None for the
                final evaluation, because the window would be part of `dataset`.
        """

    @abstractmethod
    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """Finds at most n items for each request, best first; respects `exclude` and `eligible`.

        Raises:
            NotFittedError: `fit` was not called.
        """

    @abstractmethod
    def save(self, writer: ArtifactWriter) -> None:
        """Writes the fitted arrays."""

    @abstractmethod
    def load(self, reader: ArtifactReader) -> Self:
        """Maps the fitted arrays from an artifact on disk, and sets `n_fitted`.

        Called on an instance with the saved settings.
        """

    def require_fitted(self) -> None:
        """Raises NotFittedError if neither `fit` nor `load` was called."""
        self.require("n_fitted")


@runtime_checkable
class SimilarItems(Protocol):
    """A retriever that can find the items most similar to given items."""

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """At most n similar items for each of `items`, best first, without the item itself."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A retriever that can name the item of the history that supports a candidate most."""

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """For each candidate, the strongest item of the history, −1 if none, and its share."""
        ...


@runtime_checkable
class ItemSimilarity(Protocol):
    """A retriever that can compute the similarity of two items, for features and diversity."""

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The similarity of each pair, float32[pairs], at most 1.

        The result of a pair is bitwise independent of the other pairs in the call. It is 0 if
        either item is unknown (−1, or added later to a retriever without `SupportsNewItems`).
        """
        ...


@runtime_checkable
class SupportsNewItems(Protocol):
    """A retriever that can add items after it was fitted, from their attributes."""

    def with_items(self, catalogue: Catalogue, changed: NDArray[np.int64] = NO_ITEMS) -> Self:
        """A copy of this retriever that also knows the later items of the catalogue.

        Args:
            catalogue: the one it was fitted on, or one made from that by `with_items` or `changed`.
            changed: int64[m], the later items that it knows already and whose attributes changed,
                ascending and distinct. Only these should be encoded again: a server calls this
                method for every item that it receives.
        """
        ...


@runtime_checkable
class ScoresItems(Protocol):
    """A retriever that can score given items, whether or not it would find them."""

    def score(self, requests: Requests, items: Ragged) -> NDArray[np.float32]:
        """The score of each item for its request, in the order of `retrieve`.

        Args:
            requests: n requests; `exclude` and `eligible` are ignored.
            items: the items to score, one row per request.

        Returns:
            float32[total], aligned with `items.values`; NaN for an unknown item.
        """
        ...


@runtime_checkable
class Incremental(Protocol):
    """A retriever that can learn from later events at less than the cost of fitting again."""

    def update(self, dataset: Dataset, options: FitOptions = FitOptions()) -> Self:
        """A new retriever, bitwise equal to this one fitted on `dataset`.

        Args:
            dataset: the events it was fitted on and later ones, with the same items.
            options: threads, memory budget, progress.

        Raises:
            DataError: the items are not those it was fitted on.
        """
        ...
