"""The parameters of a recommendation request, and the `Requests` built from them."""

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
    """The parameters of one recommendation request.

    Attributes:
        user_id: the user; None for an anonymous user.
        history: item ids or events to use instead of the stored events; None to use the stored
            events.
        n: how many items.
        placement: the placement; None for the first.
        exclude: item ids to exclude.
        explain: whether the response includes the trace.
        timeout_ms: the time limit in milliseconds; None for no limit of the request.
        since: when the request arrived, in seconds of `perf_counter`. The time limit starts then.
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
        snapshot: ModelSnapshot,
        stored: StoredEvents,
        now: int,
        excluded: NDArray[np.int32] | None = None,
    ) -> Requests:
        """The `Requests` for these parameters at a given time.

        Args:
            snapshot: the snapshot that answers.
            stored: the user's stored events.
            now: the time in microseconds.
            excluded: the items that the user's events exclude, int32[m], ascending. Needed if
                `stored` does not have all of the user's events; by default derived from `stored`.

        Raises:
            DataError: an event of the history is invalid.
            ProjectError: the placement is unknown.
        """
        recommender = snapshot.recommender
        seen = recommender.seen(self.placement)
        placement = self.placement or next(iter(recommender.placements))
        about: dict[str, Any] = {"user_id": self.user_id, "placement": placement}
        past = snapshot.past(stored).no_later_than(now - 1)
        request = past.request(now, recommender.kinds, seen, **about)
        if excluded is not None:
            request = replace(request, exclude=Ragged.of([excluded]))
        excluded_parts = [request.exclude[0]]
        if self.history is not None:
            given = _past_of_history(self.history, snapshot, now).request(
                now, recommender.kinds, seen, **about
            )
            request = replace(request, history=given.history)
            excluded_parts.append(given.exclude[0])
        if self.exclude:
            named = recommender.inventory.catalogue.items.indices(
                [str(id_) for id_ in self.exclude]
            )
            excluded_parts.append(named[named >= 0])
        if len(excluded_parts) > 1:
            request = replace(
                request, exclude=Ragged.of([np.unique(np.concatenate(excluded_parts))])
            )
        return request


def _past_of_history(
    history: Sequence[str | int | Mapping[str, Any]], snapshot: ModelSnapshot, now: int
) -> Past:
    """The history of a request as a `Past`.

    Entries without an event type are likes, one microsecond apart, the last just before `now`.
    """
    recommender, size = snapshot.recommender, len(history)
    codes = {name: code for code, name in enumerate(recommender.kinds)}
    liked = _plain_like(snapshot)
    rows: list[EventRow] = []
    for place, entry in enumerate(history):
        fields = entry if isinstance(entry, Mapping) else {"item_id": entry}
        try:
            default = {} if "event_type" in fields else liked
            row = check_event(
                {**default, "user_id": "history", **fields}, recommender.kinds, None, now
            )
        except DataError as problem:
            raise DataError(f"history[{place}]: {problem}") from None
        rows.append(replace(row, time=min(row.time, now - size + place)))
    time = np.array([row.time for row in rows], np.int64)
    order = np.argsort(time, kind="stable")
    item = recommender.inventory.catalogue.items.indices([row.item_id for row in rows])
    kind = np.array([codes[row.kind] for row in rows], np.int8)
    value = np.array([row.value for row in rows], np.float32)
    return Past(item[order], kind[order], value[order], time[order])


def _plain_like(snapshot: ModelSnapshot) -> dict[str, Any]:
    """The event type and value of a like, used for entries that are only item ids."""
    for name, kind in snapshot.recommender.kinds.items():
        if kind.role == "positive":
            return {
                "event_type": name,
                **(
                    {"value": kind.positive_threshold}
                    if kind.positive_threshold is not None
                    else {}
                ),
            }
    return {"event_type": next(iter(snapshot.recommender.kinds))}
