"""What one user did so far, from wherever it is kept, as a request: the live twin of a log's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.events import Histories, preferences
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import HISTORY_CAP, Masks, Requests
from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy


@dataclass(frozen=True, slots=True)
class Past:
    """The events of one user, oldest first, uncapped.

    Attributes:
        item: int32[m]; −1 for an item nobody knows.
        kind: int8[m], position in the kinds.
        value: float32[m], NaN where there is none.
        time: int64[m], microseconds, ascending.
    """

    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    value: NDArray[np.float32]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.item)

    def no_later_than(self, moment: int) -> "Past":
        """The same, later events moved to the moment: the clock they came in by went ahead."""
        return replace(self, time=np.minimum(self.time, moment))

    def request(
        self,
        moment: int,
        kinds: Mapping[str, EventKind],
        seen: SeenPolicy,
        *,
        user_id: str | None = None,
        placement: str = "",
        cap: int = HISTORY_CAP,
    ) -> Requests:
        """What this user asks at a moment: the same request as `Dataset.requests` makes of a log.

        Args:
            moment: microseconds; only events strictly before it count.
            kinds: the kinds of event, in their order.
            seen: which past events keep an item away.
            user_id: whose past it is.
            placement: the placement asked for.
            cap: the longest history.
        """
        until = int(np.searchsorted(self.time, moment))
        exposures = np.array([kind.role == "exposure" for kind in kinds.values()])
        taste = np.flatnonzero(~exposures[self.kind[:until]])
        taste = taste[max(len(taste) - cap, 0) :]
        kind, value = self.kind[taste], self.value[taste]
        away = seen.excludes(
            self.kind[:until], self.time[:until], np.full(until, moment, np.int64)
        ) & (self.item[:until] >= 0)
        return Requests(
            np.array([moment], np.int64),
            Histories(
                np.array([0, len(taste)], np.int64),
                self.item[taste],
                kind,
                value,
                preferences(kind, value, kinds),
                self.time[taste],
            ),
            Ragged.of([np.unique(self.item[:until][away])]),
            Masks.everything(1),
            np.zeros(1, np.uint64),
            (user_id,),
            placement,
        )
