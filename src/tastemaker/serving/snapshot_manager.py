"""Keeps a server's state current: the version the registry names, the events and items that come.

One thread looks; a new state takes the place of the old one in a single assignment, so a request
finds either the one or the other. A version that cannot be loaded leaves the old one in place; at
the start, the one that served before it is taken. The project file is read again for each version.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic, perf_counter

import numpy as np

from tastemaker.data import times
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import HISTORY_CAP
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import ProjectError, SettingError, TastemakerError
from tastemaker.pipeline.project_settings import difference, with_project_settings
from tastemaker.project import Project, load_project
from tastemaker.registry import Registry
from tastemaker.registry.version import trained_at
from tastemaker.serving.bodies import MOST_ITEMS
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.user_requests import UserRequests
from tastemaker.store import Store

_LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
RETRY_SECONDS = 5.0
"""A version that could not be loaded is tried again after so long, or when another is named; a
project file that could not be used is read again after so long."""
_BUSY_SHARE = 0.05
"""Taking up events takes at most this share of the time, however many there are."""
_WARM_UPS = 3


class SnapshotManager:
    """The state that answers now.

    Args:
        store: where events and items come from.
        registry: which version serves.
        project: whose file is read for each version that is loaded; its settings that need no
            training apply. Where it is wrong by
            then, the last one that could be read applies to versions trained before it was read,
            and the others keep the settings they were trained with.
        on_version: called after each version that was taken.

    Attributes:
        project: the project, with the latest file that could be read.
        problem: what stands in the way of the version that should serve, of the project file, or
            of looking at the store; None where nothing does.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        project: Project,
        on_version: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._on_version = on_version
        self.project = project
        self._read_at = times.now()
        self._file_problem: str | None = None
        self._reread_at = 0.0
        self._changes: list[str] = []
        self._registry = registry
        self._live: ModelSnapshot | None = None
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._looked_at: object = None
        self._retry_at = 0.0
        self._refresh_at = 0.0
        self._problems: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="current", daemon=True)

    @property
    def live(self) -> ModelSnapshot | None:
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
            self._guarded("project file", self._reread)
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
        """Makes a version the one that answers, under the project file of today."""
        begun = perf_counter()
        fitted, changes = self._registry.load(version), list[str]()
        project, problem = self.project, None
        try:
            project, read_at = load_project(self.project.path), times.now()
        except ProjectError as wrong:
            problem, read_at = _unusable(version, wrong), self._read_at
        if problem is None or _is_later(read_at, version):
            fitted, changes = with_project_settings(fitted, project.file)
        live = ModelSnapshot.of(fitted, self._store)
        warm_up(live, self._store)
        with self._changing:  # the state comes last: whoever sees it sees what belongs to it
            self.project, self._read_at, self._file_problem = project, read_at, problem
            self._changes = changes
            self._live = live.refreshed(self._store)
        self._on_version()
        self._reread_at = monotonic() + RETRY_SECONDS
        _LOG.info("serving %s, ready after %.1f s", version, perf_counter() - begun)

    def _reread(self) -> None:
        """Takes the version again once the project file, wrong when it was loaded, is corrected."""
        if self._live is None or self._file_problem is None:
            return
        if monotonic() >= self._reread_at:
            self._reread_at, version = monotonic() + RETRY_SECONDS, self._live.version
            try:
                load_project(self.project.path)  # first, since to load the version costs more
                self._take(version)
            except ProjectError as wrong:
                self._file_problem = _unusable(version, wrong)
            except SettingError as wrong:
                self._file_problem = str(wrong)
        if self._file_problem is not None:
            raise TastemakerError(self._file_problem)


def _is_later(read_at: int, version: str) -> bool:
    """Whether a file was read after a training, whose moment has whole seconds."""
    return trained_at(version) < read_at // MICROSECONDS["s"] * MICROSECONDS["s"]


def _unusable(version: str, problem: ProjectError) -> str:
    return (
        f"version {version} is served without the present project file, which cannot be used; "
        f"correct it: {problem}"
    )


def warm_up(live: ModelSnapshot, store: Store) -> None:
    """Answers requests of every kind, so that kernels are compiled and costs are known.

    The most common kind comes last: it decides what stages are expected to cost.
    """
    users: list[str | None] = [None, *store.users(_WARM_UPS)]
    newest, summed = UserRequests(store), UserRequests(store, most=1)
    catalogue = live.recommender.inventory.catalogue
    many = catalogue.items.ids(range(min(HISTORY_CAP, len(catalogue))))
    everything, first = Ragged.of([np.arange(len(catalogue))]), many[0]

    def answer(
        requests: UserRequests, asked: RecommendationRequest, exclude: Ragged | None = None
    ) -> None:
        request = requests.request(asked, live, live.moment())
        if exclude is not None:
            request = replace(request, exclude=exclude)
        answered = live.recommender.answer(request, asked.n, trace=asked.explain)
        answered.to_dict(trace=asked.explain)

    for placement in live.recommender.placements:
        for user in users[:2]:
            largest = RecommendationRequest(user, n=MOST_ITEMS, placement=placement, explain=True)
            answer(summed, largest)
            answer(summed, replace(largest, history=many))
            answer(newest, largest, everything)
        for user in users:
            answer(newest, RecommendationRequest(user, [first], placement=placement, explain=True))
            answer(newest, RecommendationRequest(user, placement=placement))
    _ask(lambda: live.recommender.similar(first))
    _ask(lambda: live.recommender.trending(at=live.moment()))


def _ask(work: Callable[[], object]) -> None:
    try:
        work()
    except TastemakerError:  # a project without such a source serves the rest
        return
