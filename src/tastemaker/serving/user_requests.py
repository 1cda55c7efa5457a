"""A question and what the store knows of its user → the request that is answered.

Of a user's events only the newest are read; whoever has more gets the seen items from `SeenItems`.
"""

from dataclasses import dataclass, field

from tastemaker.data.requests import Requests
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.seen_items import SeenItems
from tastemaker.store import Store, StoredEvents

HISTORY_EVENTS = 2_000
"""The default of `[server] history_events`."""
NOBODY = StoredEvents.of([])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request with everything the store knows of its user, and the state that answers it."""

    live: ModelSnapshot
    request: Requests


@dataclass(frozen=True)
class UserRequests:
    """Makes requests; used by any number of threads.

    Attributes:
        store: where events and users are.
        most: so many of the newest events of a user are read.
        seen: the seen items of users with more.
    """

    store: Store
    most: int = HISTORY_EVENTS
    seen: SeenItems = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", SeenItems(self.store))

    def newest(self, user_id: str | None, live: ModelSnapshot) -> StoredEvents:
        """The newest events of a user that can matter; nobody has none."""
        if user_id is None:
            return NOBODY
        return self.store.history(user_id, live.kinds_read, self.most)

    def request(
        self,
        asked: RecommendationRequest,
        live: ModelSnapshot,
        now: int,
        *,
        allow_slow: bool = True,
    ) -> Requests:
        """The request of a question at a moment.

        Args:
            asked: the question.
            live: the state that will answer.
            now: the moment, microseconds.
            allow_slow: whether to read however much there is to read.

        Raises:
            DataError: an event of the history cannot be used.
            ProjectError: there is no such placement.
            ManySeenItems: not `allow_slow`, and much would have to be read.
        """
        stored, excluded = self.newest(asked.user_id, live), None
        if asked.user_id is not None and len(stored) >= self.most:
            about = (asked.user_id, asked.placement, live, now)
            excluded = self.seen.of(*about, allow_slow=allow_slow)
        return live.with_profile(asked.request(live, stored, now, excluded), self.store)
