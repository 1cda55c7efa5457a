from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Masks, Requests
from tastemaker.filtering import verify

N_ITEMS = 6


def lists(rows: list[list[int]]) -> Candidates:
    return Candidates.of([(items, [10.0 - rank for rank in range(len(items))]) for items in rows])


def requests_excluding(excluded: list[list[int]]) -> Requests:
    return Requests.of([[] for _ in excluded], exclude=excluded)


def kept(rows: list[list[int]], requests: Requests) -> tuple[list[list[int]], list[int]]:
    rest, removed = verify(lists(rows), requests, N_ITEMS)
    return [rest[row].tolist() for row in range(len(rest))], removed.tolist()


batch = st.lists(
    st.tuples(
        st.lists(st.integers(0, N_ITEMS - 1), unique=True),
        st.lists(st.integers(-1, N_ITEMS + 2), unique=True),
    ),
    max_size=5,
)


@given(batch)
def test_excluded_items_are_removed_and_counted(rows: list[tuple[list[int], list[int]]]) -> None:
    found, excluded_items = [items for items, _ in rows], [items for _, items in rows]
    expected = [[i for i in items if i not in gone] for items, gone in zip(found, excluded_items)]
    lost = [len(items) - len(rest) for items, rest in zip(found, expected)]
    assert kept(found, requests_excluding(excluded_items)) == (expected, lost)


def test_unknown_items_do_not_affect_other_requests() -> None:
    requests = Requests.of([[], [-1], [N_ITEMS]])
    assert kept([[5, 0]] * 3, requests) == ([[5, 0]] * 3, [0, 0, 0])


def test_only_eligible_items_remain() -> None:
    mask = Masks(np.array([[True, False, True, False, True, False]]), np.array([0, -1], np.int32))
    requests = replace(requests_excluding([[2], [2]]), eligible=mask)
    assert kept([[0, 1, 2, 3], [0, 1, 2, 3]], requests) == ([[0], [0, 1, 3]], [3, 1])


def test_items_outside_the_catalogue_are_removed() -> None:
    assert kept([[-1, 4, N_ITEMS]], requests_excluding([[]])) == ([[4]], [2])


def test_scores_and_sources_stay_with_their_items() -> None:
    found = Candidates(
        np.array([0, 3]),
        np.array([4, 2, 0], np.int32),
        np.array([0.9, 0.5, 0.1], np.float32),
        ("a", "b"),
        np.array([[0, -1], [1, 0], [-1, 1]], np.int16),
        np.array([[9, np.nan], [5, 7], [np.nan, 1]], np.float32),
    )
    rest, _ = verify(found, requests_excluding([[2]]), N_ITEMS)
    assert rest.item.tolist() == [4, 0]
    assert rest.score.tolist() == found.score[[0, 2]].tolist()
    assert rest.sources == ("a", "b")
    assert rest.source_rank.tolist() == [[0, -1], [-1, 1]]
    np.testing.assert_array_equal(rest.source_score, found.source_score[[0, 2]])


def test_an_empty_batch_is_verified() -> None:
    assert kept([], requests_excluding([])) == ([], [])
