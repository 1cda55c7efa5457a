from math import log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker import metrics
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged
from tastemaker.metrics import gains_of

METRICS = {
    "ndcg": metrics.ndcg,
    "recall": metrics.recall,
    "recall_min": metrics.recall_min,
    "precision": metrics.precision,
    "map": metrics.average_precision,
    "mrr": metrics.reciprocal_rank,
    "hit_rate": metrics.hit_rate,
}

Relevant = dict[int, float]  # item → gain


def lists_of(lists: list[list[int]]) -> Candidates:
    return Candidates.of([(items, -np.arange(len(items))) for items in lists])


def measured(lists: list[list[int]], relevant: list[Relevant], k: int) -> dict[str, list[float]]:
    truth = Ragged.of([list(worth) for worth in relevant])
    gain = np.array([g for worth in relevant for g in worth.values()], np.float32)
    found, ideal = gains_of(lists_of(lists), truth, gain, k)
    return {name: metric(found, ideal).tolist() for name, metric in METRICS.items()}


def one(items: list[int], relevant: Relevant | list[int], k: int) -> dict[str, float]:
    worth = relevant if isinstance(relevant, dict) else dict.fromkeys(relevant, 1.0)
    return {name: values[0] for name, values in measured([items], [worth], k).items()}


def twin(items: list[int], worth: Relevant, k: int) -> dict[str, float]:
    """The textbook definitions, one request at a time."""
    top = items[:k]
    hits = [item in worth for item in top]
    dcg = sum((2 ** worth.get(item, 0) - 1) / log2(rank + 2) for rank, item in enumerate(top))
    best = sorted(worth.values(), reverse=True)[:k]
    ideal = sum((2**g - 1) / log2(rank + 2) for rank, g in enumerate(best))
    at_hits = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(len(top)) if hits[rank]]
    return {
        "ndcg": dcg / ideal,
        "recall": sum(hits) / len(worth),
        "recall_min": sum(hits) / min(k, len(worth)),
        "precision": sum(hits) / k,
        "map": sum(at_hits) / min(k, len(worth)),
        "mrr": 1 / (hits.index(True) + 1) if any(hits) else 0,
        "hit_rate": float(any(hits)),
    }


requests = st.lists(
    st.tuples(
        st.lists(st.integers(0, 9), unique=True, max_size=8),
        st.dictionaries(st.integers(0, 9), st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=1),
    ),
    min_size=1,
    max_size=6,
)


@given(requests, st.integers(1, 10))
def test_every_metric_agrees_with_the_textbook(
    batch: list[tuple[list[int], Relevant]], k: int
) -> None:
    found = measured([items for items, _ in batch], [worth for _, worth in batch], k)
    for row, (items, worth) in enumerate(batch):
        expected = twin(items, worth, k)
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected)


@given(requests, st.integers(1, 10))
def test_every_metric_lies_between_0_and_1(batch: list[tuple[list[int], Relevant]], k: int) -> None:
    found = measured([items for items, _ in batch], [worth for _, worth in batch], k)
    for values in found.values():
        assert min(values) >= 0
        assert max(values) <= 1 + 1e-12


@given(st.dictionaries(st.integers(0, 9), st.floats(0.1, 4), min_size=1), st.integers(1, 12))
def test_the_ideal_list_has_an_ndcg_of_1(worth: Relevant, k: int) -> None:
    best = sorted(worth, key=lambda item: -worth[item])
    assert one(best, worth, k)["ndcg"] == pytest.approx(1)


def test_one_list_by_hand() -> None:
    found = one([7, 3, 9, 1, 5], [3, 1, 2], 5)
    assert found == pytest.approx(
        {
            "ndcg": (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / log2(4)),
            "recall": 2 / 3,
            "recall_min": 2 / 3,
            "precision": 2 / 5,
            "map": (1 / 2 + 2 / 4) / 3,
            "mrr": 1 / 2,
            "hit_rate": 1,
        }
    )


def test_the_ideal_list_contains_items_that_were_not_found() -> None:
    found = one([0, 90, 91, 92, 93], list(range(20)), 5)
    assert found["ndcg"] == pytest.approx(0.339, abs=0.0005)


def test_recalls_differ_with_more_relevant_items_than_places() -> None:
    found = one([0, 1, 90, 91], list(range(8)), 4)
    assert (found["recall"], found["recall_min"]) == (2 / 8, 2 / 4)


def test_a_short_list_still_divides_by_k() -> None:
    found = one([0, 1], [0, 1, 2, 3], 10)
    assert found["precision"] == 2 / 10
    assert found["recall"] == found["recall_min"] == 2 / 4
    assert found["map"] == pytest.approx(2 / 4)


def test_an_empty_list_scores_0() -> None:
    assert set(one([], [1], 3).values()) == {0}


def test_items_below_k_do_not_count() -> None:
    assert set(one([8, 9, 1], [1], 2).values()) == {0}


def test_graded_gains_put_the_better_item_first() -> None:
    worth = {1: 1.0, 2: 3.0}
    assert one([2, 1], worth, 2)["ndcg"] == pytest.approx(1)
    swapped = (1 + 7 / log2(3)) / (7 + 1 / log2(3))
    assert one([1, 2], worth, 2)["ndcg"] == pytest.approx(swapped)


def test_map_divides_by_the_relevant_items_that_fit_the_list() -> None:
    assert one([0, 1, 2], list(range(10)), 3)["map"] == pytest.approx(1)
    assert one([0, 9, 1], [0, 1], 3)["map"] == pytest.approx((1 + 2 / 3) / 2)


def test_the_order_of_relevant_items_does_not_matter() -> None:
    items = [4, 2, 8]
    assert one(items, {8: 1.0, 2: 2.0, 5: 3.0}, 3) == one(items, {5: 3.0, 8: 1.0, 2: 2.0}, 3)


def test_requests_do_not_share_relevant_items() -> None:
    found = measured([[1], [2]], [{2: 1.0}, {1: 1.0}], 1)
    assert found["hit_rate"] == [0, 0]


def test_k_can_exceed_all_listed_and_relevant_items() -> None:
    assert one([1], [1], 50)["ndcg"] == 1


def test_no_requests_have_no_values() -> None:
    found, ideal = gains_of(Candidates.none(0), Ragged.of([]), np.empty(0, np.float32), 5)
    assert metrics.precision(found, ideal).shape == (0,)


def test_a_request_without_relevant_items_is_rejected() -> None:
    truth: Any = Ragged.of([[1], []])
    with pytest.raises(
        ValueError, match="has no relevant item: leave such requests out and report"
    ):
        gains_of(lists_of([[1], [1]]), truth, np.ones(1, np.float32), 5)
