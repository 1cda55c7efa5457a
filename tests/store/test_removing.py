"""Removed rows stay out of datasets, histories and repeated imports."""

from collections.abc import Callable, Sequence
from itertools import count

import pytest
from sqlalchemy import ColumnElement, Connection

from tastemaker.data import times
from tastemaker.store import Store, removing
from tastemaker.store.counters import EVENTS, count_of
from tastemaker.store.listing import count_events, list_events, list_items, list_users
from tastemaker.store.removing import EventFilter, Remover
from tests.store.conftest import ITEMS, NOW, Shop, lines, row
from tests.store.test_decision import realistic
from tests.store.test_importing import sums
from tests.store.test_store import VIEWS


def fill(store: Store) -> None:
    store.put_item("known", {"title": "A"}).result()
    rows = [row(user_id="bot", item_id=f"x{n}", time=NOW + n) for n in range(30)]
    rows += [row(user_id=f"u{n % 3}", item_id="known", time=NOW + n) for n in range(9)]
    store.append(rows).result()


def test_removed_events_are_deleted_and_recorded(store: Store) -> None:
    fill(store)
    chosen = EventFilter(users=("bot",), since=NOW + 10, until=NOW + 20)
    with store.reading() as connection:
        assert count_events(connection, chosen) == 10
    mark = store.removal_mark()
    assert store.remover().remove_events(chosen) == 10
    assert store.count() == 29
    assert len(store.history("bot")) == 20
    assert store.removal_mark() != mark
    (line,) = store.remover().removals()
    assert (line.what, line.events, line.complete) == ("events", 10, True)
    assert EventFilter.from_dict(line.filter) == chosen


def test_filters_combine(store: Store) -> None:
    fill(store)
    with store.reading() as connection:
        for event_filter, expected in (
            (EventFilter(), 39),
            (EventFilter(items=("known", "x1")), 10),
            (EventFilter(users=("u1", "bot"), items=("known",)), 3),
            (EventFilter(event_types=("view",)), 39),
            (EventFilter(event_types=("buy",)), 0),
            (EventFilter(users=("'; DROP TABLE events; --",)), 0),
        ):
            assert count_events(connection, event_filter) == expected


def test_a_removed_user_leaves_nothing_behind(store: Store) -> None:
    fill(store)
    store.log(realistic(0)).result()
    user = realistic(0).user_id
    assert user is not None
    store.append([row(user_id=user)]).result()
    assert store.remover().remove_users([user, "bot"]) == 31
    assert user not in store.users(100)
    assert store.latest_decisions(10) == []
    assert store.decision_log.totals().rows == store.decision_log.totals().bytes == 0


def test_a_removed_item_is_neither_read_nor_kept(store: Store) -> None:
    fill(store)
    assert store.remover().remove_items(["known"]) == 9
    assert store.withdrawn_ids() == ["known"]
    store.append([row(user_id="u1", item_id="known"), row(user_id="u2", item_id="known")]).result()
    data = store.dataset(VIEWS)
    assert data.catalogue.items.index("known") < 0
    assert store.dataset(VIEWS, every_item=True).catalogue.items.index("known") >= 0
    store.put_item("known", {"title": "Again"}).result()
    assert store.withdrawn_ids() == []
    assert store.dataset(VIEWS).catalogue.items.index("known") >= 0


def test_removed_rows_stay_removed_after_another_import(shop: Shop) -> None:
    with shop.source.open() as store:
        user = store.users(1)[0]
        removed = store.remover().remove_events(EventFilter(users=(user,)))
        store.remover().remove_items(["b"])
        store.remover().remove_users(["u2"])
        assert removed > 0
    later = f"{user},a,view,,{times.now() // 1_000_000 - 1},"
    shop.write([*lines(400), later.replace("view", "buy")])
    shop.table("items", [line.replace("One", "Eins") for line in ITEMS])
    with shop.source.open() as store:
        assert len(store.history(user)) == 0
        assert len(store.history("u2")) == 0
        assert store.withdrawn_ids() == ["b"]
        assert "b" not in [item.item_id for item in store.items_since(0)]
        assert store.attributes("u2") == {}


def fill_with_sums(store: Store) -> None:
    """Users with several events per item, of different types, values and times."""
    store.append([
        row(user_id=f"u{n % 4}", item_id=f"x{n % 3}", kind=("view", "buy")[n % 2],
            value=(None, 2.0, -1.0, 0.5, 4.0)[n % 5], time=NOW + (n * 7) % 60)
        for n in range(60)
    ]).result()  # fmt: skip


REMOVALS: dict[str, Callable[[Remover], int]] = {
    "events": lambda remover: remover.remove_events(EventFilter(since=NOW + 30)),
    "events of a type": lambda remover: remover.remove_events(EventFilter(event_types=("buy",))),
    "an item": lambda remover: remover.remove_items(["x1"]),
    "a user": lambda remover: remover.remove_users(["u1"]),
}


@pytest.mark.parametrize("removed", REMOVALS)
@pytest.mark.parametrize("at_a_time", [3, 2_000])
def test_pairs_match_the_log_after_removals(
    store: Store, monkeypatch: pytest.MonkeyPatch, removed: str, at_a_time: int
) -> None:
    monkeypatch.setattr(removing, "ROWS_AT_A_TIME", at_a_time)
    fill_with_sums(store)
    before, state = sums(store.path, "pairs"), store.pairs_state("u1")
    assert REMOVALS[removed](store.remover()) > 0
    assert sums(store.path, "pairs") == sums(store.path, "events") != before
    assert store.pairs_state("u1") != state
    fill_with_sums(store)
    assert sums(store.path, "pairs") == sums(store.path, "events")


