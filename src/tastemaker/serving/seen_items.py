"""Which items a user with many events has seen, without reading all the events for each answer.

The store sums a user's events up by item. These sums are read once, kept, and brought up to date by
the events that came since, so that an answer costs the same however long the log is.
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
"""Rows of sums that are read while others wait, about 20 ms; more are read beside them."""
MOST_CHANGED = 1_000
"""So many new events of a user are taken up while others wait; of more, beside them."""
MOST_KEPT = 2_000_000
"""Items of all users together that are kept, 28 bytes each."""
_FOREVER = int(np.iinfo(np.int64).max)
Integer = TypeVar("Integer", np.int32, np.int64)


class ManySeenItems(Exception):  # noqa: N818 - not a failure: it says where the work belongs
    """A user's sums take long to read: call again with `allow_slow`, off the scoring thread."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The items one user has seen, as of a place in the log.

    It refers to nothing of the state that answered, so that an old version can be freed.

    Attributes:
        state: of the user's sums; see `Store.pairs_state`.
        kinds: the event types.
        code_of_kind: int8[keys], their positions by the store's keys.
        window: int64[kinds], of the seen policy.
        sequence: the place in the log.
        key: int64[m], the items by the store's keys, ascending.
        until: int64[m], the moment until which each is excluded, microseconds.
        generation: whose indices `index` has; see `ModelSnapshot`. −1 while it has none.
        n_items: how many items the catalogue had.
        index: int32[k], the items of the catalogue among them, ascending.
        index_until: int64[k].
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

    def holds(self, state: str, live: ModelSnapshot, policy: SeenPolicy) -> bool:
        """Whether what was read means the same now."""
        return (
            self.state == state
            and self.kinds == live.recommender.kinds
            and np.array_equal(self.code_of_kind, live.code_of_kind)
            and np.array_equal(self.window, policy.window)
        )

    def indexed(self, live: ModelSnapshot, allow_slow: bool) -> "_Seen":
        """The same by the indices of a state's catalogue, or of a later one with the same indices.

        Raises:
            ManySeenItems: not `allow_slow`, and many items would have to be looked up.
        """
        size = len(live.recommender.inventory.catalogue)
        if self.generation == live.generation:
            if size <= self.n_items:
                return self
            key = np.flatnonzero(live.index_of_item >= self.n_items)  # of the items added since
            place = np.minimum(np.searchsorted(self.key, key), max(0, len(self.key) - 1))
            place = place[self.key[place] == key] if len(self.key) else place[:0]
            known = (self.index, self.index_until)
        else:
            if len(self.key) > ROWS_AT_ONCE and not allow_slow:
                raise ManySeenItems
            place = np.arange(len(self.key))
            known = (self.index[:0], self.index_until[:0])
        index, until = _merged(*known, live.indices(self.key[place]), self.until[place])
        return replace(
            self, generation=live.generation, n_items=size, index=index, index_until=until
        )

    def update(
        self, key: NDArray[np.int64], until: NDArray[np.int64], sequence: int, live: ModelSnapshot
    ) -> "_Seen":
        """The same as of a later place in the log, where the moments of some items have changed.

        Args:
            key: int64[m], these items, distinct.
            until: int64[m], their moments; 0 for an item that is not excluded.
            sequence: the place in the log.
            live: by whose indices this is.
        """
        keys = _merged(self.key, self.until, key, until)
        indices = _merged(self.index, self.index_until, live.indices(key), until)
        return replace(
            self,
            sequence=sequence,
            key=keys[0],
            until=keys[1],
            index=indices[0],
            index_until=indices[1],
        )


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
        self._slow_lock = threading.Lock()

    def of(
        self,
        user_id: str,
        placement: str | None,
        live: ModelSnapshot,
        now: int,
        *,
        allow_slow: bool = True,
    ) -> NDArray[np.int32]:
        """The items to exclude for a user at a moment, int32[m], ascending and distinct.

        The same as `Past.request` finds in the whole log, but that a return of more than there
        was counts against what was there before it.

        Args:
            user_id: the user.
            placement: whose seen policy to use; None, the first placement's.
            live: the state that answers.
            now: the moment, microseconds.
            allow_slow: whether to read however much there is to read.

        Raises:
            ManySeenItems: not `allow_slow`, and much would have to be read.
        """
        # of several who need the same sums one reads them, and the others find them
        with self._slow_lock if allow_slow else nullcontext():
            seen = self._present(user_id, placement, live, allow_slow)
        size = len(live.recommender.inventory.catalogue)
        known = slice(np.searchsorted(seen.index, size))  # it may be of a later state
        return seen.index[known][seen.index_until[known] > now]

    def _present(
        self, user_id: str, placement: str | None, live: ModelSnapshot, allow_slow: bool
    ) -> _Seen:
        """What a user has seen by now, kept from then on."""
        policy = live.recommender.seen(placement)
        state = self._store.pairs_state(user_id)
        kept = self._find((user_id, placement))
        if kept is not None and kept.holds(state, live, policy):
            seen = self._later(user_id, kept, live, policy, allow_slow)
        else:
            seen = self._read(user_id, live, policy, state, allow_slow)
        size = len(live.recommender.inventory.catalogue)
        if kept is None or (live.generation, size) >= (kept.generation, kept.n_items):
            self._keep((user_id, placement), seen)
        return seen

    def _later(
        self, user_id: str, seen: _Seen, live: ModelSnapshot, policy: SeenPolicy, allow_slow: bool
    ) -> _Seen:
        """What was kept, with the events since."""
        seen = seen.indexed(live, allow_slow)
        most = ROWS_AT_ONCE if allow_slow else MOST_CHANGED
        changed, sequence = self._store.items_after(user_id, seen.sequence, most + 1)
        if len(changed) > most:
            return self._read(user_id, live, policy, seen.state, allow_slow)
        if not changed:
            return seen
        key = np.unique(changed)
        away, moment = excluded_until(self._store.pairs(user_id, items=key.tolist()), live, policy)
        until = np.zeros(len(key), np.int64)
        until[np.searchsorted(key, away)] = moment
        return seen.update(key, until, sequence, live)

    def _read(
        self, user_id: str, live: ModelSnapshot, policy: SeenPolicy, state: str, allow_slow: bool
    ) -> _Seen:
        sequence = self._store.last_sequence(user_id)  # what comes from here on is looked at again
        key, until, after = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        while True:
            part = self._store.pairs(user_id, after, ROWS_AT_ONCE)
            is_last = len(part) < ROWS_AT_ONCE
            if not (is_last or allow_slow):
                raise ManySeenItems
            if not is_last:  # of the last item there may be more rows
                after = int(part.item[-1]) - 1
                part = part.rows(part.item <= after)
            found = excluded_until(part, live, policy)
            key.append(found[0])
            until.append(found[1])
            if is_last:
                break
            give_way()
        columns = (np.concatenate(key), np.concatenate(until))
        means = (live.recommender.kinds, live.code_of_kind, policy.window)
        return _Seen(state, *means, sequence, *columns).indexed(live, allow_slow)

    def _find(self, of: tuple[str, str | None]) -> _Seen | None:
        """What is kept of a user, who is the last to be forgotten now."""
        with self._lock:
            if of in self._kept:
                self._kept.move_to_end(of)
            return self._kept.get(of)

    def _keep(self, of: tuple[str, str | None], seen: _Seen) -> None:
        with self._lock:
            earlier = self._kept.pop(of, None)
            self._size += len(seen.key) - (0 if earlier is None else len(earlier.key))
            self._kept[of] = seen
            while self._size > MOST_KEPT and len(self._kept) > 1:
                self._size -= len(self._kept.popitem(last=False)[1].key)


def excluded_until(
    pairs: StoredPairs, live: ModelSnapshot, policy: SeenPolicy
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


def _merged(
    known: NDArray[Integer],
    known_until: NDArray[np.int64],
    changed: NDArray[Integer],
    changed_until: NDArray[np.int64],
) -> tuple[NDArray[Integer], NDArray[np.int64]]:
    """Items in ascending order and their moments, some of them replaced or added.

    Args:
        known: the items, ascending.
        known_until: their moments.
        changed: distinct items in any order; those below 0 are left out.
        changed_until: their moments.

    Cost: a copy of what is known.
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
