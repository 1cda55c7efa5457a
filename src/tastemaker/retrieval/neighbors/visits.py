"""What was liked in one go: the baskets and sessions of a log."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import offsets_of
from tastemaker.errors import SettingError, did_you_mean


@dataclass(frozen=True, slots=True)
class Visits:
    """Liked items of a log in stretches of one user each, in the order of time.

    Attributes:
        offsets: int64[visits + 1].
        item: int32[total]; an item may stand in a visit more than once.
        time: int64[total], microseconds; as in `Events`.
    """

    offsets: NDArray[np.int64]
    item: NDArray[np.int32]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def binary(self, n_items: int) -> csr_array:
        """1 where an item stands in a visit, float32[visits × n_items]."""
        # `sum_duplicates` writes into the arrays it is given.
        entries = (np.ones(len(self.item), np.float32), self.item.copy(), self.offsets.copy())
        matrix = csr_array(entries, shape=(len(self), n_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def places(self, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each item stands: the places by item, and where each item's begin."""
        place = np.argsort(self.item, kind="stable")
        return place, offsets_of(np.bincount(self.item, minlength=n_items))

    def ends(self) -> NDArray[np.int64]:
        """Where the visit of each place ends, int64[total]."""
        return np.repeat(self.offsets[1:], np.diff(self.offsets))


def visits_of(dataset: Dataset, pause: int | None, kinds: Sequence[str] = ()) -> Visits:
    """Cuts every user's liked items where nothing happened for longer than a pause.

    Where the clock is no moment in time, each user is one visit.

    Args:
        dataset: the log.
        pause: microseconds; 0: only what has one timestamp belongs together; None: no pause
            ends a visit.
        kinds: the kinds of event that count; by default every positive one.

    Raises:
        SettingError: a kind is not one of the data's (names the near miss).
    """
    events = dataset.events
    counts = events.weight > 0
    if kinds:
        names = list(dataset.kinds)
        for kind in kinds:
            if kind not in names:
                raise SettingError(f"'kinds' names '{kind}'{did_you_mean(kind, names)}")
        counts &= np.isin(events.kind, [names.index(kind) for kind in kinds])
    user, item, time = events.user[counts], events.item[counts], events.time[counts]
    begins = np.ones(len(user), np.bool_)
    begins[1:] = user[1:] != user[:-1]
    if pause is not None and dataset.clock == "absolute":
        begins[1:] |= time[1:] - time[:-1] > pause
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(user)))
    return Visits(offsets_of(sizes), item, time)
