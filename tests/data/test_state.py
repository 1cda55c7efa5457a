import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.dataset import Dataset
from tastemaker.data.describe import describe
from tastemaker.data.events import Events
from tastemaker.data.requests import Requests
from tastemaker.data.schema import Clock, EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.state import NEVER, Replacement
from tastemaker.data.times import MICROSECONDS
from tastemaker.statistics import ItemStatistics

SECOND = MICROSECONDS["s"]
NOTHING = math.nan
LIKE, DISLIKE, NEUTRAL = "liked", "disliked", "neither"

KINDS = {
    "view": EventKind(),
    "impression": EventKind(role="exposure"),
    "rating": EventKind(positive_threshold=4, negative_threshold=2, unrated=(0,)),
    "like": EventKind(weight=2, replaces=("unlike",)),
    "unlike": EventKind(role="neutral", replaces=("like", "unlike")),
    "up": EventKind(replaces=("up", "down")),
    "down": EventKind(role="negative", replaces=("up", "down")),
    "purchase": EventKind(weight=6, replaces=("return",)),
    "return": EventKind(role="negative", replaces=("purchase", "order")),
    "order": EventKind(weight=3, strength="log"),
    "hours": EventKind(strength="linear", replaces=("hours",)),
}

Row = tuple[str, str, str, float, int]  # user, item, event type, value, second


def logged(
    rows: Sequence[Row], clock: Clock = "absolute", kinds: dict[str, EventKind] = KINDS
) -> Dataset:
    user, item, kind, value, second = zip(*rows)
    values = pl.Series(value, dtype=pl.Float64, strict=False)
    columns = {"user_id": user, "item_id": item, "event_type": kind, "value": values}
    if clock == "absolute":
        columns["timestamp"] = second
    return Dataset.from_frames(pl.DataFrame(columns), schema=Schema(kinds=kinds, clock=clock))


def of_pair(*events: tuple[str, float], clock: Clock = "absolute") -> Dataset:
    """One user and item, one event per second, from second 1 on."""
    rows = [("u", "x", kind, value, 1 + n) for n, (kind, value) in enumerate(events)]
    return logged(rows, clock)


def request_of(data: Dataset, moment: int, user: int = 0) -> Requests:
    return data.requests(np.array([user]), np.array([moment]))


def opinion(data: Dataset) -> str:
    """The interaction weight of the first pair in training."""
    liked = data.interactions(role="positive")[0, 0]
    disliked = data.interactions(role="negative")[0, 0]
    assert not (liked and disliked)
    return LIKE if liked else DISLIKE if disliked else NEUTRAL


def heard(request: Requests) -> list[float]:
    return request.history.weight.tolist()


# --- known answers ---

FIVE_THEN_ONE = (("rating", 5.0), ("rating", 1.0))


def test_a_later_low_rating_is_a_dislike_not_a_like() -> None:
    data = of_pair(*FIVE_THEN_ONE)
    assert data.interactions(role="positive").nnz == 0
    assert data.interactions(role="negative").toarray().tolist() == [[1]]
    request = request_of(data, data.end)
    assert heard(request) == [-1]
    assert request.history.value.tolist() == [1]
    assert request.exclude[0].tolist() == [0]


def test_before_the_later_rating_the_earlier_one_counts() -> None:
    data = of_pair(*FIVE_THEN_ONE)
    for moment in (1 * SECOND + 1, 2 * SECOND):
        request = request_of(data, moment)
        assert heard(request) == [1]
        assert request.history.value.tolist() == [5]
        assert request.exclude[0].tolist() == [0]
        assert opinion(data.before(moment)) == LIKE
    assert heard(request_of(data, 2 * SECOND + 1)) == [-1]
    assert opinion(data.before(2 * SECOND + 1)) == DISLIKE
    assert len(request_of(data, 1 * SECOND).history.item) == 0


def test_a_batch_has_the_state_of_each_moment() -> None:
    data = of_pair(*FIVE_THEN_ONE)
    moments = np.array([3, 2, 1, 3]) * SECOND
    history = data.requests(np.zeros(4, np.int64), moments).history
    assert history.offsets.tolist() == [0, 1, 2, 2, 3]
    assert history.weight.tolist() == [-1, 1, -1]


