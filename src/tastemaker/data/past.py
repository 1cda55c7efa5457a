"""Live requests: turns one user's events, from a store or a client, into a request."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.events import Histories, preferences
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import HISTORY_CAP, Masks, Requests
from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.state import NEVER, Replacement


@dataclass(frozen=True, slots=True)
class Past:
    """The events of one user, oldest first, uncapped.

    Attributes:
        item: int32[m]; −1 for an unknown item.
        kind: int8[m], position in the kinds.
        value: float32[m], NaN if missing.
        time: int64[m], microseconds, ascending.
    """

    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    value: NDArray[np.float32]
    time: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.item)

    def no_later_than(self, moment: int) -> "Past":
        """The same events, with later times set to the moment: the sender's clock was ahead."""
        return replace(self, time=np.minimum(self.time, moment))

    def counts(self, rules: Replacement | None) -> NDArray[np.bool_]:
        """Which events were not replaced by a later one, bool[m].

        Events of unknown items always count, since it is unknown which belong to the same item.

        Args:
            rules: which event types replace which; None if none does.
        """
        user = np.zeros(len(self), np.int32)
        columns = (user, self.item, self.kind, self.value, self.time)
        replaced_at = None if rules is None else rules.times(*columns)
        return np.ones(len(self), np.bool_) if replaced_at is None else replaced_at == NEVER

    def weight(self, kinds: Mapping[str, EventKind]) -> NDArray[np.float32]:
        """The preferences as of the last event, float32[m]; 0 for replaced events."""
        preference = preferences(self.kind, self.value, kinds)
        return np.where(self.counts(Replacement.of(kinds)), preference, np.float32(0.0))

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
        """The user's request at a moment, equal to that of `Dataset.requests` for the same events.

        Args:
            moment: microseconds; only events strictly before it count, unless another of them
                replaced them.
            kinds: the kinds of event, in their order.
            seen: which past events exclude an item.
            user_id: the user's id.
            placement: the requested placement.
            cap: the maximum history length.
        """
        until = slice(int(np.searchsorted(self.time, moment)))
        past = Past(self.item[until], self.kind[until], self.value[until], self.time[until])
        rules = Replacement.of(kinds)
        counts = past.counts(rules)
        exposures = np.array([kind.role == "exposure" for kind in kinds.values()])
        taste = np.flatnonzero(counts & ~exposures[past.kind])
        taste = taste[max(len(taste) - cap, 0) :]
        kind, value = past.kind[taste], past.value[taste]
        now = np.full(len(past), moment, np.int64)
        excluded = seen.excludes(past.kind, past.time, now) & counts & (past.item >= 0)
        if rules is not None:
            excluded &= ~rules.returned(past.kind, past.value)
        return Requests(
            np.array([moment], np.int64),
            Histories(
                np.array([0, len(taste)], np.int64),
                past.item[taste],
                kind,
                value,
                preferences(kind, value, kinds),
                past.time[taste],
            ),
            Ragged.of([np.unique(past.item[excluded])]),
            Masks.everything(1),
            np.zeros(1, np.uint64),
            (user_id,),
            placement,
        )
