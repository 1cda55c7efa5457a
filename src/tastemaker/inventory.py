"""What is known of items at a moment: one immutable snapshot handed to every stage."""

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
    """Catalogue, statistics and how far they reach.

    It may reach past a request's moment, as it does in evaluation; whatever is read from it is
    read as of the request's moment.

    Attributes:
        catalogue: the fitted items, and those added since.
        statistics: popularity as of any moment.
        watermark: the moment just after the last event known, microseconds.
        clock: whether times are moments; where they are not, nothing is read by time.
        profiles: which columns of the user table requests carry; no user is known here.
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
        """The world a data set describes.

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
        """This world with items added to the catalogue, without any events yet."""
        catalogue = self.catalogue.extended(ids, attributes)
        nothing = np.empty(0, np.int64)
        statistics = self.statistics.append(
            nothing.astype(np.int32),
            nothing,
            nothing.astype(np.int8),
            nothing.astype(np.float32),
            len(catalogue),
        )
        return Inventory(catalogue, statistics, self.watermark, self.clock, self.profiles)

    def with_changed(
        self, items: NDArray[np.int64], attributes: Mapping[str, Sequence[Any]]
    ) -> "Inventory":
        """This world with some of its items described anew; int64[m] and their columns."""
        catalogue = self.catalogue.changed(items, attributes)
        return Inventory(catalogue, self.statistics, self.watermark, self.clock, self.profiles)

    def with_events(
        self,
        item: NDArray[np.int32],
        time: NDArray[np.int64],
        kind: NDArray[np.int8],
        weight: NDArray[np.float32],
    ) -> "Inventory":
        """This world with events that have come since, in any order; what was known is shared.

        Args:
            item: int32[m], items of this catalogue.
            time: int64[m], microseconds.
            kind: int8[m].
            weight: float32[m], signed preference.
        """
        statistics = self.statistics.append(item, time, kind, weight)
        watermark = max(self.watermark, int(time.max(initial=-1)) + 1)
        return Inventory(self.catalogue, statistics, watermark, self.clock, self.profiles)
