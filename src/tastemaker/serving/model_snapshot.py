"""One consistent state of a server: a fitted version, the world as it has grown since, and how the
store's keys read in it. Immutable: a request takes one and keeps it to its end.
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
"""For so long after the newest served event the moment of a request follows the clock."""
Number = TypeVar("Number", np.int32, np.int8)
_GENERATIONS = count()


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """What answers requests until something has changed.

    Attributes:
        fitted: the version as it was trained.
        recommender: the same components in the present world.
        index_of_item: int32[keys], the catalogue's index of each item key; −1 where it has none.
        code_of_kind: int8[keys], the position of each kind key; −1 where it is not declared.
        sequence: how far into the store's log its statistics reach.
        changed: the last change of an item it knows.
        served_until: the latest moment among the recently served events; `NO_TIME` without any.
        removals: what changes when something is removed from the store; see `Store.removal_mark`.
        generation: states with the same one have the same indices, the later ones more of them.
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
        """A version in the present world: with every item and event the store has since.

        Raises:
            ArtifactError: most of its items are not in the store: it was trained on other data.
        """
        removals = store.removal_mark()
        gone = store.withdrawn_ids() if removals[1] else []
        shown = fitted.without_items(gone) if gone or len(fitted.withdrawn) else fitted
        ids, keys = store.item_keys()
        index = np.full(int(keys.max(initial=-1)) + 1, -1, np.int32)
        index[keys] = fitted.inventory.catalogue.items.indices(ids)
        known, size = int((index >= 0).sum()), len(fitted.inventory.catalogue)
        if known < size / 2:
            raise ArtifactError(
                f"{fitted.version} was trained on other data: the store knows {known:,} of its "
                f"{size:,} items; promote another version, or train again"
            )
        live = cls(shown, shown, index, _codes(store, fitted.kinds), 0, 0, removals=removals)
        live = replace(live, generation=next(_GENERATIONS))
        live = replace(live, sequence=live._trained_until(store))
        latest = store.latest_served()
        return replace(live, served_until=NO_TIME if latest is None else latest).refreshed(store)

    def refreshed(self, store: Store) -> "ModelSnapshot":
        """This state with what has come into the store since; itself, if nothing has.

        Cost: proportional to what was served since the training, not to the whole log.
        """
        mark = store.removal_mark()
        if mark[0] != self.removals[0]:
            return ModelSnapshot.of(self.fitted, store)
        later = self
        if mark != self.removals:  # no events went: items are about to go, or were put again
            shown = self.recommender.without_items(store.withdrawn_ids())
            later = replace(self, recommender=shown, removals=mark)
        later = later._with_items(store.items_since(later.changed), store)
        while len(events := store.served_since(later.sequence)):
            later = later._with_events(events, store)
        return later

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.recommender.version

    def moment(self, now: Now = "auto") -> int:
        """The moment of a request that arrives now, microseconds.

        Args:
            now: how it is chosen, `[server] now`.
        """
        clock = times.now()
        if now == "clock" or self.fitted.inventory.clock != "absolute":
            return clock
        if now == "log":
            return self.fitted.inventory.watermark
        followed = min(clock, self.served_until + FOLLOWED_MICROSECONDS)
        return max(self.recommender.inventory.watermark, followed)

    def ended(self) -> int | None:
        """When the newest event known happened, if that is long ago; None if not.

        Microseconds; `times.OLD_LOG_MICROSECONDS` is long ago.
        """
        inventory = self.recommender.inventory
        is_old = times.now() - inventory.watermark > times.OLD_LOG_MICROSECONDS
        return inventory.watermark - 1 if inventory.clock == "absolute" and is_old else None

    def labels_left(self) -> int:
        """How many labels may still come that the catalogue does not have."""
        fitted = self.fitted.inventory.catalogue
        return MOST_NEW_LABELS - (self._catalogue.n_labels - fitted.n_labels)

    def indices(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """The catalogue's index of the items of some keys of the store; −1 where it has none."""
        return _taken(self.index_of_item, keys)

    def kinds_of(self, keys: NDArray[np.int64]) -> NDArray[np.int8]:
        """The positions of event types by their keys in the store; −1 where not declared."""
        return _taken(self.code_of_kind, keys)

    @property
    def kinds_read(self) -> list[int]:
        """The store's keys of the event types that can matter to a request.

        Exposures do not, unless they block or replace something.
        """
        matter = [
            kind.role != "exposure" or kind.hide_item or bool(kind.replaced(name))
            for name, kind in self.recommender.kinds.items()
        ]
        codes = enumerate(self.code_of_kind.tolist())
        return [key for key, code in codes if code >= 0 and matter[code]]

    def past(self, stored: StoredEvents) -> Past:
        """A user's stored events as this state reads them; undeclared kinds are left out."""
        kind = _taken(self.code_of_kind, stored.kind)
        order = np.argsort(stored.time, kind="stable")
        kept = order[kind[order] >= 0]
        item = _taken(self.index_of_item, stored.item)
        return Past(item[kept], kind[kept], stored.value[kept], stored.time[kept])

    def with_profile(self, request: Requests, store: Store) -> Requests:
        """One user's request with what the store's user table says of the user."""
        profiles, (user_id,) = self.recommender.inventory.profiles, request.user_id
        if user_id is None or not profiles:
            return request
        return replace(request, profile=profiles.columns([store.attributes(user_id)]))

    def _with_events(self, events: StoredEvents, store: Store) -> "ModelSnapshot":
        """This state with later events of the log."""
        live = self
        if events.kind.max() >= len(self.code_of_kind):  # a kind nobody had used so far
            live = replace(self, code_of_kind=_codes(store, self.fitted.kinds))
        return replace(
            live._counted(events),
            sequence=int(events.sequence[-1]),
            served_until=max(live.served_until, int(events.time.max())),
        )

    def _counted(self, events: StoredEvents) -> "ModelSnapshot":
        """The world's statistics with events; those of unknown items and types are left out."""
        item, kind = self.indices(events.item), self.kinds_of(events.kind)
        known = (item >= 0) & (kind >= 0)
        item, kind = item[known], kind[known]
        weight = preferences(kind, events.value[known], self.recommender.kinds)
        inventory = self.recommender.inventory.with_events(item, events.time[known], kind, weight)
        return replace(self, recommender=self.recommender.with_inventory(inventory))

    def _with_items(self, items: list[StoredItem], store: Store) -> "ModelSnapshot":
        """The catalogue with these items, and those it knows described anew."""
        if not items:
            return self
        known = {item.item_id: self._catalogue.items.index(item.item_id) for item in items}
        old = [item for item in items if known[item.item_id] >= 0 and item.source == SERVED]
        new = [item for item in items if known[item.item_id] < 0]
        live = replace(self, changed=items[-1].changed)
        if old:
            indices = np.array([known[item.item_id] for item in old])
            inventory = self.recommender.inventory.with_changed(indices, live._cells(old))
            live = replace(live, recommender=self.recommender.with_inventory(inventory, indices))
        if not new:
            return live
        live = live._with_new(new)
        # events of these items that came before anybody described them count from now on
        keys, trained = [item.item for item in new], self._trained_until(store)
        earlier = store.served_of(keys, trained, self.sequence)
        return live._counted(earlier) if len(earlier) else live

    def _trained_until(self, store: Store) -> int:
        """How far into the store's log the training reached."""
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
        """Column → what is known of each item, missing where it does not fit the column."""
        return {
            name: [fitting_cell(name, column.role, item.attributes.get(name)) for item in items]
            for name, column in self._catalogue.columns.items()
        }


def _codes(store: Store, kinds: Mapping[str, EventKind]) -> NDArray[np.int8]:
    """The position in `kinds` of each of the store's kind keys, −1 for one not declared."""
    keys = store.kind_keys()
    code = np.full(max(keys.values(), default=-1) + 1, -1, np.int8)
    for position, name in enumerate(kinds):
        if name in keys:
            code[keys[name]] = position
    return code


def _taken(values: NDArray[Number], keys: NDArray[np.int64]) -> NDArray[Number]:
    """`values[keys]`; −1 for keys beyond them."""
    taken = np.full(len(keys), -1, values.dtype)
    inside = keys < len(values)
    taken[inside] = values[keys[inside]]
    return taken
