"""Split a log into visits: the baskets and sessions of each user."""

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
    """The liked items of a log by visits of one user each, in order of time.

    Attributes:
        offsets: int64[visits + 1].
        item: int32[total]; an item can occur in a visit more than once.
        time: int64[total], microseconds, as in `Events`.
    """

    offsets: NDArray[np.int64]
    item: NDArray[np.int32]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def binary(self, n_items: int) -> csr_array:
        """A matrix with 1 for each item of a visit, float32[visits × n_items]."""
        # Copies, since `sum_duplicates` writes to its arrays.
        entries = (np.ones(len(self.item), np.float32), self.item.copy(), self.offsets.copy())
        matrix = csr_array(entries, shape=(len(self), n_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def places(self, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The places of each item: int64[total] sorted by item, and int64[n_items + 1] offsets."""
        place = np.argsort(self.item, kind="stable")
        return place, offsets_of(np.bincount(self.item, minlength=n_items))

    def ends(self) -> NDArray[np.int64]:
        """The end of the visit of each place, int64[total]."""
        return np.repeat(self.offsets[1:], np.diff(self.offsets))


def visits_of(dataset: Dataset, pause: int | None, kinds: Sequence[str] = ()) -> Visits:
    """The visits of every user: likes that are not separated by a pause.

    If the data has no absolute times, all likes of a user are one visit.

    Args:
        dataset: the log.
        pause: microseconds, the longest pause within a visit. With 0, a visit has the events of one
            timestamp; with None, a visit has all events of a user.
        kinds: the kinds of event that count; by default all positive kinds.

    Raises:
        SettingError: a kind does not exist in the data; the message suggests a similar name.
    """
    events = dataset.events
    counts = events.weight > 0
    if kinds:
        names = list(dataset.kinds)
        for kind in kinds:
            if kind not in names:
                raise SettingError(
                    f"'kinds' has '{kind}', which is not in the data{did_you_mean(kind, names)}"
                )
        counts &= np.isin(events.kind, [names.index(kind) for kind in kinds])
    user, item, time = events.user[counts], events.item[counts], events.time[counts]
    begins = np.ones(len(user), np.bool_)
    begins[1:] = user[1:] != user[:-1]
    if pause is not None and dataset.clock == "absolute":
        begins[1:] |= time[1:] - time[:-1] > pause
    starts = np.flatnonzero(begins)
    sizes = np.diff(np.append(starts, len(user)))
    return Visits(offsets_of(sizes), item, time)
