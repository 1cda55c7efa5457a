from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.candidates import Candidates

Row = list[tuple[int, float]]
some_rows = st.lists(
    st.lists(
        st.tuples(st.integers(0, 99), st.floats(-9, 9, width=32)),
        max_size=6,
        unique_by=lambda pair: pair[0],
    ),
    max_size=8,
)


def packed(rows: list[Row]) -> Candidates:
    return Candidates.of([([i for i, _ in row], [s for _, s in row]) for row in rows])


def unpacked(candidates: Candidates) -> list[Row]:
    pairs = list(zip(candidates.item.tolist(), candidates.score.tolist()))
    return [pairs[a:b] for a, b in zip(candidates.offsets, candidates.offsets[1:])]


@given(some_rows)
def test_rows_come_back_in_their_order(rows: list[Row]) -> None:
    candidates = packed(rows)
    assert unpacked(candidates) == rows
    assert [candidates[i].tolist() for i in range(len(rows))] == [[i for i, _ in r] for r in rows]
    assert (candidates.item.dtype, candidates.score.dtype) == (np.int32, np.float32)


@given(some_rows)
def test_rows_and_ranks_place_every_candidate(rows: list[Row]) -> None:
    candidates = packed(rows)
    expected = [(row, rank) for row, pairs in enumerate(rows) for rank in range(len(pairs))]
    assert list(zip(candidates.rows.tolist(), candidates.ranks.tolist())) == expected


@given(some_rows, st.integers(0, 7))
def test_head_keeps_the_first_of_each_request(rows: list[Row], n: int) -> None:
    assert unpacked(packed(rows).head(n)) == [row[:n] for row in rows]


@given(some_rows)
def test_where_removes_and_keeps_the_order(rows: list[Row]) -> None:
    candidates = packed(rows)
    kept = candidates.where(candidates.item % 2 == 0)
    assert unpacked(kept) == [[pair for pair in row if pair[0] % 2 == 0] for row in rows]


@given(some_rows, st.data())
def test_take_returns_the_given_requests(rows: list[Row], data: st.DataObject) -> None:
    selected = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5)) if rows else []
    taken = packed(rows).take(np.array(selected, np.int64))
    assert unpacked(taken) == [rows[i] for i in selected]


@pytest.mark.parametrize("n", [0, 3])
def test_no_candidates_give_an_empty_row_per_request(n: int) -> None:
    nothing = Candidates.none(n)
    assert len(nothing) == n
    assert nothing.counts.tolist() == [0] * n
    assert unpacked(nothing.head(5)) == [[]] * n


def test_the_columns_of_the_sources_follow_their_candidates() -> None:
    merged = replace(
        packed([[(7, 3.0), (8, 2.0), (9, 1.0)], [(5, 1.0)]]),
        sources=("als", "popular"),
        source_rank=np.array([[0, -1], [1, 0], [2, 1], [-1, 0]], np.int16),
        source_score=np.array([[3, np.nan], [2, 8], [1, 7], [np.nan, 9]], np.float32),
    )
    assert merged.where(merged.item != 8).source_rank.tolist() == [[0, -1], [2, 1], [-1, 0]]
    assert merged.head(1).source_rank.tolist() == [[0, -1], [-1, 0]]
    turned = merged.take(np.array([1, 0]))
    np.testing.assert_array_equal(turned.source_score[0], [np.nan, 9])
    assert turned.sources == ("als", "popular")


def test_a_list_is_followed_by_more_items_with_its_lowest_score() -> None:
    first = replace(
        packed([[(7, 3.0), (8, 2.0)], [], [(5, 1.0)]]),
        sources=("als", "popular"),
        source_rank=np.array([[0, -1], [1, 0], [-1, 0]], np.int16),
        source_score=np.array([[3, np.nan], [2, 8], [np.nan, 9]], np.float32),
        columns={"price": np.array([1.0, 2.0, 3.0]), "slot": np.array([4, 5, 6], np.int16)},
    )
    more = replace(
        packed([[(1, 90.0)], [(2, 80.0), (3, 70.0)], []]),
        sources=("popular", "unknown"),
        source_rank=np.array([[4, 0], [5, 1], [6, 2]], np.int16),
        source_score=np.array([[90, 0], [80, 0], [70, 0]], np.float32),
    )
    assert first.lowest.tolist() == [2, 0, 1]
    joined = first.followed_by(more)
    assert unpacked(joined) == [[(7, 3.0), (8, 2.0), (1, 2.0)], [(2, 0.0), (3, 0.0)], [(5, 1.0)]]
    assert joined.sources == ("als", "popular")
    expected = [[0, -1], [1, 0], [-1, 4], [-1, 5], [-1, 6], [-1, 0]]
    assert joined.source_rank.tolist() == expected
    np.testing.assert_array_equal(joined.source_score[2], [np.nan, 90])
    np.testing.assert_array_equal(joined.columns["price"], [1, 2, np.nan, np.nan, np.nan, 3])
    assert joined.columns["slot"].tolist() == [4, 5, -1, -1, -1, 6]
    assert joined.columns["slot"].dtype == np.int16


def test_appending_no_items_does_not_change_the_lists() -> None:
    plain = packed([[(7, 3.0)], []])
    assert unpacked(plain.followed_by(Candidates.none(2))) == unpacked(plain)
    assert unpacked(Candidates.none(2).followed_by(plain)) == [[(7, 0.0)], []]
