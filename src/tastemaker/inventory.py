"""The items and their statistics as one immutable snapshot that every stage receives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.catalogue import Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.profiles import ProfileSchema
from tastemaker.data.schema import Clock
from tastemaker.statistics import ItemStatistics

_NO_PROFILES = ProfileSchema()


class Inventory:
    """Catalogue, statistics and the time up to which they are complete.

    An inventory may contain events after a request's moment, as in evaluation; all reads are as of
    the request's moment.

    Attributes:
        catalogue: the fitted items, and those added since.
        statistics: popularity as of any moment.
        watermark: the moment just after the last known event, microseconds.
        clock: whether times are moments; if not, no statistics depend on time.
        profiles: the user table's columns that requests carry; contains no users.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        statistics: ItemStatistics,
        watermark: int,
        clock: Clock,
        profiles: ProfileSchema = _NO_PROFILES,
    ) -> None:
        self.catalogue = catalogue
        self.statistics = statistics
        self.watermark = watermark
        self.clock: Clock = clock
        self.profiles = profiles

    @classmethod
    def of(cls, dataset: Dataset, at: Any = None) -> "Inventory":
        """The inventory of a data set.

        Args:
            dataset: the events and the catalogue.
            at: only events before this moment (a datetime, a date, ISO 8601 text or microseconds);
                by default all.
        """
        known = dataset if at is None else dataset.before(at)
        statistics = ItemStatistics.of(known.events, len(known.catalogue), known.kinds)
        profiles = ProfileSchema.of(known.profiles, known.catalogue)
        return cls(known.catalogue, statistics, known.end, known.clock, profiles)

    def with_items(
        self, ids: Sequence[str], attributes: Mapping[str, Sequence[Any]] | None = None
    ) -> "Inventory":
        """This inventory with new items in the catalogue, which have no events yet."""
        catalogue = self.catalogue.extended(ids, attributes)
        empty = np.empty(0, np.int64)
        statistics = self.statistics.append(
            empty.astype(np.int32),
            empty,
            empty.astype(np.int8),
            empty.astype(np.float32),
            len(catalogue),
        )
        return Inventory(catalogue, statistics, self.watermark, self.clock, self.profiles)

    def with_changed(
        self, items: NDArray[np.int64], attributes: Mapping[str, Sequence[Any]]
    ) -> "Inventory":
        """This inventory with new attributes for some items.

        Args:
            items: int64[m], the items, distinct.
            attributes: column → one value per item.
        """
        catalogue = self.catalogue.changed(items, attributes)
        return Inventory(catalogue, self.statistics, self.watermark, self.clock, self.profiles)

    def with_events(
        self,
        item: NDArray[np.int32],
        time: NDArray[np.int64],
        kind: NDArray[np.int8],
        weight: NDArray[np.float32],
    ) -> "Inventory":
        """This inventory with more events, in any order; existing data is shared.

        Args:
            item: int32[m], items of this catalogue.
            time: int64[m], microseconds.
            kind: int8[m].
            weight: float32[m], signed preference.
        """
        statistics = self.statistics.append(item, time, kind, weight)
        watermark = max(self.watermark, int(time.max(initial=-1)) + 1)
        return Inventory(self.catalogue, statistics, watermark, self.clock, self.profiles)