@pytest.mark.parametrize("clock", ["absolute", "ordinal", "none"])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("rating", 5), ("rating", 1)], DISLIKE),
        ([("rating", 1), ("rating", 5)], LIKE),
        ([("rating", 5), ("rating", 3)], NEUTRAL),
        ([("rating", 5), ("rating", 0)], NEUTRAL),
        ([("rating", 1), ("rating", 5), ("rating", 2)], DISLIKE),
        ([("like", NOTHING), ("unlike", NOTHING)], NEUTRAL),
        ([("like", NOTHING), ("unlike", NOTHING), ("like", NOTHING)], LIKE),
        ([("purchase", NOTHING), ("return", NOTHING)], DISLIKE),
        ([("purchase", NOTHING), ("return", NOTHING), ("purchase", NOTHING)], LIKE),
        ([("up", NOTHING), ("down", NOTHING)], DISLIKE),
        ([("up", NOTHING), ("down", NOTHING), ("up", NOTHING)], LIKE),
        ([("up", NOTHING), ("down", NOTHING), ("up", NOTHING), ("down", NOTHING)], DISLIKE),
        ([("order", 3), ("order", -3)], NEUTRAL),
        ([("order", 3), ("order", -1)], LIKE),
        ([("order", 3), ("order", -1), ("order", -2)], NEUTRAL),
        ([("order", NOTHING), ("order", -1)], NEUTRAL),
        ([("order", 2), ("order", -5), ("order", 1)], LIKE),
        ([("order", -1)], NEUTRAL),
        ([("order", -1), ("order", 1)], LIKE),
        ([("order", 1), ("order", -1), ("order", 1)], LIKE),
        ([("order", 0.1), ("order", 0.3), ("order", -0.4)], NEUTRAL),
        ([("hours", 9), ("hours", 0)], NEUTRAL),
    ],
)
def test_the_last_events_determine_the_state_of_a_pair(
    events: list[tuple[str, float]], expected: str, clock: Clock
) -> None:
    data = of_pair(*events, clock=clock)
    assert opinion(data) == expected
    signs = {LIKE: {0, 1}, DISLIKE: {0, -1}, NEUTRAL: {0}}
    assert set(np.sign(heard(request_of(data, data.end))).tolist()) <= signs[expected]


def test_an_amount_that_replaces_itself_keeps_the_latest() -> None:
    data = of_pair(("hours", 9), ("hours", 2))
    assert data.interactions().toarray().tolist() == [[2]]


def test_amounts_start_again_where_another_type_replaced_them() -> None:
    data = of_pair(("order", 3), ("return", NOTHING), ("order", 2), ("order", -2))
    assert data.interactions().nnz == 0
    again = of_pair(("order", 3), ("return", NOTHING), ("order", 2), ("order", -1))
    assert again.interactions().nnz == 1


def test_an_item_may_come_back_after_an_unlike() -> None:
    data = of_pair(("like", NOTHING), ("unlike", NOTHING))
    assert request_of(data, 2 * SECOND).exclude[0].tolist() == [0]
    after = request_of(data, 3 * SECOND)
    assert after.exclude[0].tolist() == []
    assert heard(after) == [0]


def test_a_rule_can_exclude_an_unliked_item() -> None:
    data = of_pair(("like", NOTHING), ("unlike", NOTHING))
    seen = SeenPolicy.of(KINDS, {"unlike": "exclude"})
    request = data.requests(np.array([0]), np.array([data.end]), seen=seen)
    assert request.exclude[0].tolist() == [0]


@pytest.mark.parametrize(
    ("events", "excluded"),
    [
        ([("purchase", NOTHING), ("return", NOTHING)], [0]),
        ([("order", 3), ("order", -3)], []),
        ([("order", 3), ("order", -1)], [0]),
        ([("order", -1)], []),
    ],
)
def test_a_returned_item_may_come_back_unless_disliked(
    events: list[tuple[str, float]], excluded: list[int]
) -> None:
    data = of_pair(*events)
    assert request_of(data, data.end).exclude[0].tolist() == excluded


