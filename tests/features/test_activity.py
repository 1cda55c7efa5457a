from collections.abc import Callable
from math import isnan, log1p

import pytest

from tastemaker.features.activity import Activity

Describe = Callable[..., dict[str, list[float]]]
MINUTE = 1 / 60
DAY = 24.0

HISTORY = [
    *[(1, 10 * DAY, 1.0), (0, 2 * DAY, -1.0), (1, 20, 6.0)],
    *[(2, 55 * MINUTE, 1.0), (2, 30 * MINUTE, 0.0), (0, 5 * MINUTE, 1.0)],
]
LOG = [(1, 9, "view"), (1, 8, "view"), (2, 7, "view"), (0, 6, "hide")]

BY_HAND = {
    "user_events": log1p(6),
    "user_likes": log1p(4),
    "user_like_rate": (4 + 1) / (6 + 2),
    "user_events_1h": log1p(3),
    "user_events_24h": log1p(4),
    "user_events_7d": log1p(5),
    "user_idle": log1p(5 * MINUTE),
    "user_age": log1p(10 * DAY),
    "user_session_events": log1p(3),
    "user_popularity": (2 * log1p(2) + log1p(1) + log1p(0)) / 4,
    "popularity_gap": log1p(2) - (2 * log1p(2) + log1p(1) + log1p(0)) / 4,
}


@pytest.mark.parametrize("column", BY_HAND)
def test_a_column_equals_the_value_computed_by_hand(describe: Describe, column: str) -> None:
    result = describe(Activity(), [1], log=LOG, history=HISTORY)
    assert list(result) == list(BY_HAND)
    assert result[column] == pytest.approx([BY_HAND[column]], rel=1e-6)


def test_user_features_are_the_same_for_all_candidates(describe: Describe) -> None:
    result = describe(Activity(), [0, 1, 2], log=LOG, history=HISTORY)
    for column in [name for name in result if name != "popularity_gap"]:
        assert len(set(result[column])) == 1
    gap = result["popularity_gap"]
    assert gap[1] - gap[0] == pytest.approx(log1p(2))
    assert gap[2] - gap[0] == pytest.approx(log1p(1))


@pytest.mark.parametrize(
    ("minutes_ago", "events"),
    [
        ([5], 1),
        ([30], 1),  # a pause of exactly half an hour
        ([30.1], 0),
        ([60, 35, 10], 3),
        ([60, 10], 1),  # a gap over the timeout began a new session
        ([70, 69, 35, 10], 2),
    ],
)
def test_a_pause_of_half_an_hour_ends_a_session(
    describe: Describe, minutes_ago: list[float], events: int
) -> None:
    result = describe(Activity(), [0], history=[(0, m * MINUTE, 1.0) for m in minutes_ago])
    assert result["user_session_events"] == pytest.approx([log1p(events)])


def test_two_events_of_one_session_lengthen_it(describe: Describe) -> None:
    lengths = [
        describe(Activity(), [0], history=[(0, m * MINUTE, 1.0) for m in minutes])
        for minutes in ([5], [5, 9])
    ]
    assert lengths[0]["user_session_events"] < lengths[1]["user_session_events"]


def test_an_event_as_old_as_a_window_still_counts(describe: Describe) -> None:
    result = describe(Activity(), [0], history=[(0, 1, 1.0), (0, 1.001, 1.0)])
    assert result["user_events_1h"] == pytest.approx([log1p(1)])


def test_popularity_is_counted_up_to_the_request_time(describe: Describe) -> None:
    result = describe(Activity(), [1], log=LOG, history=HISTORY[:3], hours_ago=8)
    assert result["user_popularity"] == pytest.approx([log1p(1)])
    assert result["popularity_gap"] == pytest.approx([0])


def test_without_a_history_only_counts_are_known(describe: Describe) -> None:
    result = describe(Activity(), [1], log=LOG)
    missing = [name for name, values in result.items() if isnan(values[0])]
    assert missing == ["user_idle", "user_age", "user_popularity", "popularity_gap"]
    assert result["user_like_rate"] == [0.5]
    assert result["user_events"] == result["user_session_events"] == [0]


def test_a_like_of_an_unknown_item_counts_with_popularity_zero(describe: Describe) -> None:
    result = describe(Activity(), [1], log=LOG, history=[(-1, 2, 1.0), (1, 1, 1.0)])
    assert result["user_likes"] == pytest.approx([log1p(2)])
    assert result["user_popularity"] == pytest.approx([log1p(2) / 2])


def test_user_popularity_uses_the_latest_fifty_likes(describe: Describe) -> None:
    history = [(1, 100.0 + i, 1.0) for i in range(30)] + [(2, 1.0 + i, 1.0) for i in range(50)]
    result = describe(Activity(), [1], log=LOG, history=history)
    assert result["user_popularity"] == pytest.approx([log1p(1)])
    assert result["user_likes"] == pytest.approx([log1p(80)])
