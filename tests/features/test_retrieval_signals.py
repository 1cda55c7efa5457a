from collections.abc import Callable
from dataclasses import replace
from math import isnan, log1p, nan

import numpy as np
import pytest

from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import offsets_of
from tastemaker.data.requests import Requests
from tastemaker.features import FeatureSet
from tastemaker.features.retrieval_signals import RetrievalSignals
from tastemaker.inventory import Inventory

FOUND = Candidates(
    offsets_of([4, 0, 1]),
    np.array([7, 3, 9, 1, 2], np.int32),
    np.array([0.9, 0.5, 0.25, 0.125, 1.0], np.float32),
    ("a", "b"),
    np.array([[0, 3], [2, -1], [4, 0], [-1, 1], [5, -1]], np.int16),
    np.array([[8, 1], [5, nan], [4, 3], [nan, 3], [0.5, nan]], np.float32),
)
"""Two sources, three requests; in the first, the deepest ranks are 4 (a) and 3 (b)."""

BY_HAND = {
    "a_rank": [0, log1p(2), log1p(4), nan, log1p(5)],
    "a_percentile": [1, 1 - 2 / 5, 1 - 4 / 5, 0, 1 - 5 / 6],
    "a_found": [1, 1, 1, 0, 1],
    "a_score": [1, 1 / 4, 0, nan, 1],
    "b_rank": [log1p(3), nan, 0, log1p(1), nan],
    "b_percentile": [1 - 3 / 4, 0, 1, 1 - 1 / 4, 0],
    "b_found": [1, 0, 1, 1, 0],
    "b_score": [0, nan, 1, 1, nan],
    "fused_score": [0.9, 0.5, 0.25, 0.125, 1.0],
    "found_by": [2, 1, 2, 1, 1],
}

Compute = Callable[..., dict[str, list[float]]]


@pytest.fixture
def compute(
    make_inventory: Callable[..., Inventory], make_requests: Callable[..., Requests], now: int
) -> Compute:
    def of(
        found: Candidates, sources: tuple[str, ...] = ("a", "b"), entries: list[int] | None = None
    ) -> dict[str, list[float]]:
        requests = make_requests([[]] * len(found), [now] * len(found))
        chosen = None if entries is None else np.array(entries)
        built = FeatureSet([RetrievalSignals(sources)]).build(
            requests, found, make_inventory(), {}, chosen
        )
        return dict(zip(built.names, built.values.T.tolist()))

    return of


@pytest.mark.parametrize("column", BY_HAND)
def test_a_column_equals_the_value_computed_by_hand(compute: Compute, column: str) -> None:
    assert list(compute(FOUND)) == list(BY_HAND)
    assert compute(FOUND)[column] == pytest.approx(BY_HAND[column], rel=1e-6, nan_ok=True)


def test_a_subset_of_candidates_gets_the_same_signals(compute: Compute) -> None:
    whole, some = compute(FOUND), compute(FOUND, entries=[1, 2, 4])
    for column, values in some.items():
        assert str(values) == str([whole[column][entry] for entry in (1, 2, 4)])


def test_a_source_that_was_not_used_found_nothing(compute: Compute) -> None:
    alone = compute(FOUND, sources=("a", "c", "b"))
    assert alone["c_found"] == alone["c_percentile"] == [0, 0, 0, 0, 0]
    assert all(isnan(value) for value in alone["c_rank"] + alone["c_score"])
    assert str(alone["b_rank"]) == str(compute(FOUND)["b_rank"])
    assert alone["found_by"] == BY_HAND["found_by"]


def test_the_units_of_scores_do_not_matter(compute: Compute) -> None:
    scaled = replace(FOUND, source_score=FOUND.source_score * np.float32(1024) + np.float32(4096))
    assert str(compute(scaled)) == str(compute(FOUND))


def test_equal_scores_are_all_the_best(compute: Compute) -> None:
    equal = replace(FOUND, source_score=np.where(FOUND.source_rank >= 0, 2, nan).astype("f4"))
    assert [score for score in compute(equal)["a_score"] if not isnan(score)] == [1, 1, 1, 1]


def test_candidates_of_other_requests_change_nothing(compute: Compute) -> None:
    whole, alone = compute(FOUND), compute(FOUND.take(np.array([2])))
    assert str({name: values[-1:] for name, values in whole.items()}) == str(alone)


@pytest.mark.parametrize("column", ["a_rank", "a_score"])
def test_the_order_of_a_source_can_be_reproduced(compute: Compute, column: str) -> None:
    """Rank and score columns both reproduce it, so a ranker can do at least as well."""
    count = 200
    random = np.random.default_rng(3)
    rank = random.permutation(count).astype(np.int16)
    score = np.sort(random.lognormal(0, 2, count))[::-1][rank].astype(np.float32)
    found = Candidates(
        offsets_of([count]),
        np.arange(count, dtype=np.int32),
        np.ones(count, np.float32),
        ("a",),
        rank[:, None],
        score[:, None],
    )
    values = np.array(compute(found, sources=("a",))[column])
    order = np.argsort(values if column == "a_rank" else -values, kind="stable")
    assert order.tolist() == np.argsort(rank).tolist()
