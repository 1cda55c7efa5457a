"""User activity: how many events, how recent, and how popular the liked items are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.times import MICROSECONDS
from tastemaker.features.pairs import Pairs
from tastemaker.statistics import ALL_TIME

_HOUR = MICROSECONDS["h"]
_WINDOWS = np.array([_HOUR, 24 * _HOUR, 7 * 24 * _HOUR])
_SESSION_GAP = 30 * MICROSECONDS["m"]
_PRIOR_EVENTS = 2.0
_LATEST_LIKES = 50

_COLUMNS = {
    "user_events": "events of the user, log",
    "user_likes": "likes of the user, log",
    "user_like_rate": "likes per event of the user, smoothed",
    "user_events_1h": "events of the user in the last hour, log",
    "user_events_24h": "events of the user in the last 24h, log",
    "user_events_7d": "events of the user in the last 7d, log",
    "user_idle": "hours since the user's last event, log",
    "user_age": "hours since the user's first event, log",
    "user_session_events": "events of the user in the current session, log",
    "user_popularity": "popularity of the user's latest likes, mean log",
    "popularity_gap": "popularity of the item compared with the user's latest likes",
}


@dataclass(frozen=True, slots=True)
class Activity:
    """Features of the user, computed from the request's history.

    A pause of more than half an hour ends a session. Popularity is counted up to the request's
    time.
    """

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        return _COLUMNS

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        history, statistics = pairs.requests.history, pairs.inventory.statistics
        everything = (int(ALL_TIME),)
        users = np.empty((len(pairs.requests), len(_COLUMNS) - 1), np.float32)
        moment = np.repeat(pairs.requests.time, history.counts)
        recent_likes = np.full(len(history.item), -1, np.int32)
        _latest_likes(history.offsets, history.item, history.weight, recent_likes)
        liked = statistics.counts(recent_likes, moment, everything)[:, 0]
        likes = (history.time, history.weight, liked)
        _describe(pairs.requests.time, history.offsets, *likes, _WINDOWS, users)
        popular = statistics.counts(pairs.item, pairs.time, everything)[:, 0]
        _spread(users, pairs.row, popular, out)


@kernel
def _latest_likes(offsets, item, weight, out):  # type: ignore[no-untyped-def]
    """Copies the latest liked items, whose popularity is looked up; the others stay −1."""
    for row in range(len(offsets) - 1):
        latest = 0
        for event in range(offsets[row + 1] - 1, offsets[row] - 1, -1):
            if latest == _LATEST_LIKES:
                break
            if weight[event] > 0:
                latest += 1
                out[event] = item[event]


@kernel
def _describe(now, offsets, time, weight, popular, windows, out):  # type: ignore[no-untyped-def]
    """Writes one row per user, in the order of the columns."""
    for row in range(len(now)):
        start, stop = offsets[row], offsets[row + 1]
        likes, latest, total = 0, 0, 0.0
        session = 0
        recent = np.zeros(len(windows))
        following = now[row]
        in_session = True
        for event in range(stop - 1, start - 1, -1):
            in_session = in_session and following - time[event] <= _SESSION_GAP
            following = time[event]
            session += in_session
            for w in range(len(windows)):
                recent[w] += now[row] - time[event] <= windows[w]
            if weight[event] > 0:
                likes += 1
                if latest < _LATEST_LIKES:
                    latest += 1
                    total += np.log1p(popular[event])
        out[row, 0] = np.log1p(stop - start)
        out[row, 1] = np.log1p(likes)
        out[row, 2] = (likes + 0.5 * _PRIOR_EVENTS) / (stop - start + _PRIOR_EVENTS)
        for w in range(len(windows)):
            out[row, 3 + w] = np.log1p(recent[w])
        out[row, 6] = np.nan
        out[row, 7] = np.nan
        if stop > start:
            out[row, 6] = np.log1p((now[row] - time[stop - 1]) / _HOUR)
            out[row, 7] = np.log1p((now[row] - time[start]) / _HOUR)
        out[row, 8] = np.log1p(session)
        out[row, 9] = total / latest if latest else np.nan


@kernel
def _spread(users, row, popular, out):  # type: ignore[no-untyped-def]
    """Copies each user's row to their candidates and adds the popularity gap."""
    width = users.shape[1]
    for i in range(len(row)):
        for column in range(width):
            out[i, column] = users[row[i], column]
        out[i, width] = np.log1p(popular[i]) - users[row[i], width - 1]
