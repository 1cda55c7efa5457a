from collections.abc import Callable
from math import isnan, log1p, nan

import numpy as np
import pytest

from tastemaker.data.catalogue import NO_TIME, NumberColumn, TimeColumn
from tastemaker.data.times import MICROSECONDS
from tastemaker.features.attributes import Attributes
from tastemaker.inventory import Inventory

Describe = Callable[..., dict[str, list[float]]]
FAMILY = Attributes(("price",), ("published",))


@pytest.fixture
def columns(now: int) -> dict[str, NumberColumn]:
    """Published two hours ago, just now, in an hour, at an unknown time, a day ago."""
    hour = MICROSECONDS["h"]
    published = [now - 2 * hour, now, now + hour, NO_TIME, now - 24 * hour]
    return {
        "price": NumberColumn(np.array([9.5, -1.0, 0.0, nan, 3.0])),
        "published": TimeColumn(np.array(published, np.int64)),
    }


def test_numbers_are_unchanged_and_can_be_missing(
    describe: Describe, columns: dict[str, NumberColumn]
) -> None:
    result = describe(FAMILY, [0, 1, 2, 3], columns=columns)["catalogue_price"]
    assert result[:3] == [9.5, -1.0, 0.0]
    assert isnan(result[3])


def test_an_age_is_measured_at_the_request_time(
    describe: Describe, columns: dict[str, NumberColumn]
) -> None:
    result = describe(FAMILY, [0, 1, 4], columns=columns)["catalogue_published_age"]
    assert result == pytest.approx([log1p(2), 0, log1p(24)])
    replayed = describe(FAMILY, [0, 4], columns=columns, hours_ago=1)["catalogue_published_age"]
    assert replayed == pytest.approx([log1p(1), log1p(23)])


def test_future_and_unknown_times_have_no_age(
    describe: Describe, columns: dict[str, NumberColumn]
) -> None:
    assert np.isnan(describe(FAMILY, [2, 3], columns=columns)["catalogue_published_age"]).all()
    early = describe(FAMILY, [0], columns=columns, hours_ago=3)["catalogue_published_age"]
    assert isnan(early[0])


def test_an_item_added_without_attributes_has_none(
    describe: Describe, columns: dict[str, NumberColumn], make_inventory: Callable[..., Inventory]
) -> None:
    inventory = make_inventory(columns=columns).with_items(["new"], {})
    result = describe(FAMILY, [5], inventory=inventory)
    assert all(isnan(values[0]) for values in result.values())


def test_a_very_large_number_is_accepted(describe: Describe) -> None:
    result = describe(
        Attributes(("size",), ()), [0], columns={"size": NumberColumn(np.full(5, 9e9))}
    )
    assert result["catalogue_size"] == pytest.approx([9e9])
