"""Which items a user with many events has seen, without reading all the events for each answer.

The store sums a user's events up by item. These sums are read once, kept, and brought up to date by
the events that came since, so that an answer costs the same however long the log is.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.seen import SeenPolicy
from tastemaker.data.state import NEVER, Replacement
from tastemaker.serving.live import Live
from tastemaker.store import Store, StoredPairs

ROWS_AT_ONCE = 20_000
"""Rows of sums that are read while others wait, about 20 ms; more are read beside them."""
MOST_CHANGED = 1_000
"""So many events may come before a user's sums are read again."""
MOST_KEPT = 2_000_000
"""Items of all users together that are kept, 24 bytes each."""
_FOREVER = int(np.iinfo(np.int64).max)


class ManySeenItems(Exception):  # noqa: N818 - not a failure: it says where the work belongs
    """The sums of a user take long to read: call again with `patient`, off the scoring thread."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The items one user has seen, as of a place in the log.

    Attributes:
        state: of the table of sums; see `Store.pairs_state`.
        live: whose event types and catalogue these are.
        window: int64[kinds], of the seen policy.
        sequence: the place in the log.
        key: int64[m], the items by the store's keys, ascending.
        until: int64[m], the moment until which each is excluded, microseconds.
        index: int32[k], the items of the catalogue among them, ascending.
        index_until: int64[k].
    """

    state: str
    live: Live
    window: NDArray[np.int64]
    sequence: int
    key: NDArray[np.int64]
    until: NDArray[np.int64]
    index: NDArray[np.int32]
    index_until: NDArray[np.int64]


class SeenItems:
    """The seen items of users with many events; used by any number of threads.

    Args:
        store: where their events are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, str | None], _Seen] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def of(
        self, user_id: str, placement: str | None, live: Live, now: int, *, patient: bool = True
    ) -> NDArray[np.int32]:
        """The items to exclude for a user at a moment, int32[m], ascending and distinct.

        The same as `Past.request` finds in the whole log, but that a return of more than there
        was counts against what was there before it.

        Args:
            user_id: the user.
            placement: whose seen policy to use; None, the first placement's.
            live: the state that answers.
            now: the moment, microseconds.
            patient: whether to read however much there is to read.

        Raises:
            ManySeenItems: not `patient`, and much would have to be read.
        """
        policy = live.recommender.seen(placement)
        state = self._store.pairs_state()
        seen = self._kept.get((user_id, placement))
        if seen is None or seen.state != state or not _holds(seen, live, policy):
            seen = self._read(user_id, live, policy, state, patient)
            self._keep((user_id, placement), seen)
        elif seen.live.index_of_item is not live.index_of_item:
            seen = _indexed(replace(seen, live=live))
            self._keep((user_id, placement), seen)
        changed = self._store.items_after(user_id, seen.sequence, MOST_CHANGED + 1)
        if len(changed) > MOST_CHANGED:
            seen = self._read(user_id, live, policy, state, patient)
            self._keep((user_id, placement), seen)
            changed = []
        excluded = seen.index[seen.index_until > now]
        if not changed:
            return excluded
        return self._with(excluded, user_id, changed, live, policy, now)

    def _with(
        self,
        excluded: NDArray[np.int32],
        user_id: str,
        changed: list[int],
        live: Live,
        policy: SeenPolicy,
        now: int,
    ) -> NDArray[np.int32]:
        """Excluded items, those with new events looked at again."""
        keys = np.unique(changed)
        key, until = excluded_until(self._store.pairs(user_id, items=keys.tolist()), live, policy)
        away = live.indices(key[until > now])
        kept = np.setdiff1d(excluded, live.indices(keys), assume_unique=True)
        return np.union1d(kept, away[away >= 0])

    def _read(
        self, user_id: str, live: Live, policy: SeenPolicy, state: str, patient: bool
    ) -> _Seen:
        sequence = self._store.last_sequence(user_id)  # what comes from here on is looked at again
        key, until, after = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        while True:
            part = self._store.pairs(user_id, after, ROWS_AT_ONCE)
            is_last = len(part) < ROWS_AT_ONCE
            if not (is_last or patient):
                raise ManySeenItems
            if not is_last:  # of the last item there may be more rows
                after = int(part.item[-1]) - 1
                part = part.rows(part.item <= after)
            found = excluded_until(part, live, policy)
            key.append(found[0])
            until.append(found[1])
            if is_last:
                break
        columns = (np.concatenate(key), np.concatenate(until))
        none = (np.empty(0, np.int32), np.empty(0, np.int64))
        return _indexed(_Seen(state, live, policy.window, sequence, *columns, *none))

    def _keep(self, of: tuple[str, str | None], seen: _Seen) -> None:
        with self._lock:
            earlier = self._kept.pop(of, None)
            self._size += len(seen.key) - (0 if earlier is None else len(earlier.key))
            self._kept[of] = seen
            while self._size > MOST_KEPT and len(self._kept) > 1:
                self._size -= len(self._kept.popitem(last=False)[1].key)


def excluded_until(
    pairs: StoredPairs, live: Live, policy: SeenPolicy
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Until when the events of each item exclude it.

    Args:
        pairs: the sums; of each item all or none.
        live: whose event types they are read by.
        policy: which events exclude, and for how long.

    Returns:
        The items by the store's keys, int64[m], ascending, and the moments, int64[m].
    """
    kind = live.kinds_of(pairs.kind)
    order = np.lexsort((pairs.sequence, pairs.time))
    order = order[kind[order] >= 0]
    kind, time = kind[order], pairs.time[order]
    value = np.where(pairs.negative[order], -np.abs(pairs.amount[order]), pairs.amount[order])
    window = policy.window[kind]
    away = window > 0
    rules = Replacement.of(live.recommender.kinds)
    if rules is not None:
        user, item = np.zeros(len(order), np.int32), pairs.item[order].astype(np.int32)
        replaced_at = rules.times(user, item, kind, value, time)
        away &= ~rules.returned(kind, value)
        if replaced_at is not None:
            away &= replaced_at == NEVER
    window, time = window[away], time[away]
    moment = np.where(
        window > _FOREVER - time, _FOREVER, time + np.minimum(window, _FOREVER - time)
    )
    key, place = np.unique(pairs.item[order][away], return_inverse=True)
    until = np.zeros(len(key), np.int64)
    np.maximum.at(until, place, moment)
    return key, until


def _holds(seen: _Seen, live: Live, policy: SeenPolicy) -> bool:
    """Whether what was read means the same now."""
    same_kinds = seen.live.recommender.kinds == live.recommender.kinds
    same_keys = seen.live.code_of_kind is live.code_of_kind
    return same_kinds and same_keys and np.array_equal(seen.window, policy.window)


def _indexed(seen: _Seen) -> _Seen:
    """The same, by the indices of its catalogue."""
    index = seen.live.indices(seen.key)
    known = np.flatnonzero(index >= 0)
    order = known[np.argsort(index[known])]
    return replace(seen, index=index[order], index_until=seen.until[order])
