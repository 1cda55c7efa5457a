from typing import Any, ClassVar, Self

import pytest
from pydantic import Field, ValidationError

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import Capabilities, Explains, FitOptions, Retriever, SimilarItems, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.errors import MemoryBudgetError, NotFittedError, SettingError
from tastemaker.inventory import Inventory
from tastemaker.retrieval import ALS, ItemKNN, Popular, Trending


class MineConfig(Settings):
    depth: int = Field(3, ge=1)
    rate: float = 0.5


class Mine(Retriever):
    """Returns no items."""

    name = "mine"
    capabilities: ClassVar = Capabilities(history="none")
    config: MineConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        self.n_fitted = len(dataset.catalogue)
        return self

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        self.require_fitted()
        return Candidates.none(len(requests))

    def save(self, writer: ArtifactWriter) -> None: ...

    def load(self, reader: ArtifactReader) -> Self:
        return self


class Deeper(Mine):
    """Inherits its settings."""


@pytest.mark.parametrize("kind", [Mine, Deeper])
def test_a_constructor_stores_its_settings_and_nothing_else(kind: type[Mine]) -> None:
    mine = kind(depth=5)
    assert (mine.config.depth, mine.config.rate) == (5, 0.5)
    assert list(vars(mine)) == ["config"]


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Mine().config.depth = 9


def test_a_component_shows_what_differs_from_the_defaults() -> None:
    assert repr(Mine()) == "Mine()"
    assert repr(Mine(depth=5, rate=0.5)) == "Mine(depth=5)"
    assert repr(Mine(rate=0.1, depth=2)) == "Mine(depth=2, rate=0.1)"


def test_an_unknown_setting_names_the_component_and_the_near_miss() -> None:
    with pytest.raises(SettingError, match=r"Mine: unknown setting 'dept'; did you mean 'depth'\?"):
        Mine(dept=3)
    with pytest.raises(SettingError, match="unknown setting 'xyz'; known: depth, rate"):
        Mine(xyz=3)


def test_a_setting_out_of_range_names_component_constraint_and_value() -> None:
    with pytest.raises(SettingError, match="Mine: 'depth' must be greater than or equal to 1, got"):
        Mine(depth=0)


def test_an_unfitted_component_names_the_fix() -> None:
    with pytest.raises(NotFittedError, match=r"Mine is not fitted: call fit\(dataset\) first"):
        Mine().retrieve(Requests.of([[]]), 1, None)  # type: ignore[arg-type]


def test_a_retriever_without_its_methods_cannot_be_created() -> None:
    class Half(Retriever):
        config: MineConfig

    with pytest.raises(TypeError, match="abstract method"):
        Half()  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("history", "personal"),
    [("native", True), ("exact", True), ("approximate", True), ("none", False)],
)
def test_only_retrievers_that_use_a_history_are_personal(history: str, personal: bool) -> None:
    assert Capabilities(history=history).personal is personal  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [ALS, ItemKNN, Popular, Trending, Mine])
def test_capabilities_are_those_declared(kind: type[Retriever]) -> None:
    assert isinstance(kind(), SimilarItems) == kind.capabilities.similar_items


def test_a_capability_is_detected_by_its_method() -> None:
    assert isinstance(ItemKNN(), Explains)
    assert not isinstance(Popular(), Explains)


def test_the_memory_budget_error_names_both_sizes_and_a_fix() -> None:
    options = FitOptions(memory_budget=90 * 10**9)
    options.require_memory(10**9, "Mine on 10 items", "buy more")
    with pytest.raises(
        MemoryBudgetError,
        match=r"Mine on 10 items needs about 95\.0 GB in addition to the \d+\.\d [MG]B in use, "
        r"the memory budget is 90\.0 GB; buy more",
    ):
        options.require_memory(95 * 10**9, "Mine on 10 items", "buy more")


def test_options_have_sensible_defaults() -> None:
    options = FitOptions()
    assert options.seed == 0
    assert options.threads >= 1
    assert options.memory_budget is None
    assert list(options.progress.track([1, 2], "work")) == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "'seed' must be at least 0, got -1"),
        ({"seed": 2.5}, "'seed' must be an integer, got 2.5"),
        ({"threads": 0}, "'threads' must be at least 1, got 0"),
        ({"memory_budget": "8GiB"}, "'memory_budget' must be an integer, got '8GiB'"),
    ],
)
def test_an_option_of_fit_that_is_wrong_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}$"):
        FitOptions(**options)