def test_a_removal_only_changes_the_pairs_of_its_users(store: Store) -> None:
    fill_with_sums(store)
    before = {user: store.pairs_state(user) for user in ("u0", "u1", "nobody")}
    store.remover().remove_events(EventFilter(users=("u1",), event_types=("buy",)))
    after = {user: store.pairs_state(user) for user in before}
    assert {user for user in before if before[user] != after[user]} == {"u1"}


def test_a_returning_user_has_a_new_pairs_state(store: Store) -> None:
    states = set[str]()
    for _ in range(3):
        store.append([row(user_id="again"), row(user_id="again", item_id="x1")]).result()
        states.add(store.pairs_state("again"))
        store.remover().remove_users(["again"])
        states.add(store.pairs_state("again"))
        store.append([row(user_id=f"between-{len(states)}")]).result()
    assert len(states) == 4  # one for each time, and one for a user who is not there


def test_each_step_of_a_removal_keeps_the_pairs_correct(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_sums(store)
    monkeypatch.setattr(removing, "ROWS_AT_A_TIME", 7)
    seen: list[bool] = []
    drop = removing._drop_events

    def dropped(connection: Connection, places: Sequence[int]) -> None:
        seen.append(sums(store.path, "pairs") == sums(store.path, "events"))
        drop(connection, places)

    monkeypatch.setattr(removing, "_drop_events", dropped)
    store.remover().remove_events(EventFilter(until=NOW + 40))
    assert len(seen) > 3
    assert all(seen)


def test_pairs_are_correct_after_removals_and_an_import(shop: Shop) -> None:
    with shop.source.open() as store:
        user = store.users(1)[0]
        store.remover().remove_events(EventFilter(users=(user,)))
        store.remover().remove_items(["b"])
        store.remover().remove_users(["u2"])
        assert sums(store.path, "pairs") == sums(store.path, "events")
    shop.write(lines(399))
    with shop.source.open() as store:
        assert store.count() < 399
        assert sums(store.path, "pairs") == sums(store.path, "events")
        assert len(store.pairs(user)) == len(store.pairs("u2")) == 0


def test_lists_show_bots_and_invented_ids_first(store: Store) -> None:
    fill(store)
    with store.reading() as connection:
        first = list_users(connection, (), 1)[0]
        assert (first["user_id"], first["events"]) == ("bot", 30)
        rare = list_items(connection, (), None, undescribed=True, max_users=1)
        assert {item["item_id"] for item in rare} == {f"x{n}" for n in range(30)}
        known = list_items(connection, ("known",), 5)[0]
        assert (known["described"], known["users"], known["events"]) == (True, 3, 9)
        latest = list_events(connection, EventFilter(users=("bot",)), 1)[0]
        assert latest["item_id"] == "x29"


# --- interrupted removals, and events that arrive meanwhile ---


def cut_short(store: Store, monkeypatch: pytest.MonkeyPatch, remove: Callable[[], int]) -> None:
    """Runs a removal that is interrupted in its second step."""
    drop, steps = removing._drop_events, count()

    def dropped(connection: Connection, places: Sequence[int]) -> None:
        if next(steps):
            raise KeyboardInterrupt
        drop(connection, places)

    with monkeypatch.context() as patched:
        patched.setattr(removing, "ROWS_AT_A_TIME", 7)
        patched.setattr(removing, "_drop_events", dropped)
        with pytest.raises(KeyboardInterrupt):
            remove()
    assert [one.complete for one in store.remover().removals()] == [False]
    assert store.remover().removals()[0].events == 7


AGAIN: dict[str, Callable[[Remover], int]] = {
    **REMOVALS,
    "an item and others": lambda remover: remover.remove_items(["x1", "x2"]),
    "a user and others": lambda remover: remover.remove_users(["u0", "u1"]),
}


@pytest.mark.parametrize("again", AGAIN)
def test_a_repeated_removal_completes_an_interrupted_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    fill_with_sums(store)
    first = REMOVALS[again.removesuffix(" and others")]
    cut_short(store, monkeypatch, lambda: first(store.remover()))
    store.remover().remove_events(EventFilter(users=("nobody",)))  # completes itself alone
    assert sorted(one.complete for one in store.remover().removals()) == [False, True]
    AGAIN[again](store.remover())
    assert all(one.complete for one in store.remover().removals())
    with store.reading() as connection:
        held = count_of(connection, EVENTS).rows
    assert held == store.count() == store.count_served(0)


def test_events_that_arrive_during_a_removal_are_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_sums(store)
    find, arriving = Remover._sequences, iter(range(3))

    def found(remover: Remover, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
        before = find(remover, conditions)
        for n in arriving:
            store.append([row(user_id="u1", item_id=f"late {n}")]).result()
            break
        return before

    monkeypatch.setattr(Remover, "_sequences", found)
    assert store.remover().remove_events(EventFilter(users=("u1",))) == 15 + 3
    assert len(store.history("u1")) == 0
    assert store.remover().removals()[0].events == 18


def test_imported_events_of_a_removed_item_stay_hidden(shop: Shop) -> None:
    with shop.source.open() as store:
        removed = store.remover().remove_items(["b"])
        assert removed > 0
    shop.write(lines(401))
    with shop.source.open() as store:
        store.put_item("b", {"title": "Again"}).result()
        with store.reading() as connection:
            assert count_events(connection, EventFilter(items=("b",))) == 0
        assert sums(store.path, "pairs") == sums(store.path, "events")


def test_any_number_of_ids_can_be_removed(store: Store) -> None:
    fill(store)
    many = [f"invented-{n}" for n in range(300_000)]
    assert store.remover().remove_items([*many, "x1", "x2"]) == 2
    assert store.count() == 37
