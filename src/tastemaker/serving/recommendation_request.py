"""What a caller asks for, in the caller's words; and the request it becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.past import Past
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.errors import DataError
from tastemaker.pipeline.pipeline import DEFAULT_N
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.store import EventRow, StoredEvents, check_event


@dataclass(frozen=True, slots=True)
class RecommendationRequest:
    """One question for recommendations.

    Attributes:
        user_id: whose list; None for a stranger without a name.
        history: what a stranger tells of themselves, or a known user instead of what is stored:
            item ids, or events; None where nothing is told.
        n: how many items.
        placement: which wiring; None for the first.
        exclude: item ids that must not be shown.
        explain: whether the answer carries its trace.
        timeout_ms: milliseconds in which the answer is wanted.
        since: when it was asked, seconds of `perf_counter`; from then on its deadline counts.
    """

    user_id: str | None = None
    history: Sequence[str | int | Mapping[str, Any]] | None = None
    n: int = DEFAULT_N
    placement: str | None = None
    exclude: Sequence[str | int] = ()
    explain: bool = False
    timeout_ms: float | None = None
    since: float = field(default_factory=perf_counter)

    def request(
        self,
        live: ModelSnapshot,
        stored: StoredEvents,
        now: int,
        excluded: NDArray[np.int32] | None = None,
    ) -> Requests:
        """The request this is at a moment.

        Args:
            live: the state that will answer.
            stored: what the store holds of the user.
            now: the moment, microseconds.
            excluded: the items that the user's events exclude, where `stored` does not hold all of
                them, int32[m], ascending; by default those that `stored` excludes.

        Raises:
            DataError: an event of the history cannot be used.
            ProjectError: there is no such placement.
        """
        recommender = live.recommender
        seen = recommender.seen(self.placement)
        placement = self.placement or next(iter(recommender.placements))
        about: dict[str, Any] = {"user_id": self.user_id, "placement": placement}
        past = live.past(stored).no_later_than(now - 1)
        request = past.request(now, recommender.kinds, seen, **about)
        if excluded is not None:
            request = replace(request, exclude=Ragged.of([excluded]))
        away = [request.exclude[0]]
        if self.history is not None:
            told = _told(self.history, live, now).request(now, recommender.kinds, seen, **about)
            request = replace(request, history=told.history)
            away.append(told.exclude[0])
        if self.exclude:
            named = recommender.inventory.catalogue.items.indices(
                [str(id_) for id_ in self.exclude]
            )
            away.append(named[named >= 0])
        if len(away) > 1:
            request = replace(request, exclude=Ragged.of([np.unique(np.concatenate(away))]))
        return request


def _told(history: Sequence[str | int | Mapping[str, Any]], live: ModelSnapshot, now: int) -> Past:
    """A told history; what has no kind is a like, a microsecond after the other until just now."""
    recommender, size = live.recommender, len(history)
    codes = {name: code for code, name in enumerate(recommender.kinds)}
    liked = _plain_like(live)
    rows: list[EventRow] = []
    for place, told in enumerate(history):
        fields = told if isinstance(told, Mapping) else {"item_id": told}
        try:
            given = {} if "event_type" in fields else liked
            row = check_event({**given, "user_id": "told", **fields}, recommender.kinds, None, now)
        except DataError as problem:
            raise DataError(f"history[{place}]: {problem}") from None
        rows.append(replace(row, time=min(row.time, now - size + place)))
    time = np.array([row.time for row in rows], np.int64)
    order = np.argsort(time, kind="stable")
    item = recommender.inventory.catalogue.items.indices([row.item_id for row in rows])
    kind = np.array([codes[row.kind] for row in rows], np.int8)
    value = np.array([row.value for row in rows], np.float32)
    return Past(item[order], kind[order], value[order], time[order])


def _plain_like(live: ModelSnapshot) -> dict[str, Any]:
    """The kind and the value by which an item that is merely named counts as liked."""
    for name, kind in live.recommender.kinds.items():
        if kind.role == "positive":
            return {
                "event_type": name,
                **(
                    {"value": kind.positive_threshold}
                    if kind.positive_threshold is not None
                    else {}
                ),
            }
    return {"event_type": next(iter(live.recommender.kinds))}
