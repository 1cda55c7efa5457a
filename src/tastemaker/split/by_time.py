"""The split by time: train on the past and make requests in a later window."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Task
from tastemaker.data.arguments import duration, is_moment, moment, scalar, whole_number
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, offsets_of, ranges, sorted_distinct
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import format_duration, format_moment
from tastemaker.errors import ClockError, DataError, SettingError
from tastemaker.inventory import Inventory
from tastemaker.statistics import ALL_TIME

MOMENTS_PER_USER = 5
MAX_USERS = 20_000
_DAY = 86_400_000_000

RequestMoments = Literal["sampled", "first", "each_event", "each_day", "at_cut"]


@dataclass(frozen=True, slots=True)
class Split:
    """A validation task and a test task of one log, each with the data before it.

    Attributes:
        train: the events before the validation window, for tuning and early stopping.
        validation: requests in the window before the test window.
        before_test: the events before the test window and its gap, including the validation
            window. Fit on it for the final result, like a model that goes live.
        test: requests in the last window.
        seen: which past events exclude an item from lists and relevant items.
        protocol: how the split was made, in text and numbers, to report with every result.
    """

    train: Dataset
    validation: Task
    before_test: Dataset
    test: Task
    seen: SeenPolicy
    protocol: dict[str, str | int]


def by_time(
    data: Dataset,
    *,
    test: Any,
    validation: Any = None,
    gap: str | timedelta | None = None,
    horizon: str | timedelta | None = None,
    requests: RequestMoments = "sampled",
    seen: SeenPolicy | Mapping[str, str] | None = None,
    max_users: int = MAX_USERS,
    seed: int = 0,
) -> Split:
    """Splits a log at points in time.

    Every user with events in a window makes requests at times of their own events in the window.
    The history of a request contains all events of the user strictly before its time. Its relevant
    items are the distinct items with a positive event from this time until the horizon, except the
    items that `seen` excludes. Events with the same timestamp are one target group. A replaced
    event counts until the time of the event that replaces it, on both sides.

    Args:
        data: the log; its clock must be absolute.
        test: the last window: a duration (`"30d"`, a timedelta), a share of the events (`0.2`), or
            the time at which it starts (a datetime, a date or ISO 8601 text).
        validation: the window before it, in the same form; by default as long as `test`.
        gap: a duration left out between train and validation, and between validation and test.
        horizon: how far ahead relevant items are collected; by default to the end of the window.
        requests: the request times: up to five random times per user (`sampled`), the `first`,
            `each_event`, the first of `each_day`, or the start of the window (`at_cut`).
        seen: which past events exclude an item from lists and relevant items, as a policy or as
            the rules of a placement (`{"view": "allow"}`); by default all event types.
        max_users: the most users of a window, drawn with `seed`.
        seed: the seed of the users and the sampled times.

    Raises:
        ClockError: the clock is not absolute.
        SettingError: a window is not a duration, a share or a time, `max_users` is not an integer
            of at least 1, or `seed` is not an integer of at least 0.
        DataError: a window or the training data would be empty.
    """
    if data.clock != "absolute":
        raise ClockError(
            f"by_time requires timestamps, but the clock of the data is '{data.clock}'; map a "
            "timestamp column under [data.columns.events], or use holdout, which requires none"
        )
    max_users, seed = whole_number(max_users, "max_users", 1), whole_number(seed, "seed", 0)
    time = np.sort(data.events.time)
    if not len(time):
        raise DataError("there are no events to split; pass data with events")
    if time[0] == time[-1]:
        raise DataError(
            "all events have the same time, so they cannot be split by time; evaluate with "
            'type = "holdout" under [split]'
        )
    pause = 0 if gap is None else duration(gap, "gap")
    test_start = _window_start(time, data.end, test, "test")
    validation_end = test_start - pause
    known = time[: np.searchsorted(time, validation_end)]
    length = test if validation is None else validation
    if validation is None and is_moment(test):
        length = timedelta(microseconds=data.end - test_start)
    start = _window_start(known, validation_end, length, "validation", share_of=len(time))
    train = data.before(start - pause)
    if not len(train.events):
        raise DataError(
            "no events are left for training before the validation window; shorten 'test', "
            "'validation' or 'gap'"
        )
    before_test = data.before(validation_end)
    ahead = None if horizon is None else duration(horizon, "horizon")
    policy = seen if isinstance(seen, SeenPolicy) else SeenPolicy.of(data.kinds, seen)
    tasks = {
        name: window_task(
            data,
            known_before,
            window,
            name,
            horizon=ahead,
            moments=requests,
            seen=policy,
            max_users=max_users,
            seed=seed,
        )
        for name, known_before, window in (
            ("validation", train, (start, validation_end)),
            ("test", before_test, (test_start, data.end)),
        )
    }
    protocol: dict[str, str | int] = {
        "split": "by_time",
        "gap": _protocol_text(gap, pause) or "none",
        "horizon": _protocol_text(horizon, ahead or 0) or "to the window's end",
        "request_moments": requests,
        "ranking": "all items, none sampled",
        "validation_from": format_moment(start),
        "validation_until": format_moment(validation_end),
        "test_from": format_moment(test_start),
        "test_until": format_moment(data.end),
        "seed": seed,
    }
    return Split(train, tasks["validation"], before_test, tasks["test"], policy, protocol)


def _protocol_text(given: str | timedelta | None, length: int) -> str:
    """A duration as reported in the protocol; empty if there is none."""
    return given if isinstance(given, str) else format_duration(length) if given else ""


def _window_start(
    time: NDArray[np.int64],
    end: int,
    length: Any,
    name: str,
    share_of: int | None = None,
) -> int:
    """The start of a window that ends at `end`; `time` is sorted and before the end."""
    given, length = length, scalar(length)
    if is_moment(length):
        start = moment(length, name)
        if not start < end:
            raise DataError(
                f"the {name} window starts at {format_moment(start)}, but the events before its "
                f"end stop at {format_moment(end)}; choose an earlier time"
            )
        return start
    if isinstance(length, str | timedelta | np.timedelta64):
        return end - duration(length, name)
    if not isinstance(length, float | np.floating | int) or not 0 < length < 1:
        raise SettingError(
            f"'{name}' must be a duration such as '30d' or a share between 0 and 1, or the time "
            f"at which the window starts, got {given!r}"
        )
    count = round(length * (share_of or len(time)))
    if not 0 < count < len(time):
        raise DataError(
            f"'{name}' = {length} leaves no events on one side of {len(time)} events: "
            "choose another share, or add events"
        )
    return int(time[len(time) - count])


def window_task(
    data: Dataset,
    train: Dataset,
    window: tuple[int, int],
    name: str,
    *,
    horizon: int | None = None,
    moments: RequestMoments = "sampled",
    seen: SeenPolicy,
    max_users: int = MAX_USERS,
    seed: int = 0,
) -> Task:
    """Requests in one window, with the relevant items from their times until it ends.

    Items whose first event is at or after the end of the window are not eligible.

    Args:
        data: the whole log.
        train: the data that the sources were fitted on.
        window: start (included) and end (excluded), microseconds.
        name: the name of the window in messages.
        horizon: how far ahead relevant items are collected, microseconds; by default to the end
            of the window.
        moments: the request times, as `requests` of `by_time`.
        seen: which past events exclude an item from the relevant items.
        max_users: the most users of the window, drawn with `seed`.
        seed: the seed of the users and the sampled times.

    Raises:
        DataError: the window has no event, or no user liked a new item in it.
        SettingError: `max_users` is not an integer of at least 1, or `seed` not one of at least 0.
    """
    max_users, seed = whole_number(max_users, "max_users", 1), whole_number(seed, "seed", 0)
    log = data.events
    is_known = np.diff(train.events.offsets) > 0
    start, end = window
    inside = np.flatnonzero((log.time >= start) & (log.time < end))
    if not len(inside):
        raise DataError(
            f"the {name} window, {format_moment(start)} to {format_moment(end)}, has no events; "
            "choose a longer one"
        )
    in_window = np.unique(log.user[inside])
    if len(in_window) > max_users:
        drawn = np.random.default_rng(seed).choice(in_window, max_users, replace=False)
        inside = inside[np.isin(log.user[inside], drawn)]
    users, times = _moments(log.user[inside], log.time[inside], start, moments, seed)
    until = np.full(len(times), end) if horizon is None else np.minimum(times + horizon, end)
    requests = _without_later_items(data.requests(users, times, seen=seen), data, end)
    truth, excluded = relevant_after(data, users, times, until, requests.exclude)
    answerable = np.flatnonzero(truth.counts)
    if not len(answerable):
        raise DataError(f"no user liked a new item in the {name} window; choose a longer one")
    truth = truth.take(answerable)
    fitted_items = np.bincount(train.events.item, minlength=len(data.catalogue)) > 0
    notes = {
        "users_in_window": len(in_window),
        "users_not_drawn": max(0, len(in_window) - max_users),
        "users": len(np.unique(users[answerable])),
        "requests": len(answerable),
        "requests_without_truth_left_out": len(users) - len(answerable),
        "relevant": len(truth.values),
        "relevant_but_seen": excluded,
        "relevant_new_items": int((~fitted_items[truth.values]).sum()),
        "requests_of_new_users": int((~is_known[users[answerable]]).sum()),
        "requests_without_history": int((requests.history.counts[answerable] == 0).sum()),
    }
    return Task(
        requests.take(answerable),
        truth,
        np.ones(len(truth.values), np.float32),
        users[answerable].astype(np.int32),
        is_known[users[answerable]],
        Inventory.of(data),
        notes,
    )


def _without_later_items(requests: Requests, data: Dataset, end: int) -> Requests:
    """The requests without items whose first event is at or after `end` as eligible items.

    The catalogue contains these items, but they were not known in the window.
    """
    first = np.full(len(data.catalogue), ALL_TIME, np.int64)
    np.minimum.at(first, data.events.item, data.events.time)
    later = (first >= end) & (first < ALL_TIME)
    if not later.any():
        return requests
    return replace(requests, eligible=Masks(~later[None, :], np.zeros(len(requests), np.int32)))


def _moments(
    user: NDArray[np.int32],
    time: NDArray[np.int64],
    start: int,
    moments: RequestMoments,
    seed: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The users and times of the requests, ordered by user and time.

    Args:
        user: int32[n], the user of each event in the window, sorted.
        time: int64[n], the time of each event, sorted within a user.
        start: the start of the window.
        moments: the times to use.
        seed: the seed of the sample.
    """
    if moments == "at_cut":
        users = np.unique(user)
        return users, np.full(len(users), start, np.int64)
    unit = time // _DAY if moments == "each_day" else time
    new_user = np.diff(user, prepend=-1) != 0
    distinct = np.flatnonzero(new_user | (np.diff(unit, prepend=unit[0] - 1) != 0))
    users, times = user[distinct], time[distinct]
    if moments in ("each_event", "each_day"):
        return users, times
    first = offsets_of(np.unique(users, return_counts=True)[1])
    per_user = np.diff(first)
    if moments == "first":
        return users[first[:-1]], times[first[:-1]]
    if moments != "sampled":
        raise SettingError(
            f"'requests' must be sampled, first, each_event, each_day or at_cut, got {moments!r}"
        )
    drawn = np.lexsort((np.random.default_rng(seed).random(len(users)), users))
    chosen = np.sort(drawn[ranges(first[:-1], np.minimum(per_user, MOMENTS_PER_USER))])
    return users[chosen], times[chosen]


