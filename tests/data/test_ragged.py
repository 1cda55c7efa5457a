import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.ragged import Ragged, offsets_of, ranges, rows_of

ragged_rows = st.lists(st.lists(st.integers(-1, 2**31 - 1), max_size=6), max_size=12)


@given(ragged_rows)
def test_rows_come_back_as_they_were_packed(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert len(ragged) == len(rows)
    assert [ragged[i].tolist() for i in range(len(rows))] == rows
    assert ragged.counts.tolist() == [len(row) for row in rows]
    assert ragged.values.dtype == np.int32
    assert ragged.offsets.dtype == np.int64


@given(ragged_rows, st.data())
def test_take_repeats_and_reorders_rows(rows: list[list[int]], data: st.DataObject) -> None:
    selected = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    taken = Ragged.of(rows).take(np.array(selected, np.int64))
    assert [taken[i].tolist() for i in range(len(taken))] == [rows[i] for i in selected]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=10))
def test_ranges_agree_with_a_loop(pairs: list[tuple[int, int]]) -> None:
    starts, counts = np.array(pairs, np.int64).reshape(-1, 2).T
    expected = [start + i for start, count in pairs for i in range(count)]
    assert ranges(starts, counts).tolist() == expected


@given(st.lists(st.integers(0, 5), max_size=10))
def test_every_entry_knows_its_row(counts: list[int]) -> None:
    expected = [row for row, count in enumerate(counts) for _ in range(count)]
    assert rows_of(offsets_of(counts)).tolist() == expected


def test_no_rows_are_supported() -> None:
    empty = Ragged.of([])
    assert len(empty) == 0
    assert empty.values.dtype == np.int32
    assert len(empty.take(np.empty(0, np.int64))) == 0


def test_offsets_do_not_overflow_small_counts() -> None:
    assert offsets_of(np.full(3, 200, np.uint8)).tolist() == [0, 200, 400, 600]
