"""Keeps a server's state current: the version the registry names, the events and items that come.

One thread looks; a new state takes the place of the old one in a single assignment, so a request
finds either the one or the other. A version that cannot be loaded leaves the old one in place; at
the start, the one that served before it is taken.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, perf_counter

from tastemaker.errors import TastemakerError
from tastemaker.pipeline.project_settings import difference, with_project_settings
from tastemaker.project.sections import ProjectFile
from tastemaker.registry import Registry
from tastemaker.serving.asked import Asked
from tastemaker.serving.live import Live
from tastemaker.serving.user_requests import UserRequests
from tastemaker.store import Store

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
RETRY_SECONDS = 5.0
"""A version that could not be loaded is tried again after so long, or when another is named."""
_BUSY_SHARE = 0.05
"""Taking up events takes at most this share of the time, however many there are."""
_WARM_UPS = 3


class Current:
    """The state that answers now.

    Args:
        store: where events and items come from.
        registry: which version serves.
        file: the project file, whose settings that need no training apply; by default those a
            version was trained with.

    Attributes:
        problem: what stands in the way of the version that should serve, or of looking at the
            store; None where nothing does.
    """

    def __init__(self, store: Store, registry: Registry, file: ProjectFile | None = None) -> None:
        self._store = store
        self._file = file
        self._changes: list[str] = []
        self._registry = registry
        self._live: Live | None = None
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._looked_at: object = None
        self._retry_at = 0.0
        self._refresh_at = 0.0
        self._problems: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="current", daemon=True)

    @property
    def live(self) -> Live | None:
        """The state, None until the first is ready."""
        return self._live

    @property
    def problem(self) -> str | None:
        """What stands in the way; None where nothing does."""
        return next(iter(self._problems.values()), None)

    @property
    def note(self) -> str:
        """What of the project file takes effect only with the next training; empty for nothing."""
        return "" if self._live is None else difference(self._live.version, self._changes)

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
            self._store.require_in_place()
            if self._live is not None:
                self._live = self._live.refreshed(self._store)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = LOOK_SECONDS
            self._guarded("version", self._switch)
            if monotonic() >= self._refresh_at:
                begun = monotonic()
                self._guarded("store", self.refresh)
                self._refresh_at = monotonic() + (monotonic() - begun) / _BUSY_SHARE

    def _guarded(self, what: str, look: Callable[[], None]) -> None:
        """Looks; a problem is logged once, however often it is met, and forgotten when mended."""
        try:
            look()
        except Exception as problem:
            if str(problem) != self._problems.get(what):
                known = isinstance(problem, TastemakerError)
                _LOG.error("%s", problem, exc_info=None if known else problem)
            self._problems[what] = str(problem)
        else:
            self._problems.pop(what, None)

    def _switch(self) -> None:
        """Loads the version the registry names, if it is not the one that serves."""
        stamp, known = self._registry.stamp(), self._problems.get("version")
        if stamp == self._looked_at and self._live is not None and known is None:
            return
        if stamp == self._looked_at and known is not None and monotonic() < self._retry_at:
            raise TastemakerError(known)  # as it was; not looked at again so soon
        self._looked_at, self._retry_at = stamp, monotonic() + RETRY_SECONDS
        version = self._registry.current()
        if self._live is not None and self._live.version == version:
            return
        try:
            self._take(version)
        except Exception:
            if self._live is None:
                self._fall_back()
            raise

    def _fall_back(self) -> None:
        """Takes the latest of the versions that served before which can be loaded, if any."""
        for version in self._registry.earlier():
            with suppress(Exception):
                self._take(version)
                return

    def _take(self, version: str) -> None:
        """Makes a version the one that answers."""
        begun = perf_counter()
        fitted, changes = self._registry.load(version), list[str]()
        if self._file is not None:
            fitted, changes = with_project_settings(fitted, self._file)
        live = Live.of(fitted, self._store)
        warm_up(live, self._store)
        with self._changing:
            self._live, self._changes = live.refreshed(self._store), changes
        _LOG.info("serving %s, ready after %.1f s", version, perf_counter() - begun)


def warm_up(live: Live, store: Store) -> None:
    """Asks everything once or more, so that kernels are compiled and costs are known."""
    users: list[str | None] = [None, *store.users(_WARM_UPS)]
    requests = UserRequests(store)
    first = live.recommender.world.catalogue.items.id(0)
    for placement in live.recommender.placements:
        for user in users:
            for told in (None, [first]):
                asked = Asked(user, told, placement=placement)
                request = requests.request(asked, live, live.moment())
                answered = live.recommender.answer(request, asked.n)
                answered.to_dict(trace=True)
    _ask(lambda: live.recommender.similar(first))
    _ask(lambda: live.recommender.trending(at=live.moment()))


def _ask(work: Callable[[], object]) -> None:
    try:
        work()
    except TastemakerError:  # a project without such a source serves the rest
        return
