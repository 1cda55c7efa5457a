"""Builds a `Requests` from request parameters and the user's stored events.

Only the newest events of a user are read. For users with more events, `SeenItems` gives the seen
items.
"""

from dataclasses import dataclass, field

from tastemaker.data.requests import Requests
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.seen_items import SeenItems
from tastemaker.store import Store, StoredEvents

HISTORY_EVENTS = 2_000
"""The default of `[server] history_events`."""
_NO_EVENTS = StoredEvents.of([])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request with the user's stored events and profile, and the snapshot that answers it."""

    snapshot: ModelSnapshot
    request: Requests


@dataclass(frozen=True)
class UserRequests:
    """Builds requests. Any number of threads can use it.

    Attributes:
        store: the store with the events and users.
        most: how many of a user's newest events are read.
        seen: the seen items of users with more events.
    """

    store: Store
    most: int = HISTORY_EVENTS
    seen: SeenItems = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", SeenItems(self.store))

    def newest(self, user_id: str | None, snapshot: ModelSnapshot) -> StoredEvents:
        """The newest events of a user that can affect a request; none without a user."""
        if user_id is None:
            return _NO_EVENTS
        return self.store.history(user_id, snapshot.kinds_read, self.most)

    def request(
        self,
        recommendation: RecommendationRequest,
        snapshot: ModelSnapshot,
        now: int,
        *,
        allow_slow: bool = True,
    ) -> Requests:
        """The `Requests` for request parameters at a given time.

        Args:
            recommendation: the parameters of the request.
            snapshot: the snapshot that answers.
            now: the time in microseconds.
            allow_slow: whether a slow read is allowed.

        Raises:
            DataError: an event of the history is invalid.
            ProjectError: the placement is unknown.
            ManySeenItems: a slow read is needed, and `allow_slow` is False.
        """
        stored, excluded = self.newest(recommendation.user_id, snapshot), None
        if recommendation.user_id is not None and len(stored) >= self.most:
            about = (recommendation.user_id, recommendation.placement, snapshot, now)
            excluded = self.seen.of(*about, allow_slow=allow_slow)
        return snapshot.with_profile(
            recommendation.request(snapshot, stored, now, excluded), self.store
        )
