"""Numbers and dates of the catalogue as features of an item."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.catalogue import NO_TIME, NumberColumn
from tastemaker.data.times import MICROSECONDS
from tastemaker.features.pairs import Pairs, distinct

_HOUR = MICROSECONDS["h"]


@dataclass(frozen=True, slots=True)
class Attributes:
    """Number columns unchanged, and time columns as the age at the request's time.

    Attributes:
        numbers: names of number columns.
        times: names of time columns.
    """

    numbers: tuple[str, ...]
    times: tuple[str, ...]

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        return distinct(
            [
                *((f"catalogue_{name}", f"the item's {name}") for name in self.numbers),
                *((f"catalogue_{name}_age", f"hours since {name}, log") for name in self.times),
            ]
        )

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        time = pairs.time
        for place, name in enumerate((*self.numbers, *self.times)):
            column = pairs.inventory.catalogue.columns[name]
            assert isinstance(column, NumberColumn)  # noqa: S101 - a time column is one
            if name in self.times:
                _ages(column.values, pairs.item, time, out[:, place])
            else:
                out[:, place] = column.values[pairs.item]


@kernel
def _ages(moments, items, now, out):  # type: ignore[no-untyped-def]
    """Hours since each item's time, log; NaN if it is missing or in the future."""
    for i in range(len(items)):
        moment = moments[items[i]]
        out[i] = np.nan
        if moment != NO_TIME and moment <= now[i]:
            out[i] = np.log1p((now[i] - moment) / _HOUR)
