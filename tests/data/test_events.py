import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.events import Events, Histories, Reduce, Role, reduce_events
from tastemaker.data.ragged import offsets_of

N_ROWS, N_ITEMS = 4, 5
entries = st.lists(
    st.tuples(
        st.integers(0, N_ROWS - 1),
        st.integers(0, N_ITEMS - 1),
        st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]),
    ),
    max_size=30,
).map(lambda drawn: sorted(drawn, key=lambda entry: entry[0]))


def slow_twin(log: list[tuple[int, int, float]], role: Role, reduce: Reduce) -> np.ndarray:
    total = np.zeros((N_ROWS, N_ITEMS))
    for row, item, weight in log:
        if (weight > 0) if role == "positive" else (weight < 0):
            total[row, item] += abs(weight)
    if reduce == "log":
        return np.log2(1 + total)
    return (total > 0).astype(float) if reduce == "binary" else total


@given(
    entries, st.sampled_from(["positive", "negative"]), st.sampled_from(["sum", "binary", "log"])
)
def test_reduced_events_agree_with_a_loop(
    log: list[tuple[int, int, float]], role: Role, reduce: Reduce
) -> None:
    rows = np.array([row for row, _, _ in log], np.int32)
    items = np.array([item for _, item, _ in log], np.int32)
    weights = np.array([weight for _, _, weight in log], np.float32)
    shape = (N_ROWS, N_ITEMS)
    matrix = reduce_events(rows, items, weights, shape, role=role, reduce=reduce)
    expected = slow_twin(log, role, reduce)
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-6)
    assert matrix.nnz == np.count_nonzero(expected)
    assert matrix.has_canonical_format
    assert matrix.dtype == np.float32


def test_likes_and_dislikes_are_never_mixed() -> None:
    log = np.array([0, 0]), np.array([1, 1], np.int32), np.array([3, -1], np.float32)
    liked = reduce_events(*log, (1, 2), role="positive", reduce="sum")
    disliked = reduce_events(*log, (1, 2), role="negative", reduce="sum")
    assert liked.toarray().tolist() == [[0, 3]]
    assert disliked.toarray().tolist() == [[0, 1]]


def test_reducing_does_not_change_the_events() -> None:
    rows, items = np.zeros(3, np.int32), np.array([2, 0, 2], np.int32)
    weights = np.array([1, 2, 3], np.float32)
    reduce_events(rows, items, weights, (1, 3), role="positive", reduce="binary")
    assert items.tolist() == [2, 0, 2]
    assert weights.tolist() == [1, 2, 3]


def log_of(counts: list[int]) -> Events:
    total = sum(counts)
    return Events(
        offsets_of(counts),
        np.repeat(np.arange(len(counts)), counts).astype(np.int32),
        np.arange(total, dtype=np.int32),
        np.zeros(total, np.int8),
        np.full(total, np.nan, np.float32),
        np.ones(total, np.float32),
        np.arange(total),
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(1, 3))
def test_narrowed_events_stay_with_their_users(counts: list[int], step: int) -> None:
    log = log_of(counts)
    kept = log.where(log.item % step == 0)
    assert len(kept.offsets) == len(log.offsets)
    for user in range(len(counts)):
        mine = log.item[log.offsets[user] : log.offsets[user + 1]]
        left = kept.item[kept.offsets[user] : kept.offsets[user + 1]]
        assert left.tolist() == mine[mine % step == 0].tolist()
    assert np.repeat(np.arange(len(counts)), np.diff(kept.offsets)).tolist() == kept.user.tolist()


@pytest.mark.parametrize(("n_items", "expected"), [(3, [[1, 0, 0], [0, 0, 2]]), (1, [[1], [0]])])
def test_unknown_and_added_items_are_left_out_of_interactions(
    n_items: int, expected: list[list[float]]
) -> None:
    item = np.array([-1, 0, 3, 2], np.int32)
    nothing = np.zeros(4, np.int8), np.zeros(4, np.float32)
    weight = np.array([1, 1, 1, 2], np.float32)
    histories = Histories(np.array([0, 2, 4]), item, *nothing, weight, np.zeros(4, np.int64))
    assert histories.interactions(n_items).toarray().tolist() == expected
