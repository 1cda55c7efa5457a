"""Reduction of data sets to fit the memory budget, by removing undescribed items."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tastemaker.data.dataset import Dataset


class UndescribedItems:
    """The items of a data set without a row in the item table, by their number of users.

    Args:
        data: the data set. If its `described` is None, no item counts as undescribed.

    Cost: one pass over the events of undescribed items.
    """

    def __init__(self, data: Dataset) -> None:
        self._data = data
        described = data.described
        n_items = len(data.catalogue)
        self._kept = np.ones(n_items, np.bool_) if described is None else described
        events = data.events
        rows = np.flatnonzero(~self._kept[events.item])
        pairs = np.unique(events.user[rows].astype(np.int64) * n_items + events.item[rows])
        self._users = np.bincount(pairs % max(n_items, 1), minlength=n_items)

    def thresholds(self) -> Iterator[int]:
        """Minimum numbers of users, doubling at each step, that leave fewer and fewer items.

        With the last one, no undescribed item is left. Thresholds that would leave no item at all
        are omitted.
        """
        enough, left = max(self._data.left_out.min_item_users, 1), len(self._kept)
        while left > np.count_nonzero(self._kept):
            enough *= 2
            kept = int(np.count_nonzero(self._enough(enough)))
            if 0 < kept < left:
                yield enough
            left = kept

    def without(self, enough: int, source: str) -> Dataset:
        """The data set without the undescribed items that have fewer than `enough` users.

        Args:
            enough: distinct users.
            source: the source that would otherwise exceed the memory budget; for `left_out`.
        """
        data, kept = self._data, np.flatnonzero(self._enough(enough))
        events = data.onto(data.catalogue.take(kept), kept.astype(np.int32))
        before = data.left_out
        left_out = replace(
            before,
            undescribed_items=before.undescribed_items + len(data.catalogue) - len(kept),
            undescribed_events=before.undescribed_events + len(data.events) - len(events.events),
            min_item_users=enough,
            too_many_for=source,
        )
        return Dataset(
            *(events.catalogue, data.users, events.events, data.kinds, data.clock, data.profiles),
            *(data.reports, data.sequence, data.store, data.sources, left_out, self._kept[kept]),
        )

    def _enough(self, enough: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return self._kept | (self._users >= enough)
