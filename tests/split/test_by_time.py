from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.component import Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import MICROSECONDS, parse_duration
from tastemaker.errors import ClockError, DataError, SettingError
from tastemaker.split import Split, by_time, relevant_after

TICK = 6 * MICROSECONDS["h"]
DAY = MICROSECONDS["d"]
KINDS = {
    "view": EventKind(),
    "buy": EventKind(weight=6),
    "dislike": EventKind(role="negative"),
    "hide": EventKind(role="negative", hide_item=True),
    "shown": EventKind(role="exposure"),
    "unbuy": EventKind(role="neutral", replaces=("buy", "dislike")),
}
SCHEMA = Schema(kinds=KINDS, time_unit="us")

Row = tuple[str, str, str, int]  # user, item, kind, tick

logs = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from("uvwxyz"),
        st.sampled_from([*KINDS, "view", "view"]),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=50,
)
windows = st.integers(1, 24).map(lambda ticks: f"{6 * ticks}h")
policies = st.sampled_from(
    [{}, {"view": "allow"}, {"view": "exclude for 30h", "buy": "allow"}, {"hide": "allow"}]
)


def dataset(log: list[Row], clock: str = "absolute") -> Dataset:
    frame = pl.DataFrame(
        {
            "user_id": [row[0] for row in log],
            "item_id": [row[1] for row in log],
            "event_type": [row[2] for row in log],
            "timestamp": [row[3] * TICK for row in log],
        }
    )
    return Dataset.from_frames(frame, schema=SCHEMA.model_copy(update={"clock": clock}))


def views(*rows: tuple[str, str, int]) -> Dataset:
    return dataset([(user, item, "view", tick) for user, item, tick in rows])


def answers(task: Task) -> dict[tuple[str | None, int], tuple[list[str], list[str]]]:
    """The history and the sorted relevant items, as ids, by (user, time)."""
    ids, past = task.inventory.catalogue.items, task.requests.history
    return {
        (task.requests.user_id[row], int(task.requests.time[row])): (
            ids.ids(past.item[past.offsets[row] : past.offsets[row + 1]]),
            sorted(ids.ids(task.truth[row])),
        )
        for row in range(len(task))
    }


def excludes(kind: str, age: int, rules: dict[str, str]) -> bool:
    if kind == "hide":
        return True
    rule = "allow" if kind in ("shown", "unbuy") else rules.get(kind, "exclude")
    return rule == "exclude" or (rule == "exclude for 30h" and age < 5 * TICK)


def counting(mine: list[tuple[int, str, str]], until: int) -> list[tuple[int, str, str]]:
    """The events before a time that are not replaced by another one of them."""
    past = [event for event in mine if event[0] < until]
    return [
        (time, item, kind)
        for place, (time, item, kind) in enumerate(past)
        if not any(i == item and kind in KINDS[k].replaced(k) for _, i, k in past[place + 1 :])
    ]