def test_a_replaced_event_does_not_count_for_the_history_cap() -> None:
    rows: list[Row] = [("u", "x", "view", NOTHING, 1)]
    rows += [("u", "y", "rating", float(1 + n % 5), 2 + n) for n in range(6)]
    data = logged(rows)
    request = data.requests(np.array([0]), np.array([data.end]), cap=2)
    assert data.catalogue.items.ids(request.history.item) == ["x", "y"]


def test_users_and_items_do_not_replace_each_other() -> None:
    data = logged([
        ("a", "x", "rating", 5, 1), ("b", "x", "rating", 1, 2), ("a", "y", "rating", 1, 3),
        ("b", "y", "rating", 5, 4), ("a", "y", "rating", 5, 5), ("b", "x", "rating", 2, 6),
    ])  # fmt: skip
    assert data.interactions().toarray().tolist() == [[1, 1], [0, 1]]
    assert data.interactions(role="negative").toarray().tolist() == [[0, 0], [1, 0]]


def test_of_two_events_at_one_moment_the_later_row_counts() -> None:
    data = logged([("u", "x", "rating", 5, 7), ("u", "x", "rating", 1, 7)])
    assert opinion(data) == DISLIKE
    assert heard(request_of(data, 7 * SECOND + 1)) == [-1]


def test_without_the_later_event_the_earlier_one_counts_again() -> None:
    data = of_pair(*FIVE_THEN_ONE)
    assert opinion(data.where(np.array([True, False]))) == LIKE
    assert opinion(data.where(np.array([False, True]))) == DISLIKE


def test_dropping_a_purchase_can_leave_no_weight() -> None:
    data = of_pair(("order", 2), ("order", 2), ("order", -2))
    assert opinion(data) == LIKE
    assert opinion(data.where(np.array([True, False, True]))) == NEUTRAL


def test_statistics_count_actions_and_not_states() -> None:
    data = of_pair(*FIVE_THEN_ONE)
    statistics = ItemStatistics.of(data.events, 1, KINDS)
    counts = [statistics.at(np.zeros(1, np.int32), np.array([m]))[0] for m in (2 * SECOND, 10**12)]
    assert counts == [1, 1]


def test_a_description_counts_states_and_replaced_events() -> None:
    kinds = describe(of_pair(*FIVE_THEN_ONE, ("view", NOTHING)))["kinds"]
    assert kinds["rating"] == {"events": 2, "liked": 0, "disliked": 1, "replaced": 1}
    assert kinds["view"] == {"events": 1, "liked": 1, "disliked": 0, "replaced": 0}


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [
        ({"view": EventKind(), "buy": EventKind()}, "view"),
        ({"view": EventKind(), "rating": EventKind(positive_threshold=3)}, "view"),
        ({"order": EventKind(strength="log")}, "order"),
        ({"like": EventKind(), "unlike": EventKind(replaces=("like",))}, "like"),
    ],
)
def test_where_nothing_is_replaced_nothing_is_kept(kinds: dict[str, EventKind], kind: str) -> None:
    data = logged([("u", "x", kind, 2.0, n) for n in range(3)], kinds=kinds)
    assert data.events.replaced_at is None
    assert data.events.weight is data.events.preference


# --- compared with a loop over the log ---

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y"]),
        st.sampled_from(list(KINDS)),
        st.sampled_from([NOTHING, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0]),
        st.integers(1, 9),
    ).map(lambda row: (*row[:3], 0.0, row[4]) if row[2] == "rating" and row[3] != row[3] else row),
    min_size=1,
    max_size=40,
)
FEWER_KINDS = {name: KINDS[name] for name in ("rating", "order", "return", "purchase")}


def walked(rows: Sequence[Row]) -> list[int]:
    """When each row of a sorted log was replaced."""
    replaced_at, net = [NEVER] * len(rows), dict[tuple[str, str, str], float]()
    for place, (user, item, name, value, second) in enumerate(rows):
        gone = set(KINDS[name].replaced(name))
        for other in gone:
            net[user, item, other] = 0.0
        if KINDS[name].strength is not None:
            amount = 1.0 if math.isnan(value) else value
            left = net.get((user, item, name), 0.0) + amount
            net[user, item, name] = max(left, 0.0)
            if amount < 0 and left <= 0:
                gone.add(name)
        for before, row in enumerate(rows[:place]):
            if row[:2] == (user, item) and row[2] in gone:
                replaced_at[before] = min(replaced_at[before], second * SECOND)
    return replaced_at


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row[0], row[4]))


