"""Replacement of events: a later event of the same user and item can replace an earlier one.

At a moment m, an event before m counts if it was not replaced strictly before m.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.schema import EventKind

NEVER = int(np.iinfo(np.int64).max)

_TOLERANCE = 1e-6
"""The rounding error of an amount that was returned in full, as a share of the amount."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Rules that define which event types replace which, and which values are amounts.

    A negative amount is a return. It replaces all earlier events of the same type, user and item
    once the amounts since the last complete return add up to 0 or less. A missing amount counts as
    1. A partial return replaces no events.

    Attributes:
        replaces: bool[kinds, kinds], whether an event of the row's type replaces earlier events of
            the column's type.
        is_amount: bool[kinds].
    """

    replaces: NDArray[np.bool_]
    is_amount: NDArray[np.bool_]

    @classmethod
    def of(cls, kinds: Mapping[str, EventKind]) -> "Replacement | None":
        """The rules declared by the event types; None if no event can ever be replaced."""
        replaces = np.zeros((len(kinds), len(kinds)), np.bool_)
        codes = {name: code for code, name in enumerate(kinds)}
        for name, kind in kinds.items():
            replaces[codes[name], [codes[other] for other in kind.replaced(name)]] = True
        is_amount = np.array([kind.strength is not None for kind in kinds.values()], np.bool_)
        return cls(replaces, is_amount) if replaces.any() or is_amount.any() else None

    def returned(self, kind: NDArray[np.int8], value: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which events are returns or cancellations, bool[n]."""
        returned: NDArray[np.bool_] = value < 0
        return returned & self.is_amount[kind]

    def times(
        self,
        user: NDArray[np.int32],
        item: NDArray[np.int32],
        kind: NDArray[np.int8],
        value: NDArray[np.float32],
        time: NDArray[np.int64],
    ) -> NDArray[np.int64] | None:
        """When each event of a log was replaced.

        Args:
            user: int32[n].
            item: int32[n]; events of an unknown item (−1) neither replace nor are replaced.
            kind: int8[n], position in the kinds.
            value: float32[n], NaN if missing.
            time: int64[n], microseconds; ascending within a user. If two events have the same
                time, the later row replaces the earlier one.

        Returns:
            int64[n], `NEVER` for events that were not replaced; None if none was.

        Cost: one stable sort of the events of the affected types.
        """
        targets = self._targets(kind, value)
        if not targets.any():
            return None
        affected = targets | self.replaces[:, targets].any(axis=1)
        rows = np.flatnonzero(affected[kind] & (item >= 0))
        rows, pair = _repeated(rows, user, item)
        kind, value, moment = kind[rows], value[rows], time[rows]
        used_up = self._used_up(pair, kind, value)
        replaced = np.full(len(time), NEVER, np.int64)
        for code in np.flatnonzero(targets):
            own = kind == code
            place = _next(pair, self.replaces[kind, code] | (used_up & own), np.flatnonzero(own))
            ended = place < len(rows)
            replaced[rows[own][ended]] = moment[place[ended]]
        return replaced if (replaced < NEVER).any() else None

    def _targets(self, kind: NDArray[np.int8], value: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which types have events that another event in the log could replace, bool[kinds]."""
        present = np.bincount(kind, minlength=len(self.is_amount)) > 0
        targets: NDArray[np.bool_] = present & self.replaces[present].any(axis=0)
        if (present & self.is_amount).any():
            targets[kind[self.returned(kind, value)]] = True
        return targets

    def _used_up(
        self, pair: NDArray[np.int64], kind: NDArray[np.int8], value: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Which returns complete the return of everything of their pair and type, bool[n].

        A Python loop, but only over pairs that have a return.

        Args:
            pair: int64[n], ascending.
            kind: int8[n], the kind of each event, in order within a pair.
            value: float32[n].
        """
        used_up, returned = np.zeros(len(pair), np.bool_), self.returned(kind, value)
        for code in np.unique(kind[returned]):
            with_return = np.isin(pair, pair[returned & (kind == code)])
            counted = kind == code
            rows = np.flatnonzero(with_return & (counted | self.replaces[kind, code]))
            starts = self.replaces[kind[rows], code]
            starts[1:] |= pair[rows[1:]] != pair[rows[:-1]]
            amount = np.where(np.isnan(value[rows]), 1.0, value[rows]).astype(np.float64)
            amount[~counted[rows]] = 0.0
            used_up[rows] |= _nothing_left(amount, starts) & returned[rows] & counted[rows]
        return used_up


def _repeated(
    rows: NDArray[np.int64], user: NDArray[np.int32], item: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows whose user–item pair occurs more than once, grouped by pair, and their pairs."""
    width = np.int64(item.max(initial=0)) + 1
    pair = user[rows].astype(np.int64) * width + item[rows]
    order = np.argsort(pair, kind="stable")
    rows, pair = rows[order], pair[order]
    same = pair[1:] == pair[:-1]
    several = np.zeros(len(pair), np.bool_)
    several[1:] |= same
    several[:-1] |= same
    return rows[several], pair[several]


def _next(
    pair: NDArray[np.int64], marked: NDArray[np.bool_], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The first marked row after each of `rows` that has the same pair; n if there is none."""
    n = len(pair)
    first = np.full(n + 1, n, np.int64)
    first[:n][marked] = np.flatnonzero(marked)
    following = np.minimum.accumulate(first[::-1])[::-1][rows + 1]
    inside = following < n
    inside[inside] = pair[following[inside]] == pair[rows[inside]]
    return np.where(inside, following, n)


def _nothing_left(amount: NDArray[np.float64], starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the running sum is used up after each amount; the sum restarts at `starts`."""
    used_up = []
    net = added = 0.0
    for change, begins in zip(amount.tolist(), starts.tolist()):
        if begins:
            net = added = 0.0
        net += change
        added += max(change, 0.0)
        used_up.append(net <= _TOLERANCE * added)
        if used_up[-1]:
            net = added = 0.0
    return np.array(used_up, np.bool_)