def twin(
    log: list[Row],
    window: tuple[int, int],
    moments: str,
    rules: dict[str, str],
    horizon: int | None,
) -> dict[tuple[str, int], tuple[list[str], list[str]]]:
    """The expected `answers`, from a walk over the whole log for every request."""
    start, end = window
    expected = {}
    for user in {row[0] for row in log}:
        mine = sorted(((t * TICK, item, kind) for u, item, kind, t in log if u == user), key=_time)
        inside = sorted({t for t, *_ in mine if start <= t < end})
        by_day = {t // DAY: t for t in reversed(inside)}
        chosen = {
            "each_event": inside,
            "first": inside[:1],
            "each_day": list(by_day.values()),
            "at_cut": [start] if inside else [],
        }[moments]
        for moment in chosen:
            until = end if horizon is None else min(end, moment + horizon)
            later, before = counting(mine, until), counting(mine, moment)
            liked = {i for t, i, k in later if moment <= t and k in ("view", "buy")}
            away = {i for t, i, k in before if excludes(k, moment - t, rules)}
            if liked - away:
                history = [i for t, i, k in before if k != "shown"]
                expected[user, moment] = (history, sorted(liked - away))
    return expected


def _time(event: tuple[int, str, str]) -> int:
    return event[0]


@given(
    logs,
    windows,
    windows,
    st.sampled_from([None, "6h", "18h"]),
    st.sampled_from([None, "6h", "30h"]),
    st.sampled_from(["each_event", "first", "each_day", "at_cut"]),
    policies,
)
def test_history_and_truth_equal_a_walk_over_the_log(
    log: list[Row],
    test: str,
    validation: str,
    gap: str | None,
    horizon: str | None,
    moments: Any,
    rules: dict[str, str],
) -> None:
    ahead = None if horizon is None else parse_duration(horizon, "horizon")
    pause = 0 if gap is None else parse_duration(gap, "gap")
    end = max(row[3] for row in log) * TICK + 1
    test_start = end - parse_duration(test, "test")
    validation_end = test_start - pause
    start = validation_end - parse_duration(validation, "validation")
    expected = [
        twin(log, window, moments, rules, ahead)
        for window in ((start, validation_end), (test_start, end))
    ]
    trained = sum(row[3] * TICK < start - pause for row in log)
    try:
        split = by_time(
            dataset(log),
            test=test,
            validation=validation,
            gap=gap,
            horizon=horizon,
            requests=moments,
            seen=SeenPolicy.of(KINDS, rules),
        )
    except DataError:
        assert not (trained and all(expected))
        return
    assert [answers(split.validation), answers(split.test)] == expected
    assert len(split.train.events) == trained
    assert len(split.before_test.events) == sum(row[3] * TICK < validation_end for row in log)


@given(logs, windows, st.sampled_from([None, "6h", "18h"]))
def test_training_data_ends_before_each_window(log: list[Row], test: str, gap: str | None) -> None:
    try:
        split = by_time(dataset(log), test=test, gap=gap)
    except DataError:
        return
    trained = split.train.events.time.max()
    assert trained < split.validation.requests.time.min()
    assert split.before_test.events.time.max() < split.test.requests.time.min()
    assert split.validation.requests.time.max() < split.test.requests.time.min()
    if gap is not None:
        assert split.validation.requests.time.min() - trained >= parse_duration(gap, "gap")
    for task in (split.validation, split.test):
        past = task.requests.history
        assert (past.time < np.repeat(task.requests.time, past.counts)).all()


@given(logs, st.integers(0, 3))
def test_up_to_five_sampled_times_are_the_users_own(log: list[Row], seed: int) -> None:
    data = dataset(log)
    try:
        every = by_time(data, test="72h", requests="each_event")
        split = by_time(data, test="72h", seed=seed)
    except DataError:
        return
    for sampled, whole in ((split.validation, every.validation), (split.test, every.test)):
        assert answers(sampled).items() <= answers(whole).items()
        counts = Counter(sampled.requests.user_id)
        assert max(counts.values()) <= 5
        for user, count in Counter(whole.requests.user_id).items():
            if count <= 5:  # may fall short only where moments without truth were drawn instead
                assert counts[user] <= count


def rated(*rows: tuple[str, float, int]) -> Dataset:
    """One user's ratings at ticks, after the ratings of another user at ticks 0 and 1."""
    item, value, tick = zip(("o", 5.0, 0), ("p", 5.0, 1), *rows)
    frame = pl.DataFrame({
        "user_id": ["other"] * 2 + ["u"] * len(rows), "item_id": item, "event_type": "rating",
        "value": value, "timestamp": [n * TICK for n in tick],
    })  # fmt: skip
    kinds = {"rating": EventKind(positive_threshold=4, negative_threshold=2)}
    return Dataset.from_frames(frame, schema=Schema(kinds=kinds, time_unit="us"))


def relevant_of_u(data: Dataset, moment: int, until: int) -> list[str]:
    user = np.array([data.users.index("u")])
    period = np.array([moment * TICK]), np.array([until * TICK])
    truth, _ = relevant_after(data, user, *period, Ragged.of([[]]))
    return data.catalogue.items.ids(truth[0])


def test_an_item_disliked_before_the_window_ends_is_not_relevant() -> None:
    data = rated(("x", 5, 10), ("x", 1, 20), ("y", 1, 11), ("y", 5, 19))
    assert relevant_of_u(data, 10, 21) == ["y"]
    assert relevant_of_u(data, 20, 21) == []


def test_a_dislike_after_the_window_does_not_change_its_truth() -> None:
    data = rated(("x", 5, 10), ("x", 1, 20), ("y", 1, 11), ("y", 5, 20))
    assert relevant_of_u(data, 10, 20) == ["x"]


def test_a_request_between_two_ratings_uses_the_first_rating() -> None:
    data = rated(("x", 5, 4), ("v", 5, 6), ("x", 1, 10), ("w", 5, 12))
    split = by_time(data, test="13h", validation="37h", requests="each_event")
    (row,) = np.flatnonzero(split.validation.requests.time == 6 * TICK)
    history = split.validation.requests.take([row]).history
    assert (history.value.tolist(), history.weight.tolist()) == ([5], [1])
    assert split.before_test.interactions(role="positive").nnz == 4
    assert split.before_test.interactions(role="negative").nnz == 0
    (row,) = np.flatnonzero(split.test.requests.time == 12 * TICK)
    later = split.test.requests.take([row]).history
    assert (later.value.tolist(), later.weight.tolist()) == ([5, 1], [1, -1])


def busy() -> Dataset:
    """One user per letter, each with a new item at each of 40 ticks."""
    return views(*((user, f"{user}{tick}", tick) for user in "abcdef" for tick in range(40)))


def test_a_busy_user_makes_five_requests() -> None:
    split = by_time(busy(), test="60h")
    assert Counter(split.test.requests.user_id) == dict.fromkeys("abcdef", 5)
    assert len(set(zip(split.test.requests.user_id, split.test.requests.time.tolist()))) == 30


def test_the_seed_decides_the_sampled_times() -> None:
    def moments(seed: int) -> list[int]:
        return by_time(busy(), test="60h", seed=seed).test.requests.time.tolist()

    assert moments(3) == moments(3)
    assert moments(3) != moments(4)


def test_the_order_of_rows_in_the_source_does_not_matter() -> None:
    log = [(u, f"{u}{t}", "view", t) for u in "abcdef" for t in range(40)]
    shuffled = [log[i] for i in np.random.default_rng(5).permutation(len(log))]
    one, other = (by_time(dataset(rows), test="60h", seed=7) for rows in (log, shuffled))
    assert answers(one.test) == answers(other.test)
    assert one.test.notes == other.test.notes


def test_events_with_one_timestamp_are_one_target_group() -> None:
    split = by_time(
        views(("a", "x", 0), ("a", "y", 10), ("a", "v", 20), ("a", "w", 20), ("a", "z", 20)),
        test="24h",
        validation="60h",
        requests="each_event",
    )
    assert answers(split.test) == {("a", 20 * TICK): (["x", "y"], ["v", "w", "z"])}


def test_a_share_never_splits_events_with_one_timestamp() -> None:
    rows = [("a", f"i{tick}", tick) for tick in range(18)]
    tied = [("b", f"t{n}", 18) for n in range(4)]
    split = by_time(views(*rows, *tied), test=2 / 22, validation=3 / 22)
    assert len(split.before_test.events) == 18
    assert len(split.train.events) == 15
    assert [len(truth) for _, truth in answers(split.test).values()] == [4]


def test_the_default_validation_window_is_as_long_as_the_test() -> None:
    by_share = by_time(busy(), test=0.25)
    assert len(by_share.train.events) == 120
    assert len(by_share.before_test.events) == 180
    by_length = by_time(busy(), test="60h").protocol
    assert by_length["validation_until"] == by_length["test_from"]
    assert by_length["validation_from"] == "1970-01-05T18:00:00.000001Z"
    assert by_length["test_from"] == "1970-01-08T06:00:00.000001Z"


def test_new_users_and_new_items_are_kept_and_counted() -> None:
    split = by_time(
        views(
            *(("old", "x", 0), ("old", "y", 10), ("late", "y", 11)),
            *(("old", "z", 20), ("late", "new", 20)),
            *(("fresh", "x", 20), ("fresh", "newer", 21)),
        ),
        test="24h",
        validation="60h",
        requests="each_event",
    )
    task = split.test
    assert answers(task) == {
        ("old", 20 * TICK): (["x", "y"], ["z"]),
        ("late", 20 * TICK): (["y"], ["new"]),
        ("fresh", 20 * TICK): ([], ["newer", "x"]),
        ("fresh", 21 * TICK): (["x"], ["newer"]),
    }
    assert dict(zip(task.requests.user_id, task.known_user.tolist())) == {
        "old": True,
        "late": True,
        "fresh": False,
    }
    assert task.notes == {
        "users_in_window": 3,
        "users_not_drawn": 0,
        "users": 3,
        "requests": 4,
        "requests_without_truth_left_out": 0,
        "relevant": 5,
        "relevant_but_seen": 0,
        "relevant_new_items": 4,
        "requests_of_new_users": 2,
        "requests_without_history": 1,
    }


def test_excluded_items_and_requests_are_counted() -> None:
    log: list[Row] = [
        ("a", "x", "view", 0),
        ("a", "y", "view", 10),
        ("a", "x", "view", 20),  # seen
        ("a", "z", "view", 21),
        ("b", "x", "view", 20),
        ("c", "x", "dislike", 20),  # has no relevant item
    ]
    task = by_time(dataset(log), test="24h", validation="60h", requests="each_event").test
    assert answers(task) == {
        ("a", 20 * TICK): (["x", "y"], ["z"]),
        ("a", 21 * TICK): (["x", "y", "x"], ["z"]),
        ("b", 20 * TICK): ([], ["x"]),
    }
    assert task.notes["requests_without_truth_left_out"] == 1
    assert task.notes["relevant_but_seen"] == 1
    assert task.notes["users_in_window"] == 3
    assert task.notes["users"] == 2


def test_relevant_items_are_distinct_with_equal_gains() -> None:
    task = by_time(
        views(("a", "x", 0), ("a", "y", 10), *(("a", "z", tick) for tick in (20, 21, 22))),
        test="24h",
        validation="60h",
        requests="first",
    ).test
    assert task.truth.counts.tolist() == [1]
    assert task.gain.tolist() == [1]


def test_excluded_items_follow_the_seen_policy() -> None:
    log: list[Row] = [
        *(("a", "x", "view", 0), ("a", "y", "view", 10), ("a", "h", "hide", 0)),
        *(("a", "s", "shown", 11), ("a", "z", "view", 20)),
    ]
    seen = SeenPolicy.of(KINDS, {"view": "exclude for 90h"})
    task = by_time(dataset(log), test="24h", validation="70h", seen=seen).test
    excluded = task.inventory.catalogue.items.ids(task.requests.exclude[0])
    assert sorted(excluded) == ["h", "y"]


def test_max_users_are_drawn_with_the_seed() -> None:
    def users(seed: int) -> set[str | None]:
        task = by_time(busy(), test="60h", max_users=2, seed=seed).test
        assert task.notes["users_in_window"] == 6
        assert task.notes["users_not_drawn"] == 4
        return set(task.requests.user_id)

    assert all(len(users(seed)) == 2 for seed in range(8))
    assert users(1) == users(1)
    assert len({frozenset(users(seed)) for seed in range(8)}) > 1


def test_the_requests_of_a_user_share_one_index() -> None:
    task = by_time(busy(), test="60h").test
    assert len(set(zip(task.requests.user_id, task.user.tolist()))) == 6


def test_the_protocol_contains_the_settings() -> None:
    split = by_time(busy(), test="60h", gap="6h", horizon="2d", requests="first", seed=9)
    assert split.protocol["gap"] == "6h"
    assert split.protocol["horizon"] == "2d"
    assert split.protocol["request_moments"] == "first"
    assert split.protocol["seed"] == 9
    assert split.protocol["test_until"] == "1970-01-10T18:00:00.000001Z"
    assert by_time(busy(), test="60h").protocol["gap"] == "none"


@pytest.mark.parametrize("clock", ["ordinal", "none"])
def test_data_without_timestamps_is_rejected_by_clock(clock: str) -> None:
    log: list[Row] = [("a", f"i{tick}", "view", tick) for tick in range(9)]
    with pytest.raises(
        ClockError, match=f"by_time requires timestamps.*clock of the data is '{clock}'"
    ):
        by_time(dataset(log, clock), test=0.2)


@pytest.mark.parametrize("length", [0.0, 1.0, 1, 0, -0.5, 30, float("nan"), True])
@pytest.mark.parametrize("name", ["test", "validation"])
def test_a_share_outside_0_and_1_is_rejected(length: float, name: str) -> None:
    windows = {"test": 0.2, "validation": 0.2, name: length}
    with pytest.raises(SettingError, match=f"'{name}' must be a duration such as '30d' or a share"):
        by_time(busy(), **windows)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "30", "30 days", "-3d", "0d", "d", "month"])