def replaced_at(events: Events) -> list[int]:
    none = np.full(len(events), NEVER)
    return (none if events.replaced_at is None else events.replaced_at).tolist()


def contents(data: Dataset) -> list[tuple[str, str, str, float, int]]:
    """User, item, type, weight and replacement of every event, independent of the indices."""
    log = data.events
    users, items = data.users.ids(log.user), data.catalogue.items.ids(log.item)
    kinds = [list(data.kinds)[code] for code in log.kind]
    return list(zip(users, items, kinds, log.weight.tolist(), replaced_at(log)))


@given(ROWS)
def test_replacements_equal_a_loop_over_the_log(rows: list[Row]) -> None:
    data = logged(rows)
    expected = walked(in_order(rows))
    assert replaced_at(data.events) == expected
    counted = np.array(expected) == NEVER
    np.testing.assert_array_equal(data.events.weight, data.events.preference * counted)


@given(ROWS.map(lambda rows: [row for row in rows if row[2] in FEWER_KINDS] or rows[:1]))
def test_replacements_of_few_types_equal_a_loop(rows: list[Row]) -> None:
    assert replaced_at(logged(rows).events) == walked(in_order(rows))


@given(ROWS, st.sampled_from([0, 1, 2, 5, 1_000]), st.integers(2, 11))
def test_requests_equal_a_loop_over_the_past(rows: list[Row], cap: int, second: int) -> None:
    data, seen = logged(rows), SeenPolicy.of(KINDS)
    users = np.arange(len(data.users))
    requests = data.requests(users, np.full(len(users), second * SECOND), seen=seen, cap=cap)
    for user, id_ in enumerate(data.users.ids(users)):
        past = [row for row in in_order(rows) if row[0] == id_ and row[4] < second]
        counted = [row for row, at in zip(past, walked(past)) if at == NEVER]
        taste = [row for row in counted if row[2] != "impression"]
        away = {
            row[1]
            for row in counted
            if row[2] not in ("impression", "unlike")
            and not (row[2] in ("order", "hours") and row[3] < 0)
        }
        own = slice(requests.history.offsets[user], requests.history.offsets[user + 1])
        found = data.catalogue.items.ids(requests.history.item[own])
        assert list(found) == [row[1] for row in taste[max(len(taste) - cap, 0) :]]
        assert set(data.catalogue.items.ids(requests.exclude[user])) == away


@given(ROWS)
def test_the_log_before_a_moment_ignores_later_events(rows: list[Row]) -> None:
    data = logged(rows)
    for second in range(1, 11):
        earlier = [row for row in rows if row[4] < second]
        cut = data.before(second * SECOND)
        assert contents(cut) == (contents(logged(earlier)) if earlier else [])
        assert contents(cut.where(np.ones(len(cut.events), np.bool_))) == contents(cut)


@given(ROWS, st.lists(st.booleans(), min_size=40, max_size=40))
def test_part_of_a_log_is_the_log_of_that_part(rows: list[Row], drawn: list[bool]) -> None:
    data, ordered = logged(rows), in_order(rows)
    kept = [row for row, keep in zip(ordered, drawn) if keep]
    part = data.where(np.array(drawn[: len(rows)]))
    assert contents(part) == (contents(logged(kept)) if kept else [])


def test_items_outside_a_catalogue_lose_their_state() -> None:
    data = logged([
        ("u", "x", "rating", 5, 1), ("u", "y", "rating", 5, 2), ("u", "y", "rating", 1, 3),
    ])  # fmt: skip
    only_y = logged([("u", "y", "view", NOTHING, 1)]).catalogue
    moved = data.onto(only_y, np.array([1], np.int32))
    assert moved.interactions(role="negative").toarray().tolist() == [[1]]
    assert moved.interactions().nnz == 0


def test_events_of_unknown_items_do_not_replace_each_other() -> None:
    rules = Replacement.of(KINDS)
    assert rules is not None
    rating = np.full(2, list(KINDS).index("rating"), np.int8)
    columns = np.array([5, 1], np.float32), np.array([1, 2])
    unknown = np.full(2, -1, np.int32)
    assert rules.times(np.zeros(2, np.int32), unknown, rating, *columns) is None
