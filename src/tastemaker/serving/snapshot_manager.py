"""Keeps a server's snapshot current: the registry's current version, and new events and items.

One thread polls. It replaces the snapshot in a single assignment, so that a request gets either the
old or the new one. If a version cannot be loaded, the old one stays in use; at startup, the version
before it is loaded instead. The project file is read again for each version.
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
"""How long to wait before a failed version or project file is loaded again. Another version is
loaded at once."""
_BUSY_SHARE = 0.05
"""The largest share of time spent on new events, however many there are."""
_WARM_UPS = 3


class SnapshotManager:
    """The current snapshot, kept up to date by a thread.

    Args:
        store: the source of events and items.
        registry: names the current version.
        project: its file is read for each version that is loaded, and its settings that need no
            training apply. If the file is invalid, the last valid file applies to versions trained
            before it was read; other versions keep the settings they were trained with.
        on_version: called after each change of version.

    Attributes:
        project: the project, with the latest valid file.
        problem: why the current version, the project file or the store cannot be read; None if
            there is no problem.
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
        self._reload_at = 0.0
        self._changes: list[str] = []
        self._registry = registry
        self._snapshot: ModelSnapshot | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._stamp: object = None
        self._retry_at = 0.0
        self._refresh_at = 0.0
        self._problems: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="current", daemon=True)

    @property
    def snapshot(self) -> ModelSnapshot | None:
        """The current snapshot; None until the first is ready."""
        return self._snapshot

    @property
    def problem(self) -> str | None:
        """The first current problem; None if there is none."""
        return next(iter(self._problems.values()), None)

    @property
    def note(self) -> str:
        """The settings that take effect only after the next training; empty if there are none."""
        return "" if self._snapshot is None else difference(self._snapshot.version, self._changes)

    def start(self) -> None:
        """Starts the thread that loads versions and polls for changes."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread."""
        self._stopped.set()
        self._thread.join()

    def refresh(self) -> None:
        """Updates the snapshot from the store. Later responses include its events and items."""
        with self._lock:
            self._store.require_in_place()
            if self._snapshot is not None:
                self._snapshot = self._snapshot.refreshed(self._store)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = LOOK_SECONDS
            self._check("version", self._switch)
            self._check("project file", self._reload_project_file)
            if monotonic() >= self._refresh_at:
                begun = monotonic()
                self._check("store", self.refresh)
                self._refresh_at = monotonic() + (monotonic() - begun) / _BUSY_SHARE

    def _check(self, what: str, check: Callable[[], None]) -> None:
        """Runs a check. A repeated problem is logged once, and removed when the check succeeds."""
        try:
            check()
        except Exception as problem:
            if str(problem) != self._problems.get(what):
                known = isinstance(problem, TastemakerError)
                _LOG.error("%s", problem, exc_info=None if known else problem)
            self._problems[what] = str(problem)
        else:
            self._problems.pop(what, None)

    def _switch(self) -> None:
        """Loads the current version of the registry, if it is not the one in use."""
        stamp, known = self._registry.stamp(), self._problems.get("version")
        if stamp == self._stamp and self._snapshot is not None and known is None:
            return
        if stamp == self._stamp and known is not None and monotonic() < self._retry_at:
            raise TastemakerError(known)  # unchanged; retried later
        self._stamp, self._retry_at = stamp, monotonic() + RETRY_SECONDS
        version = self._registry.current()
        if self._snapshot is not None and self._snapshot.version == version:
            return
        try:
            self._load(version)
        except Exception:
            if self._snapshot is None:
                self._fall_back()
            raise

    def _fall_back(self) -> None:
        """Loads the latest earlier version that can be loaded, if any."""
        for version in self._registry.earlier():
            with suppress(Exception):
                self._load(version)
                return

    def _load(self, version: str) -> None:
        """Makes a version the current one, with the settings of the current project file."""
        begun = perf_counter()
        fitted, changes = self._registry.load(version), list[str]()
        project, problem = self.project, None
        try:
            project, read_at = load_project(self.project.path), times.now()
        except ProjectError as error:
            problem, read_at = _invalid_file_message(version, error), self._read_at
        if problem is None or _is_later(read_at, version):
            fitted, changes = with_project_settings(fitted, project.file)
        snapshot = ModelSnapshot.of(fitted, self._store)
        warm_up(snapshot, self._store)
        with self._lock:  # the snapshot is assigned last, so that readers see matching settings
            self.project, self._read_at, self._file_problem = project, read_at, problem
            self._changes = changes
            self._snapshot = snapshot.refreshed(self._store)
        self._on_version()
        self._reload_at = monotonic() + RETRY_SECONDS
        _LOG.info("serving %s, ready after %.1f s", version, perf_counter() - begun)

    def _reload_project_file(self) -> None:
        """Loads the version again when a project file that was invalid is corrected."""
        if self._snapshot is None or self._file_problem is None:
            return
        if monotonic() >= self._reload_at:
            self._reload_at, version = monotonic() + RETRY_SECONDS, self._snapshot.version
            try:
                load_project(self.project.path)  # first, because loading the version costs more
                self._load(version)
            except ProjectError as error:
                self._file_problem = _invalid_file_message(version, error)
            except SettingError as error:
                self._file_problem = str(error)
        if self._file_problem is not None:
            raise TastemakerError(self._file_problem)


def _is_later(read_at: int, version: str) -> bool:
    """Whether a file was read after a training. Training times have whole seconds."""
    return trained_at(version) < read_at // MICROSECONDS["s"] * MICROSECONDS["s"]


def _invalid_file_message(version: str, problem: ProjectError) -> str:
    return (
        f"version {version} is served without the current project file, which is invalid; "
        f"correct it: {problem}"
    )


def warm_up(snapshot: ModelSnapshot, store: Store) -> None:
    """Answers requests of every kind, so that kernels are compiled and stage costs are known.

    The most common kind comes last, because it sets the expected cost of the stages.
    """
    users: list[str | None] = [None, *store.users(_WARM_UPS)]
    newest, summed = UserRequests(store), UserRequests(store, most=1)
    catalogue = snapshot.recommender.inventory.catalogue
    many = catalogue.items.ids(range(min(HISTORY_CAP, len(catalogue))))
    everything, first = Ragged.of([np.arange(len(catalogue))]), many[0]

    def answer(
        requests: UserRequests, recommendation: RecommendationRequest, exclude: Ragged | None = None
    ) -> None:
        request = requests.request(recommendation, snapshot, snapshot.moment())
        if exclude is not None:
            request = replace(request, exclude=exclude)
        result = snapshot.recommender.answer(
            request, recommendation.n, trace=recommendation.explain
        )
        result.to_dict(trace=recommendation.explain)

    for placement in snapshot.recommender.placements:
        for user in users[:2]:
            largest = RecommendationRequest(user, n=MOST_ITEMS, placement=placement, explain=True)
            answer(summed, largest)
            answer(summed, replace(largest, history=many))
            answer(newest, largest, everything)
        for user in users:
            answer(newest, RecommendationRequest(user, [first], placement=placement, explain=True))
            answer(newest, RecommendationRequest(user, placement=placement))
    _try(lambda: snapshot.recommender.similar(first))
    _try(lambda: snapshot.recommender.trending(at=snapshot.moment()))


def _try(work: Callable[[], object]) -> None:
    try:
        work()
    except TastemakerError:  # a project without such a source serves the other requests
        return
