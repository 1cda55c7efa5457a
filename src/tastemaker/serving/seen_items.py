"""The seen items of users with many events, without reading all events for each request.

The store keeps sums of a user's events by item. The sums are read once, cached, and updated with
later events, so that the cost of a request does not depend on the length of the log.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.state import NEVER, Replacement
from tastemaker.giving_way import give_way
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.store import Store, StoredPairs

ROWS_AT_ONCE = 20_000
"""Most rows of sums that are read on the scoring thread, about 20 ms."""
MOST_CHANGED = 1_000
"""Most new events of a user that are added on the scoring thread."""
MOST_KEPT = 2_000_000
"""Most cached items of all users together, 28 bytes each."""
_FOREVER = int(np.iinfo(np.int64).max)
Integer = TypeVar("Integer", np.int32, np.int64)


class ManySeenItems(Exception):  # noqa: N818 - a signal, not a failure
    """Reading a user's sums is slow: call again with `allow_slow`, off the scoring thread."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The items one user has seen, up to a position in the log.

    It holds no reference to a snapshot, so that an old version can be freed.

    Attributes:
        state: the state of the user's sums; see `Store.pairs_state`.
        kinds: the event types.
        code_of_kind: int8[keys], the positions of the event types by the store's keys.
        window: int64[kinds], the windows of the seen policy.
        sequence: the position in the log.
        key: int64[m], the items by the store's keys, ascending.
        until: int64[m], the time until which each item is excluded, in microseconds.
        generation: the generation of the indices in `index`; see `ModelSnapshot`. −1 without any.
        n_items: the number of items in the catalogue.
        index: int32[k], the catalogue indices of those items that have one, ascending.
        index_until: int64[k], the times for `index`.
    """

    state: str
    kinds: Mapping[str, EventKind]
    code_of_kind: NDArray[np.int8]
    window: NDArray[np.int64]
    sequence: int
    key: NDArray[np.int64]
    until: NDArray[np.int64]
    generation: int = -1
    n_items: int = 0
    index: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    index_until: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def is_valid(self, state: str, snapshot: ModelSnapshot, policy: SeenPolicy) -> bool:
        """Whether the cached items are valid for the current store, snapshot and policy."""
        return (
            self.state == state
            and self.kinds == snapshot.recommender.kinds
            and np.array_equal(self.code_of_kind, snapshot.code_of_kind)
            and np.array_equal(self.window, policy.window)
        )

    def indexed(self, snapshot: ModelSnapshot, allow_slow: bool) -> "_Seen":
        """The same items with the catalogue indices of a snapshot, or of a later one.

        Raises:
            ManySeenItems: many items must be looked up, and `allow_slow` is False.
        """
        size = len(snapshot.recommender.inventory.catalogue)
        if self.generation == snapshot.generation:
            if size <= self.n_items:
                return self
            key = np.flatnonzero(snapshot.index_of_item >= self.n_items)  # of later items
            place = np.minimum(np.searchsorted(self.key, key), max(0, len(self.key) - 1))
            place = place[self.key[place] == key] if len(self.key) else place[:0]
            known = (self.index, self.index_until)
        else:
            if len(self.key) > ROWS_AT_ONCE and not allow_slow:
                raise ManySeenItems
            place = np.arange(len(self.key))
            known = (self.index[:0], self.index_until[:0])
        index, until = _merge(*known, snapshot.indices(self.key[place]), self.until[place])
        return replace(
            self, generation=snapshot.generation, n_items=size, index=index, index_until=until
        )

    def update(
        self,
        key: NDArray[np.int64],
        until: NDArray[np.int64],
        sequence: int,
        snapshot: ModelSnapshot,
    ) -> "_Seen":
        """The same items up to a later position in the log, with some times changed.

        Args:
            key: int64[m], the changed items, distinct.
            until: int64[m], their times; 0 for an item that is not excluded.
            sequence: the position in the log.
            snapshot: the snapshot with the catalogue indices.
        """
        keys = _merge(self.key, self.until, key, until)
        indices = _merge(self.index, self.index_until, snapshot.indices(key), until)
        return replace(
            self,
            sequence=sequence,
            key=keys[0],
            until=keys[1],
            index=indices[0],
            index_until=indices[1],
        )


class SeenItems:
    """A cache of the seen items of users with many events. Any number of threads can use it.

    Args:
        store: the store with the events.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: OrderedDict[tuple[str, str | None], _Seen] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._slow_lock = threading.Lock()

    def of(
        self,
        user_id: str,
        placement: str | None,
        snapshot: ModelSnapshot,
        now: int,
        *,
        allow_slow: bool = True,
    ) -> NDArray[np.int32]:
        """The items to exclude for a user at a given time, int32[m], ascending and distinct.

        The same items as `Past.request` finds in the whole log, with one exception: a return that
        is larger than the amount so far counts only against earlier events.

        Args:
            user_id: the user.
            placement: the placement whose seen policy is used; None for the first.
            snapshot: the snapshot that answers.
            now: the time in microseconds.
            allow_slow: whether a slow read is allowed.

        Raises:
            ManySeenItems: a slow read is needed, and `allow_slow` is False.
        """
        # of several threads that need the same sums, one reads them and the others use the cache
        with self._slow_lock if allow_slow else nullcontext():
            seen = self._current(user_id, placement, snapshot, allow_slow)
        size = len(snapshot.recommender.inventory.catalogue)
        # the cached items can be of a later snapshot
        known = slice(np.searchsorted(seen.index, size))
        return seen.index[known][seen.index_until[known] > now]

    def _current(
        self, user_id: str, placement: str | None, snapshot: ModelSnapshot, allow_slow: bool
    ) -> _Seen:
        """The up-to-date seen items of a user. They are cached."""
        policy = snapshot.recommender.seen(placement)
        state = self._store.pairs_state(user_id)
        cached = self._find((user_id, placement))
        if cached is not None and cached.is_valid(state, snapshot, policy):
            seen = self._updated(user_id, cached, snapshot, policy, allow_slow)
        else:
            seen = self._read(user_id, snapshot, policy, state, allow_slow)
        size = len(snapshot.recommender.inventory.catalogue)
        if cached is None or (snapshot.generation, size) >= (cached.generation, cached.n_items):
            self._keep((user_id, placement), seen)
        return seen

    def _updated(
        self,
        user_id: str,
        seen: _Seen,
        snapshot: ModelSnapshot,
        policy: SeenPolicy,
        allow_slow: bool,
    ) -> _Seen:
        """The cached items, updated with later events."""
        seen = seen.indexed(snapshot, allow_slow)
        most = ROWS_AT_ONCE if allow_slow else MOST_CHANGED
        changed, sequence = self._store.items_after(user_id, seen.sequence, most + 1)
        if len(changed) > most:
            return self._read(user_id, snapshot, policy, seen.state, allow_slow)
        if not changed:
            return seen
        key = np.unique(changed)
        excluded, moment = excluded_until(
            self._store.pairs(user_id, items=key.tolist()), snapshot, policy
        )
        until = np.zeros(len(key), np.int64)
        until[np.searchsorted(key, excluded)] = moment
        return seen.update(key, until, sequence, snapshot)

    def _read(
        self,
        user_id: str,
        snapshot: ModelSnapshot,
        policy: SeenPolicy,
        state: str,
        allow_slow: bool,
    ) -> _Seen:
        sequence = self._store.last_sequence(user_id)  # later events are read again
        key, until, after = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        while True:
            part = self._store.pairs(user_id, after, ROWS_AT_ONCE)
            is_last = len(part) < ROWS_AT_ONCE
            if not (is_last or allow_slow):
                raise ManySeenItems
            if not is_last:  # the last item can have more rows
                after = int(part.item[-1]) - 1
                part = part.rows(part.item <= after)
            found = excluded_until(part, snapshot, policy)
            key.append(found[0])
            until.append(found[1])
            if is_last:
                break
            give_way()
        columns = (np.concatenate(key), np.concatenate(until))
        validity = (snapshot.recommender.kinds, snapshot.code_of_kind, policy.window)
        return _Seen(state, *validity, sequence, *columns).indexed(snapshot, allow_slow)

    def _find(self, of: tuple[str, str | None]) -> _Seen | None:
        """The cached items of a user, marked as most recently used."""
        with self._lock:
            if of in self._cache:
                self._cache.move_to_end(of)
            return self._cache.get(of)

    def _keep(self, of: tuple[str, str | None], seen: _Seen) -> None:
        with self._lock:
            earlier = self._cache.pop(of, None)
            self._size += len(seen.key) - (0 if earlier is None else len(earlier.key))
            self._cache[of] = seen
            while self._size > MOST_KEPT and len(self._cache) > 1:
                self._size -= len(self._cache.popitem(last=False)[1].key)