@pytest.mark.parametrize("name", ["test", "validation", "gap", "horizon"])
def test_an_invalid_duration_is_rejected_by_name(text: str, name: str) -> None:
    with pytest.raises(SettingError, match=f"'{name}' must be a duration"):
        by_time(busy(), **{"test": "60h", name: text})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "windows",
    [
        {"test": "60h", "validation": "10000d"},
        {"test": "10000d"},
        {"test": "50000000d"},
        {"test": "60h", "gap": "5000000d"},
        {"test": 0.9, "validation": 0.9},
        {"test": 0.999},
        {"test": 0.5, "validation": 0.5},
    ],
)
def test_windows_without_training_events_are_rejected(windows: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"shorten|leaves no events"):
        by_time(busy(), **windows)


def test_a_share_too_small_for_a_single_event_is_rejected() -> None:
    with pytest.raises(DataError, match=r"'test' = 0\.0001 leaves no events on one side"):
        by_time(busy(), test=0.0001)


def test_an_empty_window_is_rejected_with_its_dates() -> None:
    log = views(("a", "x", 0), ("a", "y", 1), ("a", "z", 40))
    dates = "1970-01-10T12:00:00.000001Z to 1970-01-10T18:00:00.000001Z"
    with pytest.raises(DataError, match=f"the validation window, {dates}, has no events"):
        by_time(log, test="6h")


