from collections.abc import Callable
from math import isnan, log, log1p

import pytest

from tastemaker.features.popularity import Popularity
from tastemaker.inventory import Inventory

Describe = Callable[..., dict[str, list[float]]]
KINDS = ("view", "buy", "hide")
DAY = 24.0

LOG = [
    *[(0, 0.5, "view"), (0, 2, "view"), (0, 3, "hide"), (0, 25, "buy")],
    *[(0, 8 * DAY, "view"), (0, 31 * DAY, "view")],
    (1, 10, "view"),
]
"""Item 0: six events, five of them likes; item 1: one like; no events of other items."""

BY_HAND = {
    "item_likes_1h": log1p(1),
    "item_likes_24h": log1p(2),
    "item_likes_7d": log1p(3),
    "item_likes_30d": log1p(4),
    "item_likes_all": log1p(5),
    # per hour against the longer window, five events at the longer window's pace added to both
    "item_trend_1h": log((1 + 5 / 24) / ((2 + 5) / 24)),
    "item_trend_24h": log((2 + 5 / 7) / ((3 + 5) / 7)),
    "item_trend_7d": log((3 + 5 * 7 / 30) / ((4 + 5) * 7 / 30)),
    "item_share_7d": log((3 + 1) / (4 + 1)),
    "item_share_all": log((5 + 1) / (6 + 1)),
    # twenty events of the average item are added, ten likes and ten others to the average
    "item_like_rate": (5 + 20 * (6 + 10) / (7 + 20)) / (6 + 20),
    "item_like_rate_30d": (4 + 20 * (5 + 10) / (6 + 20)) / (5 + 20),
    "item_age": log1p(31 * DAY),
    "item_idle": log1p(0.5),
    "item_rate_view": (4 + 20 * (5 + 10) / (7 + 20)) / (6 + 20),
    "item_rate_buy": (1 + 20 * (1 + 10) / (7 + 20)) / (6 + 20),
    "item_rate_hide": (1 + 20 * (1 + 10) / (7 + 20)) / (6 + 20),
}


@pytest.mark.parametrize("column", BY_HAND)
def test_a_column_equals_the_value_computed_by_hand(describe: Describe, column: str) -> None:
    result = describe(Popularity(KINDS), [0], log=LOG)
    assert list(result) == list(BY_HAND)
    assert result[column] == pytest.approx([BY_HAND[column]], rel=1e-6)


def test_one_like_of_one_event_does_not_outrank_900_of_1000(describe: Describe) -> None:
    seasoned = [(0, 1 + i / 1000, "view" if i < 900 else "hide") for i in range(1000)]
    result = describe(Popularity(KINDS), [0, 1], log=[*seasoned, (1, 1, "view")])
    for rate in ("item_like_rate", "item_like_rate_30d", "item_rate_view"):
        assert result[rate][0] > result[rate][1]


def test_many_events_outweigh_the_average(describe: Describe) -> None:
    liked = [(0, 1 + i / 1000, "view") for i in range(1000)]
    result = describe(Popularity(KINDS), [0, 1], log=[*liked, *[(1, 2, "hide")] * 1000])
    assert result["item_like_rate"] == pytest.approx([1, 0], abs=0.02)


def test_an_event_at_the_request_time_does_not_count(describe: Describe) -> None:
    before = describe(Popularity(KINDS), [0, 1], log=LOG, hours_ago=0.5)
    without = [row for row in LOG if row[1] > 0.5]
    assert before == describe(Popularity(KINDS), [0, 1], log=without, hours_ago=0.5)
    assert before["item_likes_1h"][0] == 0


def test_later_events_change_nothing(describe: Describe) -> None:
    early = describe(Popularity(KINDS), [0, 1], log=LOG, hours_ago=20)
    later = [row for row in LOG if row[1] > 20]
    assert str(early) == str(describe(Popularity(KINDS), [0, 1], log=later, hours_ago=20))


def test_an_event_as_old_as_a_window_still_counts(describe: Describe) -> None:
    result = describe(Popularity(KINDS), [0], log=[(0, 1, "view"), (0, 7 * DAY, "view")])
    assert result["item_likes_1h"] == pytest.approx([log1p(1)])
    assert result["item_likes_7d"] == pytest.approx([log1p(2)])


def test_an_item_with_more_recent_likes_has_a_trend(describe: Describe) -> None:
    rising = [(0, 0.5, "view")] * 10
    steady = [(1, hour + 0.5, "view") for hour in range(24)]
    result = describe(Popularity(KINDS), [0, 1, 2], log=[*rising, *steady])
    assert result["item_trend_1h"][0] > 1
    assert result["item_trend_1h"][1:] == pytest.approx([0, 0], abs=1e-6)


def test_an_item_without_events_has_no_age_and_the_average_rate(describe: Describe) -> None:
    result = describe(Popularity(KINDS), [3], log=LOG)
    assert isnan(result["item_age"][0])
    assert isnan(result["item_idle"][0])
    assert result["item_like_rate"] == pytest.approx([(6 + 10) / (7 + 20)])
    assert result["item_likes_all"] == [0]


def test_without_any_event_only_ages_are_missing(describe: Describe) -> None:
    result = describe(Popularity(KINDS), [0])
    missing = [name for name, values in result.items() if isnan(values[0])]
    assert missing == ["item_age", "item_idle"]


def test_an_item_added_later_is_described_like_one_without_events(
    describe: Describe, make_inventory: Callable[..., Inventory]
) -> None:
    result = describe(Popularity(KINDS), [3, 5], inventory=make_inventory(LOG).with_items(["new"]))
    assert all(str(old) == str(new) for old, new in result.values())


def test_a_single_event_type_has_no_rate_feature() -> None:
    assert not [name for name in Popularity(("view",)).columns if name.startswith("item_rate_")]
