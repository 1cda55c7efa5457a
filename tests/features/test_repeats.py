from collections.abc import Callable
from math import isnan, log1p

import numpy as np
import pytest

from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.features import FeatureSet
from tastemaker.features.repeats import Repeats
from tastemaker.inventory import Inventory

Describe = Callable[..., dict[str, list[float]]]


def test_events_with_the_same_item_are_counted_and_dated(describe: Describe) -> None:
    history = [(0, 30, 1.0), (1, 20, -1.0), (0, 3, 0.0)]
    result = describe(Repeats(), [0, 1, 2], history=history)
    assert list(result) == ["met", "met_idle"]
    assert result["met"] == pytest.approx([log1p(2), log1p(1), 0])
    assert result["met_idle"][:2] == pytest.approx([log1p(3), log1p(20)])
    assert isnan(result["met_idle"][2])


@pytest.mark.parametrize("seed", range(20))
def test_met_is_positive_exactly_for_seen_pairs(
    seed: int,
    make_inventory: Callable[..., Inventory],
    make_requests: Callable[..., Requests],
    make_found: Callable[..., Candidates],
    now: int,
) -> None:
    random = np.random.default_rng(seed)
    users = [random.integers(-1, 5, random.integers(0, 7)).tolist() for _ in range(6)]
    found = [random.permutation(5)[: random.integers(0, 6)].tolist() for _ in range(6)]
    requests = make_requests([[(item, 1.0, 1.0) for item in user] for user in users], [now] * 6)
    built = FeatureSet([Repeats()]).build(requests, make_found(found), make_inventory(), {})
    expected = [item in set(user) for user, items in zip(users, found) for item in items]
    assert (built.values[:, 0] > 0).tolist() == expected
    assert (~np.isnan(built.values[:, 1])).tolist() == expected


def test_without_a_history_no_item_was_met(describe: Describe) -> None:
    result = describe(Repeats(), [0, 1])
    assert result["met"] == [0, 0]
    assert np.isnan(result["met_idle"]).all()


def test_an_unknown_item_of_the_history_is_ignored(describe: Describe) -> None:
    result = describe(Repeats(), [0, 4], history=[(-1, 2, 1.0), (99, 1, 1.0)])
    assert result["met"] == [0, 0]


def test_an_item_added_later_can_be_met(
    describe: Describe, make_inventory: Callable[..., Inventory]
) -> None:
    result = describe(
        Repeats(), [4, 5], history=[(5, 2, 1.0)], inventory=make_inventory().with_items(["new"])
    )
    assert result["met"] == pytest.approx([0, log1p(1)])
