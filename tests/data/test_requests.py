from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.catalogue import NumberColumn
from tastemaker.data.events import Histories
from tastemaker.data.requests import HISTORY_CAP, Masks, Requests


def histories(requests: Requests) -> list[list[int]]:
    offsets = requests.history.offsets
    return [requests.history.item[a:b].tolist() for a, b in pairwise(offsets)]


def test_an_anonymous_user_is_given_by_liked_items() -> None:
    requests = Requests.of([[3, 1], [], [2]], time=100)
    assert len(requests) == 3
    assert histories(requests) == [[3, 1], [], [2]]
    assert requests.history.weight.tolist() == [1, 1, 1]
    assert requests.user_id == (None, None, None)


def test_anonymous_events_are_placed_in_order_before_the_moment() -> None:
    requests = Requests.of([[3, 1, 4], [5]], time=100)
    assert requests.history.time.tolist() == [97, 98, 99, 99]


def test_history_items_are_excluded_by_default() -> None:
    assert Requests.of([[3, 1]]).exclude[0].tolist() == [3, 1]
    assert Requests.of([[3, 1]], exclude=[[9]]).exclude[0].tolist() == [9]
    assert Requests.of([[3, 1]], exclude=[[]]).exclude[0].tolist() == []


def test_dislikes_come_as_negative_weights() -> None:
    requests = Requests.of([[3, 1], [2]], weights=[[1, -1], [0.5]])
    assert requests.history.weight.tolist() == [1, -1, 0.5]
    assert requests.history.interactions(4, role="negative").toarray()[0].tolist() == [0, 1, 0, 0]


def test_a_cap_keeps_the_latest_events_and_all_exclusions() -> None:
    requests = Requests.of([[1, 2, 3, 4], [5], []]).capped(2)
    assert histories(requests) == [[3, 4], [5], []]
    assert requests.exclude.counts.tolist() == [4, 1, 0]


def test_a_history_is_capped_from_the_start() -> None:
    requests = Requests.of([range(HISTORY_CAP + 5)])
    assert histories(requests)[0] == list(range(5, HISTORY_CAP + 5))


@pytest.mark.parametrize("rows", [[2, 0], [1], [], [0, 0, 2]])
def test_take_carries_everything_of_a_request(rows: list[int]) -> None:
    whole = Requests.of(
        [[1, 2], [3], []], time=9, exclude=[[7], [8, 9], []], user_id=["a", "b", None]
    )
    taken = whole.take(np.array(rows, np.int64))
    assert histories(taken) == [histories(whole)[row] for row in rows]
    assert [taken.exclude[i].tolist() for i in range(len(rows))] == [
        whole.exclude[row].tolist() for row in rows
    ]
    assert taken.seed.tolist() == rows
    assert taken.user_id == tuple(whole.user_id[row] for row in rows)


def test_a_slice_takes_a_run_of_requests() -> None:
    assert histories(Requests.of([[1], [2], [3]]).take(slice(1, 3))) == [[2], [3]]


def test_an_empty_batch_is_a_batch() -> None:
    empty = Requests.of([])
    assert len(empty) == len(empty.history) == len(empty.exclude) == 0
    assert empty.history.interactions(3).shape == (0, 3)


def test_without_a_mask_everything_is_eligible() -> None:
    allowed = Masks.everything(2).allows(np.array([0, 1, 1]), np.array([0, 5, 999], np.int32))
    assert allowed.all()


def test_a_mask_applies_only_to_its_own_requests() -> None:
    masks = Masks(np.array([[True, False, True]]), np.array([0, -1], np.int32))
    rows, items = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 1, 7], np.int32)
    assert masks.allows(rows, items).tolist() == [True, False, True, True, True]
    turned = masks.take(np.array([1, 0]))
    assert turned.allows(np.array([0, 1]), np.array([1, 1], np.int32)).tolist() == [True, False]


@pytest.mark.parametrize("item", [-1, 3])
def test_an_item_beyond_the_mask_is_not_eligible(item: int) -> None:
    masks = Masks(np.ones((1, 3), np.bool_), np.zeros(1, np.int32))
    assert not masks.allows(np.array([0]), np.array([item], np.int32))[0]


bitmaps = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=3)


@given(bitmaps, bitmaps, st.integers(0, 2), st.data())
def test_the_intersection_allows_items_of_both_masks(
    one: list[list[bool]], other: list[list[bool]], cut: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, 4))
    masks = []
    for maps, width in ((one, 3), (other, 3 - cut)):
        rows = st.lists(st.integers(-1, len(maps) - 1), min_size=count, max_size=count)
        row = np.array(data.draw(rows), np.int32)
        masks.append(Masks(np.array(maps, np.bool_)[:, :width], row))
    rows, items = np.repeat(np.arange(count), 5), np.tile(np.arange(5, dtype=np.int32), count)
    both = masks[0].intersect(masks[1])
    expected = masks[0].allows(rows, items) & masks[1].allows(rows, items)
    assert np.array_equal(both.allows(rows, items), expected)


def test_with_weights_changes_only_the_weights() -> None:
    profile = {"age": NumberColumn.of([3.0, 4.0])}
    requests = replace(
        Requests.of([[3, 1], [2]], time=100, user_id=["a", None]), placement="x", profile=profile
    )
    other = requests.with_weights(np.array([-1, 0, 2], np.float32))
    assert other.history.weight.tolist() == [-1, 0, 2]
    for field in fields(Requests):
        if field.name != "history":
            assert getattr(other, field.name) is getattr(requests, field.name)
    for field in fields(Histories):
        if field.name != "weight":
            assert getattr(other.history, field.name) is getattr(requests.history, field.name)