def test_a_window_without_likes_of_new_items_is_rejected() -> None:
    log = views(("a", "x", 0), ("a", "y", 10), ("a", "x", 20))
    with pytest.raises(DataError, match="no user liked a new item in the test window"):
        by_time(log, test="24h", validation="60h")


def test_unknown_request_times_are_rejected_with_the_choices() -> None:
    with pytest.raises(SettingError, match=r"must be sampled, first, each_event.*got 'random'"):
        by_time(busy(), test="60h", requests="random")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_users": 0}, "'max_users' must be at least 1, got 0"),
        ({"max_users": -1}, "'max_users' must be at least 1, got -1"),
        ({"max_users": 2.5}, "'max_users' must be an integer, got 2.5"),
        ({"max_users": "2"}, "'max_users' must be an integer, got '2'"),
        ({"seed": -1}, "'seed' must be at least 0, got -1"),
        ({"seed": True}, "'seed' must be an integer, got True"),
        ({"seed": None}, "'seed' must be an integer, got None"),
    ],
)
def test_an_invalid_count_or_seed_is_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}$"):
        by_time(busy(), test="60h", **setting)


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (pa.scalar(timedelta(hours=60)), "60h"),
        (pa.scalar("60h"), "60h"),
        (pd.Timedelta("60h"), "60h"),
        (np.timedelta64(60, "h"), "60h"),
        (pa.scalar(0.25), 0.25),
        (np.float64(0.25), 0.25),
    ],
)
def test_a_window_can_be_a_scalar_of_any_library(scalar: Any, plain: Any) -> None:
    found, expected = (by_time(busy(), test=w, validation=w, gap="6h") for w in (scalar, plain))
    assert found.protocol == expected.protocol
    assert found.test.requests.time.tolist() == expected.test.requests.time.tolist()


def test_a_scalar_that_is_not_a_window_is_rejected() -> None:
    for scalar in (pa.scalar(None), pa.scalar(5), pa.scalar(True)):
        with pytest.raises(SettingError, match="'test' must be a duration such as '30d' or"):
            by_time(busy(), test=scalar)


def test_data_without_events_is_rejected_with_a_fix() -> None:
    with pytest.raises(DataError, match="no events to split; pass data with events"):
        by_time(busy().before(0), test="60h")


def test_a_split_has_named_parts() -> None:
    split = by_time(busy(), test="60h")
    assert isinstance(split, Split)
    assert len(split.test) == len(split.test.requests) == len(split.test.truth) == 30
