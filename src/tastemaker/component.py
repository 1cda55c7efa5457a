"""The contracts: what a retriever is asked, what it answers, and what it declares. Read this first.

Requests and World in, Candidates through, Recommendations out. A model is a function of a
request, never of a user index; everything is a batch, and one request is a batch of one.
"""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, get_type_hints, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.errors import MemoryBudgetError, NotFittedError
from tastemaker.progress import Progress
from tastemaker.threads import available_threads
from tastemaker.world import World


@dataclass(frozen=True, slots=True)
class Serves:
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
        holds_users: whether the fitted state holds anything per user (ids, rows, vectors).
    """

    history: Literal["native", "exact", "approximate", "none"]
    empty_history: bool = False
    new_items: bool = False
    similar_items: bool = False
    deterministic: bool = True
    holds_users: bool = False

    @property
    def personal(self) -> bool:
        """Whether two different histories can get different answers."""
        return self.history != "none"


def _three_quarters_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit, as opposed to what: the same for every component.

    Attributes:
        seed: of everything random.
        threads: processors to use.
        memory_budget: bytes a component may plan to use at once.
        progress: who hears about long work.
    """

    seed: int = 0
    threads: int = field(default_factory=available_threads)
    memory_budget: int = field(default_factory=_three_quarters_of_memory)
    progress: Progress = field(default_factory=Progress)

    def require_memory(self, needed: int, work: str, cure: str) -> None:
        """Refuses work whose estimate exceeds the budget, before it starts.

        Args:
            needed: the estimate, bytes.
            work: what would need it, such as `EASE on 200,000 items`.
            cure: what to do instead.

        Raises:
            MemoryBudgetError: the estimate exceeds the budget.
        """
        if needed > self.memory_budget:
            raise MemoryBudgetError(
                f"{work} needs about {needed / 1e9:.1f} GB, the memory budget is "
                f"{self.memory_budget / 1e9:.1f} GB; {cure}"
            )


@dataclass(frozen=True, slots=True)
class Task:
    """An evaluation: requests standing at moments, and what these users went on to want.

    Attributes:
        requests: n requests.
        truth: the wanted items of each, never empty.
        gain: float32[total], how much each is worth, aligned with `truth.values`.
        user: int32[n], whose request it is; intervals resample users.
        known_user: bool[n], whether the user had events in the training data.
        world: what is known; read as of each request's moment.
        notes: what was left out or stands out, and how many.
    """

    requests: Requests
    truth: Ragged
    gain: NDArray[np.float32]
    user: NDArray[np.int32]
    known_user: NDArray[np.bool_]
    world: World
    notes: dict[str, int]

    def __len__(self) -> int:
        return len(self.requests)


class Component:
    """A part with settings: constructors only store them, `fit` returns self and keeps them.

    A subclass declares `config: ItsConfig`; its settings are then the constructor's arguments.

    Attributes:
        name: what a project file and an artifact call the component; the name it is registered by.
        config: its settings.
    """

    name: ClassVar[str]
    config: Settings

    def __init__(self, **settings: Any) -> None:
        self.config = self.config_class().checked(settings, owner=type(self).__name__)

    @classmethod
    def config_class(cls) -> type[Settings]:
        """The settings class that `config` is declared with.

        Raises:
            TypeError: the class declares no `name` or no `config` that can be resolved.
        """
        try:
            declared: type[Settings] = get_type_hints(cls)["config"]
        except NameError as problem:
            raise TypeError(
                f"{cls.__name__}: {problem}; import what its annotations name at run time"
            ) from None
        if not hasattr(cls, "name") or declared is Settings:
            raise TypeError(f"{cls.__name__} must declare 'name' and 'config: ItsSettings'")
        return declared

    def clone(self) -> Self:
        """The same component, not fitted."""
        return type(self)(**self.config.model_dump())

    def __repr__(self) -> str:
        changed = self.config.model_dump(exclude_defaults=True)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"


class Retriever(Component, ABC):
    """Finds candidates for requests.

    A new model is one file: a config, `fit`, `retrieve`, `save`, `load`, and a test class.

    Attributes:
        serves: what it can do.
        needs_clock: whether it can only be fitted on data whose times are moments.
        because: what to tell a user whom nothing more precise can be told.
        n_fitted: items in the catalogue when it was fitted; set by `fit` and by `load`. Items at or
            above this index were added later.
    """

    serves: ClassVar[Serves]
    needs_clock: ClassVar[bool] = False
    because: ClassVar[str] = "close to your taste"
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
    def retrieve(self, requests: Requests, n: int, world: World) -> Candidates:
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
        if not hasattr(self, "n_fitted"):
            raise NotFittedError(self)


@runtime_checkable
class SimilarItems(Protocol):
    """Can name the items most like given ones."""

    def similar(self, items: NDArray[np.int32], n: int, world: World) -> Candidates:
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
