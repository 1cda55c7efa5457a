"""Keeps a server's state current: the version the registry names, the events and items that come.

One thread looks; a new state takes the place of the old one in a single assignment, so a request
finds either the one or the other. A version that cannot be loaded leaves the old one in place.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic, perf_counter

from tastemaker.data import times
from tastemaker.errors import TastemakerError
from tastemaker.registry import Registry
from tastemaker.serving.asked import Asked
from tastemaker.serving.live import Live
from tastemaker.store import Store

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
_BUSY_SHARE = 0.05
"""Looking takes at most this share of the time, however much there is to take up."""
_WARM_UPS = 3


class Current:
    """The state that answers now.

    Args:
        store: where events and items come from.
        registry: which version serves.
    """

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._live: Live | None = None
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._stamp: object = None
        self._thread = threading.Thread(target=self._run, name="current", daemon=True)
        self.problem: str | None = None

    @property
    def live(self) -> Live | None:
        """The state, None until the first is ready."""
        return self._live

    def start(self) -> None:
        """Begins to load and to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stops looking."""
        self._stopped.set()
        self._thread.join()

    def refresh(self) -> None:
        """Takes up what has come into the store; when it returns, answers know of it."""
        with self._changing:
            if self._live is not None:
                self._live = self._live.refreshed(self._store)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            begun = monotonic()
            try:
                self._switch()
                self.refresh()
            except Exception as problem:  # the next look may find things mended
                self._tell(problem)
            pause = max(LOOK_SECONDS, (monotonic() - begun) / _BUSY_SHARE)
            if self._live is None:
                pause = LOOK_SECONDS

    def _tell(self, problem: Exception) -> None:
        """Logs a problem once, however often it is met."""
        if str(problem) != self.problem:
            known = isinstance(problem, TastemakerError)
            _LOG.error("%s", problem, exc_info=None if known else problem)
        self.problem = str(problem)

    def _switch(self) -> None:
        """Loads the version the registry names, if it is not the one that serves."""
        stamp = self._registry.stamp()
        if stamp == self._stamp and stamp is not None:
            return  # what serves has not changed, or is as damaged as it was
        self._stamp = stamp
        version = self._registry.current()
        if self._live is not None and self._live.version == version:
            self.problem = None
            return
        begun = perf_counter()
        live = Live.of(self._registry.load(version), self._store)
        warm_up(live, self._store)
        with self._changing:
            self._live = live.refreshed(self._store)
        self.problem = None
        _LOG.info("serving %s, ready after %.1f s", version, perf_counter() - begun)


def warm_up(live: Live, store: Store) -> None:
    """Asks everything once or more, so that kernels are compiled and costs are known."""
    users: list[str | None] = [None, *store.users(_WARM_UPS)]
    first = live.recommender.world.catalogue.items.id(0)
    for placement in live.recommender.placements:
        for user in users:
            for told in (None, [first]):
                asked = Asked(user, told, placement=placement)
                stored = store.history(user or "")
                request = asked.request(live, stored, times.now())
                answered = live.recommender.answer(request, asked.n)
                answered.to_dict(trace=True)
    quiet: list[Callable[[], object]] = [
        lambda: live.recommender.similar(first),
        lambda: live.recommender.trending(at=times.now()),
    ]
    for ask in quiet:
        try:
            ask()
        except TastemakerError:  # a project without such a source serves the rest
            continue
