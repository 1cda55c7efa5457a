"""Small data sets that the suites share, and comparisons of two results."""

from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl

from tastemaker.component import FitOptions
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import TagsColumn, TextColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Histories
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.synthetic import SCHEMA, SyntheticWorld
from tastemaker.inventory import Inventory
from tastemaker.testing.known import KnownAnswer, blockbuster, checkerboard, planted_tastes

RELATIVE = 1e-5
OPTIONS = FitOptions(seed=7, threads=2)


def assert_identical(one: Candidates, other: Candidates) -> None:
    """Asserts that lists are equal bit for bit, so that batches give the same features."""
    assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(one.item, other.item)
    assert np.array_equal(one.score, other.score)


def assert_same(one: Candidates, other: Candidates) -> None:
    """Asserts equal lists, scores within 1e-5 relative; items that close may swap places."""
    assert np.array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.score, other.score, rtol=RELATIVE, atol=1e-7)
    for place in np.flatnonzero(one.item != other.item):
        row = other.rows[place]
        other_place = np.flatnonzero((one.rows == row) & (one.item == other.item[place]))
        near = one.score[other_place] if len(other_place) else one.score[one.offsets[row + 1] - 1]
        np.testing.assert_allclose(near, other.score[place], rtol=RELATIVE, atol=1e-7)


@cache
def small_dataset() -> Dataset:
    """A small synthetic log with three event types, tastes and new items."""
    synthetic = SyntheticWorld(users=90, items=60, events=2_000, tastes=4, seed=11)
    named = synthetic.events.with_columns(pl.format("somebody-{}", "user_id").alias("user_id"))
    return Dataset.from_frames(named, items=synthetic.items, schema=SCHEMA)


@cache
def small_inventory() -> Inventory:
    """The inventory of `small_dataset`."""
    return Inventory.of(small_dataset())


@cache
def small_requests() -> Requests:
    """Twelve known users with histories, and two anonymous users, one without a history."""
    dataset = small_dataset()
    users = np.arange(12)
    known = dataset.requests(users, np.full(len(users), dataset.end))
    histories = [known.history.item[a:b].tolist() for a, b in _bounds(known.history)]
    weights = [known.history.weight[a:b].tolist() for a, b in _bounds(known.history)]
    exclude = [known.exclude[row].tolist() for row in range(len(users))]
    return Requests.of(
        [*histories, [2, 7, 30], []],
        time=dataset.end,
        weights=[*weights, [1.0, 1.0, 1.0], []],
        exclude=[*exclude, [2, 7, 30], []],
    )


@cache
def inventory_with_twin(item: int) -> Inventory:
    """`small_inventory` with one more item that has the attributes of `item`."""
    inventory = small_inventory()
    known: dict[str, list[object]] = {}
    for name, column in inventory.catalogue.columns.items():
        if isinstance(column, TextColumn):
            known[name] = [column.texts[item]]
        elif isinstance(column, TagsColumn):
            known[name] = [column.labels.ids(column.codes[item])]
        else:
            known[name] = [column.values[item]]
    return inventory.with_items(["added"], known)


def anonymous_request(history: list[int]) -> Requests:
    """The request of an anonymous user who liked the items of `history`."""
    return Requests.of([history], time=small_dataset().end)


@cache
def degenerate_dataset(log: str) -> Dataset:
    """A log with hardly anything to learn from, by name."""
    users = ["a"] * 4 if log == "one user" else list("abcd")
    items = ["x"] * 4 if log == "one item" else list("wxyz")
    role = "negative" if log == "nothing liked" else "positive"
    frame = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": [10, 20, 30, 40]})
    schema = Schema(kinds={"event": EventKind.checked({"role": role}, owner="event")})
    return Dataset.from_frames(frame, schema=schema)


@cache
def known_answer(name: str) -> KnownAnswer:
    """A data set with a known answer, by name; it is made once."""
    factories: dict[str, Callable[[], KnownAnswer]] = {
        "checkerboard": checkerboard,
        "planted tastes": planted_tastes,
        "blockbuster": blockbuster,
    }
    return factories[name]()


def _bounds(histories: Histories) -> list[tuple[int, int]]:
    return list(zip(histories.offsets[:-1].tolist(), histories.offsets[1:].tolist()))