def relevant_after(
    data: Dataset,
    users: NDArray[np.integer],
    times: NDArray[np.int64],
    until: NDArray[np.int64],
    exclude: Ragged,
    kind: str | None = None,
) -> tuple[Ragged, int]:
    """The relevant items of each request, and the number of liked items that are excluded.

    An item is relevant if it is not in `exclude` and has a positive event in the period that was
    not replaced before the end of the period.

    Args:
        data: the whole log.
        users: [n], the user of each request.
        times: int64[n], the start of each period (included), microseconds.
        until: int64[n], the end of each period (excluded), microseconds.
        exclude: the items that do not count, sorted in each row.
        kind: the event type that counts; by default all positive ones.
    """
    log, n_items = data.events, len(data.catalogue)
    first = np.array([_position(log.time, log.offsets, u, t) for u, t in zip(users, times)])
    last = np.array([_position(log.time, log.offsets, u, t) for u, t in zip(users, until)])
    counts = np.maximum(last - first, 0)
    later = ranges(first.astype(np.int64), counts.astype(np.int64))
    rows = np.repeat(np.arange(len(users)), counts)
    liked = (log.preference[later] > 0) & log.counts_at(later, until[rows])
    if kind is not None:
        liked &= log.kind[later] == list(data.kinds).index(kind)
    pairs = sorted_distinct(rows[liked] * n_items + log.item[later][liked])
    excluded = np.repeat(np.arange(len(users)), exclude.counts) * n_items + exclude.values
    relevant = pairs[~np.isin(pairs, excluded, assume_unique=True)]
    offsets = np.searchsorted(relevant, np.arange(len(users) + 1) * n_items).astype(np.int64)
    return Ragged(offsets, (relevant % n_items).astype(np.int32)), len(pairs) - len(relevant)


def _position(
    time: NDArray[np.int64], offsets: NDArray[np.int64], user: np.integer, moment: np.int64
) -> int:
    """The position of the user's first event at or after a time."""
    start, stop = offsets[user], offsets[user + 1]
    return int(start + np.searchsorted(time[start:stop], moment))
