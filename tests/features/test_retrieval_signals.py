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
"""Two sources, three requests: source a's list is five deep in the first, source b's four."""

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

Told = Callable[..., dict[str, list[float]]]


@pytest.fixture
def told(
    make_inventory: Callable[..., Inventory], make_requests: Callable[..., Requests], now: int
) -> Told:
    def of(
        found: Candidates, sources: tuple[str, ...] = ("a", "b"), entries: list[int] | None = None
    ) -> dict[str, list[float]]:
        asked = make_requests([[]] * len(found), [now] * len(found))
        chosen = None if entries is None else np.array(entries)
        built = FeatureSet([RetrievalSignals(sources)]).build(
            asked, found, make_inventory(), {}, chosen
        )
        return dict(zip(built.names, built.values.T.tolist()))

    return of


@pytest.mark.parametrize("column", BY_HAND)
def test_a_column_is_what_the_hand_computes(told: Told, column: str) -> None:
    assert list(told(FOUND)) == list(BY_HAND)
    assert told(FOUND)[column] == pytest.approx(BY_HAND[column], rel=1e-6, nan_ok=True)


def test_some_candidates_are_described_as_they_stand_among_all(told: Told) -> None:
    whole, some = told(FOUND), told(FOUND, entries=[1, 2, 4])
    for column, values in some.items():
        assert str(values) == str([whole[column][entry] for entry in (1, 2, 4)])


def test_a_source_that_was_not_asked_found_nothing(told: Told) -> None:
    alone = told(FOUND, sources=("a", "c", "b"))
    assert alone["c_found"] == alone["c_percentile"] == [0, 0, 0, 0, 0]
    assert all(isnan(value) for value in alone["c_rank"] + alone["c_score"])
    assert str(alone["b_rank"]) == str(told(FOUND)["b_rank"])
    assert alone["found_by"] == BY_HAND["found_by"]


def test_scores_in_other_units_tell_the_same(told: Told) -> None:
    scaled = replace(FOUND, source_score=FOUND.source_score * np.float32(1024) + np.float32(4096))
    assert str(told(scaled)) == str(told(FOUND))


def test_where_all_scores_are_equal_all_are_the_best(told: Told) -> None:
    equal = replace(FOUND, source_score=np.where(FOUND.source_rank >= 0, 2, nan).astype("f4"))
    assert [score for score in told(equal)["a_score"] if not isnan(score)] == [1, 1, 1, 1]


def test_what_is_found_for_another_request_changes_nothing(told: Told) -> None:
    whole, alone = told(FOUND), told(FOUND.take(np.array([2])))
    assert str({name: values[-1:] for name, values in whole.items()}) == str(alone)


@pytest.mark.parametrize("column", ["a_rank", "a_score"])
def test_the_order_of_a_source_can_be_reproduced(told: Told, column: str) -> None:
    """By its rank as by its score: what learns from these columns can do no worse."""
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
    values = np.array(told(found, sources=("a",))[column])
    order = np.argsort(values if column == "a_rank" else -values, kind="stable")
    assert order.tolist() == np.argsort(rank).tolist()