def excluded_until(
    pairs: StoredPairs, snapshot: ModelSnapshot, policy: SeenPolicy
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The time until which the events of each item exclude it.

    Args:
        pairs: the sums. All rows of an item must be included.
        snapshot: the snapshot with the event types.
        policy: which events exclude items, and for how long.

    Returns:
        The items by the store's keys, int64[m], ascending, and the times, int64[m].
    """
    kind = snapshot.kinds_of(pairs.kind)
    order = np.lexsort((pairs.sequence, pairs.time))
    order = order[kind[order] >= 0]
    kind, time = kind[order], pairs.time[order]
    value = np.where(pairs.negative[order], -np.abs(pairs.amount[order]), pairs.amount[order])
    window = policy.window[kind]
    excludes = window > 0
    rules = Replacement.of(snapshot.recommender.kinds)
    if rules is not None:
        user, item = np.zeros(len(order), np.int32), pairs.item[order].astype(np.int32)
        replaced_at = rules.times(user, item, kind, value, time)
        excludes &= ~rules.returned(kind, value)
        if replaced_at is not None:
            excludes &= replaced_at == NEVER
    window, time = window[excludes], time[excludes]
    moment = np.where(
        window > _FOREVER - time, _FOREVER, time + np.minimum(window, _FOREVER - time)
    )
    key, place = np.unique(pairs.item[order][excludes], return_inverse=True)
    until = np.zeros(len(key), np.int64)
    np.maximum.at(until, place, moment)
    return key, until


def _merge(
    known: NDArray[Integer],
    known_until: NDArray[np.int64],
    changed: NDArray[Integer],
    changed_until: NDArray[np.int64],
) -> tuple[NDArray[Integer], NDArray[np.int64]]:
    """Items in ascending order and their times, with some of them replaced or added.

    Args:
        known: the items, ascending.
        known_until: their times.
        changed: distinct items in any order; those below 0 are ignored.
        changed_until: their times.

    Cost: a copy of `known`.
    """
    order = np.argsort(changed, kind="stable")
    order = order[changed[order] >= 0]
    changed, changed_until = changed[order], changed_until[order]
    if not len(known):
        return changed, changed_until
    place = np.searchsorted(known, changed)
    new = known[np.minimum(place, len(known) - 1)] != changed
    known_until = known_until.copy()
    known_until[place[~new]] = changed_until[~new]
    if not new.any():
        return known, known_until
    return (
        np.insert(known, place[new], changed[new]),
        np.insert(known_until, place[new], changed_until[new]),
    )
