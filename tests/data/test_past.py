from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.dataset import Dataset
from tastemaker.data.past import Past
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import MICROSECONDS

SECOND = MICROSECONDS["s"]
KINDS = {
    "view": EventKind(),
    "impression": EventKind(role="exposure"),
    "rating": EventKind(positive_threshold=4, negative_threshold=2, weight=3),
    "hide": EventKind(role="negative", hide_item=True),
    "buy": EventKind(weight=6),
    "unbuy": EventKind(role="neutral", replaces=("buy", "hide")),
    "order": EventKind(strength="linear"),
}
SCHEMA = Schema(kinds=KINDS)
RULES: list[dict[str, str]] = [
    {},
    {"view": "allow", "buy": "exclude for 3s"},
    {"rating": "exclude for 1s", "view": "exclude for 5s", "impression": "exclude", "buy": "allow"},
]


def logged(rows: list[tuple[int, int, str, float, int]]) -> Dataset:
    """A data set of (user, item, kind, value, second)."""
    user, item, kind, value, second = zip(*rows)
    return Dataset.from_frames(
        pl.DataFrame({
            "user_id": [f"u{n}" for n in user], "item_id": [f"i{n}" for n in item],
            "event_type": kind, "value": value, "timestamp": second,
        }),
        schema=SCHEMA,
    )  # fmt: skip


def past_of(data: Dataset, user: int) -> Past:
    log = data.events
    rows = slice(log.offsets[user], log.offsets[user + 1])
    return Past(log.item[rows], log.kind[rows], log.value[rows], log.time[rows])


def assert_same(one: Requests, other: Requests) -> None:
    """Compares everything but the seed, which live requests do not have."""
    for name in ("offsets", "item", "kind", "value", "weight", "time"):
        left, right = getattr(one.history, name), getattr(other.history, name)
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype, name
    for name in ("offsets", "values"):
        left, right = getattr(one.exclude, name), getattr(other.exclude, name)
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype, name
    np.testing.assert_array_equal(one.time, other.time)
    assert (one.user_id, one.placement) == (other.user_id, other.placement)
    np.testing.assert_array_equal(one.eligible.row, other.eligible.row)
    assert one.eligible.bitmaps.size == other.eligible.bitmaps.size == 0


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 6),
        st.sampled_from(list(KINDS)),
        st.sampled_from([-4.0, -1.0, 1.0, 2.0, 3.5, 4.0, 5.0]),
        st.integers(100, 112),
    ),
    min_size=1,
    max_size=60,
)


@given(
    rows=ROWS,
    moments=st.lists(st.integers(98 * SECOND, 118 * SECOND), min_size=1, max_size=4),
    whole=st.integers(99, 113),
    cap=st.sampled_from([0, 1, 3, 1_000]),
    rules=st.sampled_from(RULES),
)
def test_a_live_request_equals_the_request_from_the_log(
    rows: list[tuple[int, int, str, float, int]],
    moments: list[int],
    whole: int,
    cap: int,
    rules: dict[str, str],
) -> None:
    data, seen = logged(rows), SeenPolicy.of(KINDS, rules)
    about: dict[str, Any] = {"cap": cap, "placement": "home"}
    for user in range(len(data.users)):
        for moment in [*moments, whole * SECOND]:
            request = past_of(data, user).request(
                moment, KINDS, seen, user_id=data.users.id(user), **about
            )
            logs = data.requests(np.array([user]), np.array([moment]), seen=seen, **about)
            assert_same(request, logs)


def test_an_event_at_the_moment_of_the_request_does_not_count_yet() -> None:
    past = past_of(logged([(0, 0, "view", 1.0, 100), (0, 1, "view", 1.0, 101)]), 0)
    seen = SeenPolicy.of(KINDS)
    assert past.request(101 * SECOND, KINDS, seen).history.item.tolist() == [0]
    assert past.request(101 * SECOND + 1, KINDS, seen).history.item.tolist() == [0, 1]


def test_a_rating_at_the_requests_moment_replaces_nothing_yet() -> None:
    past = past_of(logged([(0, 0, "rating", 5.0, 100), (0, 0, "rating", 1.0, 101)]), 0)
    seen = SeenPolicy.of(KINDS)
    assert past.request(101 * SECOND, KINDS, seen).history.weight.tolist() == [3]
    assert past.request(101 * SECOND + 1, KINDS, seen).history.weight.tolist() == [-3]
    assert past.weight(KINDS).tolist() == [0, -3]


def test_ratings_of_unknown_items_all_count() -> None:
    rating = np.full(2, list(KINDS).index("rating"), np.int8)
    past = Past(np.array([-1, -1], np.int32), rating, np.array([5, 1], np.float32), np.arange(2))
    assert past.request(10, KINDS, SeenPolicy.of(KINDS)).history.weight.tolist() == [3, -3]


def test_an_unknown_item_is_in_the_history_and_excludes_no_item() -> None:
    past = Past(
        np.array([-1, 2], np.int32), np.array([0, 0], np.int8),
        np.array([np.nan, np.nan], np.float32), np.array([5, 6]),
    )  # fmt: skip
    request = past.request(10, KINDS, SeenPolicy.of(KINDS))
    assert request.history.item.tolist() == [-1, 2]
    assert request.exclude[0].tolist() == [2]


@pytest.mark.parametrize("moment", [0, 10**18])
def test_an_empty_past_is_an_anonymous_request(moment: int) -> None:
    empty = np.array([], np.int32)
    past = Past(empty, empty.astype(np.int8), empty.astype(np.float32), empty.astype(np.int64))
    request = past.request(moment, KINDS, SeenPolicy.of(KINDS))
    assert len(past) == len(request.history.item) == len(request.exclude[0]) == 0
    assert request.user_id == (None,)
    assert isinstance(request.exclude, Ragged)
