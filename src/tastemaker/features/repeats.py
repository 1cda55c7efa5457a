"""Earlier events of the user with the same item."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.times import MICROSECONDS
from tastemaker.features.pairs import Pairs

_HOUR = MICROSECONDS["h"]

_COLUMNS = {
    "met": "events of the user with this item that are not replaced, log",
    "met_idle": "hours since the user's last event with this item, log",
}


@dataclass(frozen=True, slots=True)
class Repeats:
    """Repeat features, for placements that can show an item again."""

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        return _COLUMNS

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        history = pairs.requests.history
        _count_repeats(
            *(pairs.row, pairs.item, pairs.requests.time),
            *(history.offsets, history.item, history.time, len(pairs.inventory.catalogue), out),
        )


@kernel
def _count_repeats(row, item, now, offsets, past, time, n_items, out):  # type: ignore[no-untyped-def]
    """Marks each user's items once, then reads the marks for their candidates."""
    count = np.zeros(n_items, np.int32)
    latest = np.zeros(n_items, np.int64)
    marked = -1
    for i in range(len(row)):
        if row[i] != marked:
            if marked >= 0:
                for event in range(offsets[marked], offsets[marked + 1]):
                    if 0 <= past[event] < n_items:
                        count[past[event]] = 0
            marked = row[i]
            for event in range(offsets[marked], offsets[marked + 1]):
                if 0 <= past[event] < n_items:
                    count[past[event]] += 1
                    latest[past[event]] = time[event]
        met = count[item[i]]
        out[i, 0] = np.log1p(met)
        out[i, 1] = np.log1p((now[marked] - latest[item[i]]) / _HOUR) if met else np.nan
