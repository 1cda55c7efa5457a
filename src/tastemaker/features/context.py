"""Time of day, on a circle so that 23h and 0h are close, and day of the week."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.times import MICROSECONDS
from tastemaker.features.pairs import Pairs

_DAY = MICROSECONDS["d"]
_THURSDAY = 3  # 1970-01-01

_COLUMNS = {
    "hour_sin": "hour of the day (UTC), sine",
    "hour_cos": "hour of the day (UTC), cosine",
    "weekday": "day of the week (UTC), 0 is Monday",
}


@dataclass(frozen=True, slots=True)
class Context:
    """Features of the request's time."""

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        return _COLUMNS

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        _describe(pairs.requests.time, pairs.row, out)


@kernel
def _describe(now, row, out):  # type: ignore[no-untyped-def]
    """Writes the hour's position on the circle and the weekday."""
    for i in range(len(row)):
        moment = now[row[i]]
        angle = 2 * np.pi * (moment % _DAY) / _DAY
        out[i, 0] = np.sin(angle)
        out[i, 1] = np.cos(angle)
        out[i, 2] = (moment // _DAY + _THURSDAY) % 7
