import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.candidates import Candidates
from tastemaker.reranking.cost import list_cost


def scored(*rows: list[float]) -> Candidates:
    return Candidates.of([(range(len(row)), row) for row in rows])


def test_a_list_of_the_best_scores_costs_nothing() -> None:
    before = scored([3, 2, 1], [], [0.1, 0.1])
    assert list_cost(before, before, 2).tolist() == [0, 0, 0]


def test_a_place_with_a_lower_score_costs_the_difference() -> None:
    assert list_cost(scored([3, 2, 1]), scored([3, 1, 2]), 2).tolist() == [1]
    assert list_cost(scored([3, 2, 1]), scored([3, 1, 2]), 3).tolist() == [0]
    assert list_cost(scored([3, 2, 1]), scored([2]), 3).tolist() == [1]


def test_the_last_reranker_reports_the_cost_of_the_whole_list() -> None:
    assert list_cost(scored([1, 3, 2]), scored([1, 2, 3]), 1).tolist() == [2]


def test_nothing_shown_costs_nothing() -> None:
    for n in (0, -1):
        assert list_cost(scored([3, 2]), scored([2, 3]), n).tolist() == [0]


scores = st.lists(st.floats(-1e3, 1e3, width=32), max_size=8)


@given(st.lists(scores, max_size=4), st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_cost_follows_its_definition(rows: list[list[float]], n: int, random: object) -> None:
    after = [random.sample(row, len(row)) for row in rows]  # type: ignore[attr-defined]
    cost = list_cost(scored(*rows), scored(*after), n)
    for row, best in enumerate(rows):
        expected = sum(sorted(best, reverse=True)[:n]) - sum(after[row][:n])
        assert cost[row] == pytest.approx(expected, rel=1e-5, abs=1e-3)
        assert cost[row] >= 0
        alone = list_cost(scored(best), scored(after[row]), n)
        np.testing.assert_array_equal(cost[row], alone[0])
