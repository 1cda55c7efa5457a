"""Popularity of an item among all users, recent and all-time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.catalogue import NO_TIME
from tastemaker.data.times import MICROSECONDS
from tastemaker.features.pairs import Pairs
from tastemaker.statistics import ALL_TIME, EVERY

_HOUR = MICROSECONDS["h"]
_WINDOWS = {
    "1h": _HOUR,
    "24h": 24 * _HOUR,
    "7d": 7 * 24 * _HOUR,
    "30d": 30 * 24 * _HOUR,
    "all": int(ALL_TIME),
}
_ALL_TIME_WINDOW = slice(len(_WINDOWS) - 1, len(_WINDOWS))
_PRIOR_EVENTS = 20.0
"""Events of the average item added to every rate (α + β of the Beta prior)."""
_TREND_EVENTS = 5.0
"""Events of the average item added to every trend."""


@dataclass(frozen=True, slots=True)
class Popularity:
    """Counts, shares, trends and smoothed rates of an item at the request's time.

    Rates are posterior means under a Beta prior centred on the rate of all items. One like in one
    event therefore does not outrank 900 likes in 1,000 events. The rate of all items is shrunk
    towards one half in the same way, so that a few items do not define their own prior.

    Attributes:
        kinds: the event types; if there are several, the rate of each one is a feature.
    """

    kinds: tuple[str, ...]

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        named = {f"item_likes_{w}": f"likes in the last {w}, log" for w in _WINDOWS}
        named["item_likes_all"] = "likes ever, log"
        for short, long in (("1h", "24h"), ("24h", "7d"), ("7d", "30d")):
            named[f"item_trend_{short}"] = f"likes per hour in the last {short} over {long}, log"
        named["item_share_7d"] = "share of all likes in the last 7d, log"
        named["item_share_all"] = "share of all likes ever, log"
        named["item_like_rate"] = "likes per event, smoothed"
        named["item_like_rate_30d"] = "likes per event in the last 30d, smoothed"
        named["item_age"] = "hours since the first event, log"
        named["item_idle"] = "hours since the last event, log"
        return named | {f"item_rate_{k}": f"share of {k} among its events" for k in self._rates}

    @property
    def _rates(self) -> tuple[str, ...]:
        return self.kinds if len(self.kinds) > 1 else ()

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        statistics, windows = pairs.inventory.statistics, tuple(_WINDOWS.values())
        time, moments = pairs.time, pairs.requests.time
        own = statistics.stretches(pairs.item, time, windows)
        whole = statistics.stretches(None, moments, windows)
        likes, events = own.counts(), own.counts(EVERY)
        all_likes, all_events = whole.counts(), whole.counts(EVERY)
        lengths = np.array(windows, np.float64)
        fixed = out.shape[1] - len(self._rates)
        _describe(
            *(pairs.row, time, likes, events, *own.first_and_last()),
            *(all_likes, all_events, lengths, out[:, :fixed]),
        )
        for place, kind in enumerate(self._rates, start=fixed):
            of_kind, all_of_kind = (
                own.counts(kind, _ALL_TIME_WINDOW),
                whole.counts(kind, _ALL_TIME_WINDOW),
            )
            _rates(pairs.row, of_kind, events, all_of_kind, all_events, out[:, place])


@kernel
def _rate(part, whole, all_part, all_whole):  # type: ignore[no-untyped-def]
    """The posterior mean of part / whole under a Beta prior worth `_PRIOR_EVENTS` events."""
    prior = (all_part + 0.5 * _PRIOR_EVENTS) / (all_whole + _PRIOR_EVENTS)
    return (part + _PRIOR_EVENTS * prior) / (whole + _PRIOR_EVENTS)


@kernel
def _rates(row, part, whole, all_part, all_whole, out):  # type: ignore[no-untyped-def]
    """Writes one smoothed rate per pair."""
    for i in range(len(row)):
        out[i] = _rate(part[i, 0], whole[i, 4], all_part[row[i], 0], all_whole[row[i], 4])


@kernel
def _describe(  # type: ignore[no-untyped-def]
    row, time, likes, events, first, last, all_likes, all_events, lengths, out
):
    """Writes counts, trends, shares, rates and ages of every pair, in the order of the columns."""
    for i in range(len(row)):
        request = row[i]
        for w in range(5):
            out[i, w] = np.log1p(likes[i, w])
        for w in range(3):
            expected = lengths[w] / lengths[w + 1]
            recent = likes[i, w] + _TREND_EVENTS * expected
            out[i, 5 + w] = np.log(recent / ((likes[i, w + 1] + _TREND_EVENTS) * expected))
        out[i, 8] = np.log((likes[i, 2] + 1.0) / (all_likes[request, 2] + 1.0))
        out[i, 9] = np.log((likes[i, 4] + 1.0) / (all_likes[request, 4] + 1.0))
        out[i, 10] = _rate(likes[i, 4], events[i, 4], all_likes[request, 4], all_events[request, 4])
        out[i, 11] = _rate(likes[i, 3], events[i, 3], all_likes[request, 3], all_events[request, 3])
        out[i, 12] = np.nan
        out[i, 13] = np.nan
        if first[i] != NO_TIME:
            out[i, 12] = np.log1p((time[i] - first[i]) / _HOUR)
            out[i, 13] = np.log1p((time[i] - last[i]) / _HOUR)
