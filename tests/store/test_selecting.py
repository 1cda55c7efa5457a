"""The newest events are read from a store with more events than fit into memory."""

from typing import Any

import numpy as np
import pytest

from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import EventKind, Exclude, Schema
from tastemaker.data.times import format_moment
from tastemaker.errors import MemoryBudgetError
from tastemaker.store import Store, source
from tastemaker.store.selecting import select_events

from .conftest import NOW, Shop, row

SCHEMA = Schema(kinds={"view": EventKind(), "buy": EventKind()})
DAY = 86_400_000_000


@pytest.fixture
def full(store: Store) -> Store:
    """3,000 events in no order of time, of which one lies far back, and some are of bots."""
    rng = np.random.default_rng(0)
    ago = [*(rng.permutation(2_999) * 60_000_000).tolist(), 9_000 * DAY]
    rows = [
        row(user_id=f"u{min(n % 7, 3)}", item_id=f"i{n % 5}", time=NOW - back)
        for n, back in enumerate(ago)
    ]
    bots = [row(user_id="bot", item_id="x", time=NOW - n) for n in range(50)]
    store.append([*rows, *bots, row(kind="gone")]).result()
    return store


def counts(data: Dataset) -> list[Any]:
    """How many events were read, and why some could not be used."""
    return [(report.read, report.kept, report.reasons) for report in data.reports]


@pytest.mark.parametrize("most", [2, 100, 2_500, 3_049])
def test_the_newest_events_are_read(full: Store, most: int) -> None:
    whole, data = full.dataset(SCHEMA), full.dataset(SCHEMA, most=most)
    time = np.sort(whole.events.time)
    assert 0.9 * most <= len(data.events) <= most
    assert (np.sort(data.events.time) == time[-len(data.events) :]).all()
    left_out = len(whole.events) - len(data.events)
    start = format_moment(int(time[left_out]))
    assert data.left_out.older_events == left_out
    assert data.left_out.lines()[0].startswith(f"{left_out:,} older events were left out")
    assert data.left_out.used_from <= start
    assert data.sequence == whole.sequence
    assert counts(data) == counts(whole)


def test_events_of_the_same_time_are_selected_by_sequence(store: Store) -> None:
    store.append([row(item_id=f"i{n}", user_id=f"u{n}") for n in range(40)]).result()
    for schema in (SCHEMA, SCHEMA.model_copy(update={"clock": "ordinal"})):
        data = store.dataset(schema, most=10)
        items = data.catalogue.items.ids(data.events.item)
        assert {f"i{n}" for n in range(31, 40)} <= set(items) <= {f"i{n}" for n in range(30, 40)}
        assert "sequence 3" in data.left_out.lines()[0]


@pytest.mark.parametrize(
    "exclude",
    [
        Exclude(users=("bot", "nobody", "u1")),
        Exclude(items=("x",)),
        Exclude(max_events_per_day=300),
        Exclude(users=("u1",), items=("i2",), max_events_per_day=300),
    ],
)
def test_excluded_events_are_not_read(full: Store, exclude: Exclude) -> None:
    schema = SCHEMA.model_copy(update={"exclude": exclude})
    data, everything = full.dataset(schema), full.dataset(SCHEMA)
    days = everything.events.time // DAY
    user, item = everything.events.user, everything.catalogue.items.ids(everything.events.item)
    kept = ~np.isin(everything.users.ids(user), exclude.users) & ~np.isin(item, exclude.items)
    busy = {
        u
        for u, d in {*zip(user.tolist(), days.tolist())}
        if exclude.max_events_per_day is not None
        and (kept & (user == u) & (days == d)).sum() > exclude.max_events_per_day
    }
    kept &= ~np.isin(user, [*busy])
    assert len(data.events) == kept.sum() < len(everything.events)
    assert data.left_out.events == (~kept).sum()
    assert counts(data) == counts(everything)
    with full.reading() as connection:
        assert select_events(connection, schema, 10**9).left_out == data.left_out


def test_a_store_larger_than_memory_can_be_trained_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.source.open().close()
    shop.change("[events.view]", "[training]\nmemory = 1048576\n[events.view]")
    monkeypatch.setattr("tastemaker.machine.held_bytes", lambda: 0)
    monkeypatch.setattr(source, "_EVENT_BYTES", 10_000)
    with pytest.raises(MemoryBudgetError, match=r"store events remove.*\[data.exclude\]"):
        shop.source.read()
    monkeypatch.setattr(source, "_FEWEST_EVENTS", 50)
    data = shop.source.read()
    assert 90 <= len(data.events) <= 105
    assert data.left_out.older_events == 400 - len(data.events)
