from collections.abc import Callable
from math import isnan
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.features import FeatureSet
from tastemaker.features.similarity import Similarity
from tastemaker.inventory import Inventory
from tastemaker.retrieval import ALS, EASE, Content, ItemKNN
from tastemaker.testing import checkerboard

Describe = Callable[..., dict[str, list[float]]]


class ByTable:
    """The similarity of left and right is `10 · left + right` hundredths."""

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        known = (left >= 0) & (right >= 0)
        return np.where(known, (10 * left + right) / 100, 0).astype(np.float32)


SOURCES: Any = {"table": ByTable()}


def test_features_are_the_latest_largest_and_mean_similarity(describe: Describe) -> None:
    history = [(1, 5, 1.0), (3, 4, 1.0), (2, 3, 1.0)]
    result = describe(Similarity("table"), [0, 4], history=history, sources=SOURCES)
    assert list(result) == ["table_like_last", "table_like_best", "table_like_mean"]
    assert result["table_like_last"] == pytest.approx([0.20, 0.24])
    assert result["table_like_best"] == pytest.approx([0.30, 0.34])
    assert result["table_like_mean"] == pytest.approx([0.20, 0.24])


def test_only_likes_of_known_items_count(describe: Describe) -> None:
    history = [(1, 5, 1.0), (4, 3, -1.0), (4, 2, 0.0), (-1, 1, 1.0)]
    result = describe(Similarity("table"), [0], history=history, sources=SOURCES)
    assert {name: values[0] for name, values in result.items()} == pytest.approx(
        dict.fromkeys(result, 0.10)
    )


def test_an_item_liked_often_counts_once(describe: Describe) -> None:
    history = [(1, 5, 1.0), (2, 4, 1.0), (2, 3, 1.0), (2, 2, 1.0)]
    result = describe(Similarity("table"), [0], history=history, sources=SOURCES)
    assert result["table_like_mean"] == pytest.approx([0.15])


def test_the_latest_five_distinct_likes_count(describe: Describe) -> None:
    history = [(9, 90, 1.0), *[(item, 50 - item, 1.0) for item in range(6)]]
    result = describe(Similarity("table"), [0], history=history, sources=SOURCES)
    assert result["table_like_best"] == pytest.approx([0.50])
    assert result["table_like_mean"] == pytest.approx([(0.1 + 0.2 + 0.3 + 0.4 + 0.5) / 5])


def test_the_largest_similarity_can_be_negative(describe: Describe) -> None:
    class Unlike(ByTable):
        def similarity(
            self, left: NDArray[np.int32], right: NDArray[np.int32]
        ) -> NDArray[np.float32]:
            return -super().similarity(left, right)

    sources: Any = {"table": Unlike()}
    result = describe(Similarity("table"), [0], history=[(1, 2, 1.0), (2, 1, 1.0)], sources=sources)
    assert result["table_like_best"] == pytest.approx([-0.10])


@pytest.mark.parametrize("history", [[], [(1, 1, -1.0)], [(-1, 1, 1.0)]])
def test_without_a_known_like_similarities_are_missing(
    describe: Describe, history: list[tuple[int, float, float]]
) -> None:
    result = describe(Similarity("table"), [0, 1], history=history, sources=SOURCES)
    assert all(isnan(value) for values in result.values() for value in values)


@pytest.mark.parametrize("source", [ALS(factors=4), EASE(), ItemKNN(), Content()])
def test_an_item_unknown_to_the_source_has_similarity_0(
    describe: Describe, make_inventory: Callable[..., Inventory], source: Any
) -> None:
    data: Dataset = checkerboard(10).dataset
    result = describe(
        Similarity(source.name),
        [3, 10],
        history=[(1, 2, 1.0), (10, 1, 1.0)],
        sources={source.name: source.fit(data)},
        inventory=Inventory.of(data).with_items(["new"]),
    )
    assert result[f"{source.name}_like_best"][1] == 0
    assert all(np.isfinite(values).all() for values in result.values())


def test_the_als_similarity_is_the_cosine_of_item_factors(
    make_requests: Callable[..., Requests], make_found: Callable[..., Candidates], now: int
) -> None:
    data = checkerboard(20).dataset
    als = ALS(factors=8).fit(data)
    requests, found = make_requests([[(4, 1.0, 1.0)]], [now]), make_found([[*range(20)]])
    built = FeatureSet([Similarity("als")]).build(requests, found, Inventory.of(data), {"als": als})
    unit = als.item_factors / np.linalg.norm(als.item_factors, axis=1, keepdims=True)
    # No user likes both odd and even items.
    expected = np.where(np.arange(20) % 2 == 0, unit @ unit[4], 0)
    np.testing.assert_allclose(built.values[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("source", [ALS(factors=4), EASE(), ItemKNN(), Content()])
def test_similarity_does_not_depend_on_the_order_of_pairs(source: Any) -> None:
    """Features pass pairs with the same left item together, but this is not required."""
    data: Dataset = checkerboard(10).dataset
    fitted = source.fit(data)
    left, right = (side.ravel().astype(np.int32) for side in np.mgrid[-1:11, -1:11])
    shuffled = np.random.default_rng(0).permutation(len(left))
    whole = fitted.similarity(left, right)
    assert np.array_equal(fitted.similarity(left[shuffled], right[shuffled]), whole[shuffled])
    alone = [fitted.similarity(left[[i]], right[[i]])[0] for i in range(len(left))]
    assert np.array_equal(np.array(alone), whole)
