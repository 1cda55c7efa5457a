"""One consistent state of a server: a trained version, the inventory since, and the store's keys.

Immutable: a request takes one snapshot and uses it until its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.data import times
from tastemaker.data.additions import MOST_NEW_LABELS, fitting_cell
from tastemaker.data.catalogue import NO_TIME, Catalogue
from tastemaker.data.events import preferences
from tastemaker.data.past import Past
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind
from tastemaker.errors import ArtifactError
from tastemaker.pipeline import Recommender
from tastemaker.project.sections import Now
from tastemaker.store import SERVED, Store, StoredEvents, StoredItem

FOLLOWED_MICROSECONDS = times.MICROSECONDS["d"]
"""How long the time of a request follows the clock after the newest served event."""
Number = TypeVar("Number", np.int32, np.int8)
_GENERATIONS = count()


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """The state that answers requests until the store or the version changes.

    Attributes:
        fitted: the version as it was trained.
        recommender: the same components with the current inventory.
        index_of_item: int32[keys], the catalogue index of each item key; −1 if it has none.
        code_of_kind: int8[keys], the position of each event type key; −1 if it is not declared.
        sequence: the last position in the store's log that the statistics include.
        changed: the last item change that is included.
        served_until: the latest time among the recently served events; `NO_TIME` without any.
        removals: a mark that changes with every removal from the store; see `Store.removal_mark`.
        generation: snapshots of the same generation share their indices; later ones add to them.
    """

    fitted: Recommender
    recommender: Recommender
    index_of_item: NDArray[np.int32]
    code_of_kind: NDArray[np.int8]
    sequence: int
    changed: int
    served_until: int = NO_TIME
    removals: tuple[int, int] = (0, 0)
    generation: int = 0

    @classmethod
    def of(cls, fitted: Recommender, store: Store) -> "ModelSnapshot":
        """A snapshot of a version, with all items and events added to the store since training.

        Raises:
            ArtifactError: most of its items are not in the store: it was trained on other data.
        """
        removals = store.removal_mark()
        withdrawn = store.withdrawn_ids() if removals[1] else []
        current = fitted.without_items(withdrawn) if withdrawn or len(fitted.withdrawn) else fitted
        ids, keys = store.item_keys()
        index = np.full(int(keys.max(initial=-1)) + 1, -1, np.int32)
        index[keys] = fitted.inventory.catalogue.items.indices(ids)
        known, size = int((index >= 0).sum()), len(fitted.inventory.catalogue)
        if known < size / 2:
            raise ArtifactError(
                f"{fitted.version} was trained on other data: the store has {known:,} of its "
                f"{size:,} items; promote another version or train again"
            )
        snapshot = cls(
            current, current, index, _codes(store, fitted.kinds), 0, 0, removals=removals
        )
        snapshot = replace(snapshot, generation=next(_GENERATIONS))
        snapshot = replace(snapshot, sequence=snapshot._trained_until(store))
        latest = store.latest_served()
        return replace(snapshot, served_until=NO_TIME if latest is None else latest).refreshed(
            store
        )

    def refreshed(self, store: Store) -> "ModelSnapshot":
        """This snapshot with later changes of the store; itself if nothing changed.

        Cost: proportional to the events served since training, not to the whole log.
        """
        mark = store.removal_mark()
        if mark[0] != self.removals[0]:
            return ModelSnapshot.of(self.fitted, store)
        later = self
        if mark != self.removals:  # no events removed: items are withdrawn or were put again
            current = self.recommender.without_items(store.withdrawn_ids())
            later = replace(self, recommender=current, removals=mark)
        later = later._with_items(store.items_since(later.changed), store)
        while len(events := store.served_since(later.sequence)):
            later = later._with_events(events, store)
        return later

    @property
    def version(self) -> str:
        """The id of the version."""
        return self.recommender.version

    def moment(self, now: Now = "auto") -> int:
        """The time of a request that arrives now, in microseconds.

        Args:
            now: how the time is chosen, `[server] now`.
        """
        clock = times.now()
        if now == "clock" or self.fitted.inventory.clock != "absolute":
            return clock
        if now == "log":
            return self.fitted.inventory.watermark
        followed = min(clock, self.served_until + FOLLOWED_MICROSECONDS)
        return max(self.recommender.inventory.watermark, followed)

    def ended(self) -> int | None:
        """The time of the newest event in microseconds, if the log is old; otherwise None.

        A log is old if its newest event is more than `times.OLD_LOG_MICROSECONDS` ago.
        """
        inventory = self.recommender.inventory
        is_old = times.now() - inventory.watermark > times.OLD_LOG_MICROSECONDS
        return inventory.watermark - 1 if inventory.clock == "absolute" and is_old else None

    def labels_left(self) -> int:
        """How many new labels the catalogue can still take."""
        fitted = self.fitted.inventory.catalogue
        return MOST_NEW_LABELS - (self._catalogue.n_labels - fitted.n_labels)

    def indices(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """The catalogue indices of item keys of the store; −1 for unknown items."""
        return _lookup(self.index_of_item, keys)

    def kinds_of(self, keys: NDArray[np.int64]) -> NDArray[np.int8]:
        """The positions of event type keys of the store; −1 for undeclared types."""
        return _lookup(self.code_of_kind, keys)

    @property
    def kinds_read(self) -> list[int]:
        """The store's keys of the event types that can affect a request.

        Exposures do not, unless they hide an item or replace other events.
        """
        affects_request = [
            kind.role != "exposure" or kind.hide_item or bool(kind.replaced(name))
            for name, kind in self.recommender.kinds.items()
        ]
        codes = enumerate(self.code_of_kind.tolist())
        return [key for key, code in codes if code >= 0 and affects_request[code]]

    def past(self, stored: StoredEvents) -> Past:
        """A user's stored events as a `Past`. Events of undeclared types are left out."""
        kind = _lookup(self.code_of_kind, stored.kind)
        order = np.argsort(stored.time, kind="stable")
        kept = order[kind[order] >= 0]
        item = _lookup(self.index_of_item, stored.item)
        return Past(item[kept], kind[kept], stored.value[kept], stored.time[kept])

    def with_profile(self, request: Requests, store: Store) -> Requests:
        """One user's request with the user's profile from the store's user table."""
        profiles, (user_id,) = self.recommender.inventory.profiles, request.user_id
        if user_id is None or not profiles:
            return request
        return replace(request, profile=profiles.columns([store.attributes(user_id)]))

    def _with_events(self, events: StoredEvents, store: Store) -> "ModelSnapshot":
        """This snapshot with later events of the log."""
        snapshot = self
        if events.kind.max() >= len(self.code_of_kind):  # an event type that was not used so far
            snapshot = replace(self, code_of_kind=_codes(store, self.fitted.kinds))
        return replace(
            snapshot._counted(events),
            sequence=int(events.sequence[-1]),
            served_until=max(snapshot.served_until, int(events.time.max())),
        )

    def _counted(self, events: StoredEvents) -> "ModelSnapshot":
        """This snapshot with events counted, except those of unknown items and types."""
        item, kind = self.indices(events.item), self.kinds_of(events.kind)
        known = (item >= 0) & (kind >= 0)
        item, kind = item[known], kind[known]
        weight = preferences(kind, events.value[known], self.recommender.kinds)
        inventory = self.recommender.inventory.with_events(item, events.time[known], kind, weight)
        return replace(self, recommender=self.recommender.with_inventory(inventory))

    def _with_items(self, items: list[StoredItem], store: Store) -> "ModelSnapshot":
        """This snapshot with these items: new ones added, known ones updated."""
        if not items:
            return self
        known = {item.item_id: self._catalogue.items.index(item.item_id) for item in items}
        old = [item for item in items if known[item.item_id] >= 0 and item.source == SERVED]
        new = [item for item in items if known[item.item_id] < 0]
        snapshot = replace(self, changed=items[-1].changed)
        if old:
            indices = np.array([known[item.item_id] for item in old])
            inventory = self.recommender.inventory.with_changed(indices, snapshot._cells(old))
            snapshot = replace(
                snapshot, recommender=self.recommender.with_inventory(inventory, indices)
            )
        if not new:
            return snapshot
        snapshot = snapshot._with_new(new)
        # events of these items that were stored before the items count from now on
        keys, trained = [item.item for item in new], self._trained_until(store)
        earlier = store.served_of(keys, trained, self.sequence)
        return snapshot._counted(earlier) if len(earlier) else snapshot

    def _trained_until(self, store: Store) -> int:
        """The last position in the store's log that was used for training."""
        return self.fitted.sequence if self.fitted.store == store.id else 0

    def _with_new(self, items: list[StoredItem]) -> "ModelSnapshot":
        first, keys = len(self._catalogue), np.array([item.item for item in items])
        ids = [item.item_id for item in items]
        inventory = self.recommender.inventory.with_items(ids, self._cells(items))
        index = np.full(max(len(self.index_of_item), int(keys.max()) + 1), -1, np.int32)
        index[: len(self.index_of_item)] = self.index_of_item
        index[keys] = np.arange(first, first + len(items))
        return replace(
            self, recommender=self.recommender.with_inventory(inventory), index_of_item=index
        )

    @property
    def _catalogue(self) -> Catalogue:
        return self.recommender.inventory.catalogue

    def _cells(self, items: list[StoredItem]) -> dict[str, list[Any]]:
        """Column → the cell of each item; missing if the value does not fit the column."""
        return {
            name: [fitting_cell(name, column.role, item.attributes.get(name)) for item in items]
            for name, column in self._catalogue.columns.items()
        }


def _codes(store: Store, kinds: Mapping[str, EventKind]) -> NDArray[np.int8]:
    """The position in `kinds` of each event type key of the store; −1 if not declared."""
    keys = store.kind_keys()
    code = np.full(max(keys.values(), default=-1) + 1, -1, np.int8)
    for position, name in enumerate(kinds):
        if name in keys:
            code[keys[name]] = position
    return code


def _lookup(values: NDArray[Number], keys: NDArray[np.int64]) -> NDArray[Number]:
    """`values[keys]`; −1 for keys out of range."""
    found = np.full(len(keys), -1, values.dtype)
    inside = keys < len(values)
    found[inside] = values[keys[inside]]
    return found
