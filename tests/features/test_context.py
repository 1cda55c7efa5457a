from collections.abc import Callable
from math import dist

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.component import Features
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.data.times import MICROSECONDS
from tastemaker.features import FeatureSet
from tastemaker.features.context import Context
from tastemaker.inventory import Inventory

HOUR, DAY = MICROSECONDS["h"], MICROSECONDS["d"]
MONDAY = 1_700_438_400 * MICROSECONDS["s"]  # 2023-11-20, 0h UTC

Compute = Callable[[list[int]], NDArray[np.float32]]


@pytest.fixture
def compute(
    make_inventory: Callable[..., Inventory],
    make_requests: Callable[..., Requests],
    make_found: Callable[..., Candidates],
) -> Compute:
    """A function from times to [sine, cosine, weekday], one row per time."""

    def at(times: list[int]) -> NDArray[np.float32]:
        requests = make_requests([[]] * len(times), times)
        found = make_found([[0]] * len(times))
        built: Features = FeatureSet([Context()]).build(requests, found, make_inventory(), {})
        return built.values

    return at


def test_hours_lie_on_a_circle(compute: Compute) -> None:
    circle = compute([MONDAY, MONDAY + 6 * HOUR, MONDAY + 12 * HOUR, MONDAY + 18 * HOUR])[:, :2]
    np.testing.assert_allclose(circle, [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-6)


def test_23h_and_0h_are_as_close_as_any_adjacent_hours(compute: Compute) -> None:
    circle = compute([MONDAY + hour * HOUR for hour in (23, 24, 25)])[:, :2].tolist()
    assert dist(circle[0], circle[1]) == pytest.approx(dist(circle[1], circle[2]), rel=1e-5)
    assert dist(circle[0], circle[1]) < 0.27


def test_weekdays_are_counted_from_monday(compute: Compute) -> None:
    weekdays = compute([MONDAY + day * DAY for day in range(8)])[:, 2]
    assert weekdays.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_a_day_ends_at_midnight(compute: Compute) -> None:
    assert compute([MONDAY + DAY - 1, MONDAY + DAY])[:, 2].tolist() == [0, 1]


def test_times_before_1970_have_a_weekday_and_an_hour(compute: Compute) -> None:
    sine, cosine, weekday = compute([-HOUR])[0].tolist()
    assert weekday == 2  # a Wednesday
    assert sine < 0 < cosine
