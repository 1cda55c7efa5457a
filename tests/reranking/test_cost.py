import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.candidates import Candidates
from tastemaker.reranking.cost import given_up


def scored(*rows: list[float]) -> Candidates:
    return Candidates.of([(range(len(row)), row) for row in rows])


def test_a_list_of_the_best_scores_costs_nothing() -> None:
    before = scored([3, 2, 1], [], [0.1, 0.1])
    assert given_up(before, before, 2).tolist() == [0, 0, 0]


def test_a_place_that_went_to_a_lower_score_costs_the_difference() -> None:
    assert given_up(scored([3, 2, 1]), scored([3, 1, 2]), 2).tolist() == [1]
    assert given_up(scored([3, 2, 1]), scored([3, 1, 2]), 3).tolist() == [0]
    assert given_up(scored([3, 2, 1]), scored([2]), 3).tolist() == [1]


def test_the_last_of_several_rerankers_is_charged_for_the_whole_list() -> None:
    assert given_up(scored([1, 3, 2]), scored([1, 2, 3]), 1).tolist() == [2]


def test_nothing_shown_costs_nothing() -> None:
    for n in (0, -1):
        assert given_up(scored([3, 2]), scored([2, 3]), n).tolist() == [0]


scores = st.lists(st.floats(-1e3, 1e3, width=32), max_size=8)


@given(st.lists(scores, max_size=4), st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_cost_is_that_of_the_definition(
    rows: list[list[float]], n: int, random: object
) -> None:
    after = [random.sample(row, len(row)) for row in rows]  # type: ignore[attr-defined]
    cost = given_up(scored(*rows), scored(*after), n)
    for row, best in enumerate(rows):
        expected = sum(sorted(best, reverse=True)[:n]) - sum(after[row][:n])
        assert cost[row] == pytest.approx(expected, rel=1e-5, abs=1e-3)
        assert cost[row] >= 0
        alone = given_up(scored(best), scored(after[row]), n)
        np.testing.assert_array_equal(cost[row], alone[0])
