"""A server without the network: answers requests, and stores events and items.

Each response uses one `ModelSnapshot`, taken at the start of the request. Recommendations are
logged.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from time import sleep
from typing import Any, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tastemaker.data import times
from tastemaker.data.additions import ItemLimits, put_attributes
from tastemaker.data.candidates import Candidates
from tastemaker.errors import (
    BusyError,
    DataError,
    NotReadyError,
    StoreError,
    StoreFullError,
    UnknownIdError,
)
from tastemaker.giving_way import give_way
from tastemaker.pipeline.recommendations import ranked_dict
from tastemaker.progress import Progress
from tastemaker.project import Project
from tastemaker.registry import Registry
from tastemaker.serving.decision_log import decision_dict, decision_of, sampled
from tastemaker.serving.housekeeping import Housekeeping
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.snapshot_manager import SnapshotManager
from tastemaker.serving.user_requests import Prepared, UserRequests
from tastemaker.store import Added, EventSource, check_event
from tastemaker.store.capacity import Capacity
from tastemaker.store.decision import compact_bytes
from tastemaker.store.incoming import checked_id, ids_in
from tastemaker.threads import blas_threads

_LOG = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class PostedEvents:
    """Posted events that are validated and are being written.

    Attributes:
        indices: the positions of the valid events.
        rejected: `{"index", "code", "error"}` for each invalid event.
        written: done when the valid events are on disk. Raises StoreFullError if the store has
            reached the limit in its settings. See `add_in_parts`.
    """

    indices: list[int]
    rejected: list[dict[str, Any]]
    written: "Future[Added]"

    def result(self, added: Added) -> dict[str, Any]:
        """The response body after the write. Each event is counted once."""
        failed = [(place, "invalid", reason) for place, reason in added.conflicts]
        code, reason = _write_error(added.problem)
        failed += [(place, code, reason) for place in added.unwritten]
        entries = [
            {"index": self.indices[place], "code": code, "error": reason}
            for place, code, reason in failed
        ]
        rejected = sorted([*self.rejected, *entries], key=lambda entry: int(entry["index"]))
        return {"accepted": added.new, "duplicates": added.duplicates, "rejected": rejected}


def _write_error(problem: BaseException | None) -> tuple[str, str]:
    """The code and the message for events that could not be written."""
    if isinstance(problem, StoreError):
        code = "store_full" if isinstance(problem, StoreFullError) else "store"
        return code, f"not stored: {problem}"[:_LONGEST_REASON]
    return "internal", "not stored: an internal error, which was logged"


class Service:
    """A served project. Use it as a context manager; any number of threads can call it.

    Args:
        project: the project to serve.
        progress: reports the import of files.
        on_version: called after each change of version.

    Attributes:
        store: the events, items and decisions of the project.
        requests: builds requests from request parameters and the stored events.
    """

    def __init__(
        self,
        project: Project,
        progress: Progress = Progress(),
        on_version: Callable[[], None] = lambda: None,
    ) -> None:
        self._initial = project
        self._on_version = on_version
        self._source = EventSource(project, progress)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(blas_threads(1))  # one BLAS thread per request
        self.store = self._stack.enter_context(self._source.open())
        self.requests = UserRequests(self.store, self._initial.file.server.history_events)
        registry = Registry(self._initial.state)
        self._manager = SnapshotManager(self.store, registry, self._initial, self._on_version)
        self._manager.start()
        self._stack.callback(self._manager.stop)
        self._capacity = Capacity(self.store, self._initial.file.store)
        housekeeping = Housekeeping(self._capacity)
        housekeeping.start()
        self._stack.callback(housekeeping.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def project(self) -> Project:
        """The project, with the file that was read when the current version was loaded.

        Process settings (address, workers, waiting times, the store) keep the values from the file
        that the process was started with.
        """
        return self._manager.project if hasattr(self, "_manager") else self._initial

    @property
    def snapshot(self) -> ModelSnapshot:
        """The current snapshot.

        Raises:
            NotReadyError: no version is loaded yet.
        """
        snapshot = self._manager.snapshot
        if snapshot is None:
            raise NotReadyError(self._manager.problem or "the model is being loaded")
        return snapshot

    def moment(self, snapshot: ModelSnapshot) -> int:
        """The time of a request that arrives now, in microseconds. See `[server] now`."""
        return snapshot.moment(self.project.file.server.now)

    def status(self) -> dict[str, Any]:
        """The status, model version, problem, note and warning of the server.

        Also the end of the event log, if that is long ago.
        """
        snapshot, problem = self._manager.snapshot, self._manager.problem
        ended = None if snapshot is None else snapshot.ended()
        return {
            "status": "loading" if snapshot is None else "ready",
            **({} if snapshot is None else {"model_version": snapshot.version}),
            **({"problem": problem} if problem else {}),
            **({"note": note} if (note := self._manager.note) else {}),
            **({"warning": warning} if (warning := self._capacity.warning) else {}),
            **({} if ended is None else {"log_ended": times.format_moment(ended)}),
        }

    def prepare(
        self, recommendation: RecommendationRequest, *, allow_slow: bool = True
    ) -> Prepared:
        """The request with the user's stored events and profile.

        Args:
            recommendation: the parameters of the request.
            allow_slow: whether a slow read is allowed. It takes up to a second per million items,
                mostly in SQLite, and must not run on the scoring thread.

        Raises:
            ManySeenItems: a slow read is needed, and `allow_slow` is False.
            NotReadyError: no version is loaded yet.
            InputError: the request is invalid; the message states the reason.
        """
        snapshot = self.snapshot
        request = self.requests.request(
            recommendation, snapshot, self.moment(snapshot), allow_slow=allow_slow
        )
        return Prepared(snapshot, request)

    def recommend(
        self, recommendation: RecommendationRequest, prepared: Prepared | None = None
    ) -> dict[str, Any]:
        """Recommendations, in the format of `Recommendations.to_dict`. They are logged.

        Args:
            recommendation: the parameters of the request.
            prepared: the result of `prepare` for it; by default `prepare` is called.

        Raises:
            NotReadyError: no version is loaded yet.
            InputError: the request is invalid; the message states the reason.
        """
        prepared, id_ = prepared or self.prepare(recommendation), uuid4().hex
        request = replace(prepared.request, seed=_seed_of(id_))
        result = prepared.snapshot.recommender.answer(
            request,
            recommendation.n,
            timeout_ms=recommendation.timeout_ms,
            since=recommendation.since,
            trace=self._keeps_all_candidates(id_),
        )
        answer = result.to_dict(trace=recommendation.explain, recommendation_id=id_)
        if self._capacity.problem is not None:
            return answer
        try:
            decision = decision_of(recommendation, result, answer)
            self.store.log(decision, compact_bytes(len(decision.items)))
        except BusyError:  # the decision log counts and reports it
            pass
        except StoreError as problem:  # an answer without a log entry is better than no answer
            _LOG.error("the answer %s is not logged: %s", id_, problem)
        return answer

    def rank(
        self,
        recommendation: RecommendationRequest,
        items: Sequence[str],
        exclude_seen: bool = False,
        prepared: Prepared | None = None,
    ) -> dict[str, Any]:
        """The given items, ordered by relevance to a user or history. They are not logged.

        Args:
            recommendation: the user or history, and the placement.
            items: ids of the items.
            exclude_seen: whether to leave out items that `recommend` would not show.
            prepared: as for `recommend`.

        Raises:
            NotReadyError: no version is loaded yet.
            UnknownIdError: items are not in the catalogue; the message names them.
            InputError: the request is invalid; the message states the reason.
        """
        prepared = prepared or self.prepare(recommendation)
        recommender = prepared.snapshot.recommender
        result = recommender.rank_for(prepared.request, items, exclude_seen=exclude_seen)
        return ranked_dict(result, recommendation.explain)

    def similar(self, item_id: str, n: int, source: str | None = None) -> dict[str, Any]:
        """The items most similar to an item; by default from the first source that has it.

        Raises:
            UnknownIdError: no source has the item.
            ProjectError: no source supports similar items.
        """
        snapshot = self.snapshot
        name, found = snapshot.recommender.similar(item_id, n=n, retriever=source)
        return {"item_id": item_id, "source": name, **self._list_dict(snapshot, found)}

    def trending(self, n: int) -> dict[str, Any]:
        """The most popular items of recent events."""
        snapshot = self.snapshot
        name, found = snapshot.recommender.trending(n=n, at=self.moment(snapshot))
        return {"source": name, **self._list_dict(snapshot, found)}

    def add_events(self, events: Sequence[Any], caller: str = "") -> PostedEvents:
        """Validates events and writes the valid ones. A large batch is written in parts.

        Args:
            events: the objects as received; see `check_event`.
            caller: the client that sent them. Clients wait only for their own writes.

        Raises:
            BusyError: too many writes of this client are pending.
        """
        file, now = self.project.file, times.now()
        rows, indices, rejected = [], [], []
        kinds, default = file.events, file.data.defaults.event_type
        if default is None and len(kinds) == 1:
            default = next(iter(kinds))
        for index, fields in enumerate(events):
            give_way()
            try:
                if not isinstance(fields, Mapping):
                    raise DataError(f"an event must be an object, got {str(fields)[:40]!r}")
                rows.append(check_event(fields, kinds, default, now))
                indices.append(index)
            except DataError as problem:
                rejected.append({"index": index, "code": "invalid", "error": str(problem)})
        timed = self.project.file.data.clock == "absolute"
        written = self.store.append(rows, timed=timed, limits=self._capacity.limits, caller=caller)
        return PostedEvents(indices, rejected, written)

    def put_item(
        self, item_id: str, attributes: Mapping[str, Any], caller: str = ""
    ) -> "Future[bool]":
        """Adds an item or replaces its columns. The future is done when the item is on disk.

        Its result is whether the item is new. It raises StoreFullError if the store has reached the
        limit in its settings. Call `refresh` afterwards, so that responses include the item.

        Args:
            item_id: the id of the item.
            attributes: column → value; times as ISO 8601 or epoch numbers.
            caller: the client that sent it. Clients wait only for their own writes.

        Raises:
            InputError: the id, a column or a value is invalid.
            BusyError: too many writes of this client are pending.
        """
        checked_id(item_id, "item_id")
        snapshot, server = self.snapshot, self.project.file.server
        sizes = ItemLimits(server.longest_title, server.most_labels, snapshot.labels_left())
        values = put_attributes(snapshot.recommender.inventory.catalogue, attributes, sizes)
        return self.store.put_item(item_id, values, limits=self._capacity.limits, caller=caller)

    def ids_of(self, name: str, values: Sequence[str], most: int) -> list[str]:
        """The item ids in the values of a URL parameter.

        Args:
            name: the parameter.
            values: each an id, or ids separated by commas.
            most: the largest number of ids allowed.

        Raises:
            NotReadyError: no version is loaded yet.
            DataError: a part is not an id, or there are too many ids.
        """
        ids = ids_in(name, values, self.snapshot.recommender.inventory.catalogue.items)
        if len(ids) > most:
            raise DataError(f"'{name}' has {len(ids):,} ids, at most {most:,} are allowed")
        return ids

    def refresh(self) -> None:
        """Updates the snapshot from the store. Later responses include its events and items."""
        self._manager.refresh()

    def decision(self, recommendation_id: str) -> dict[str, Any]:
        """A logged response with its sources, features and reasons.

        Raises:
            UnknownIdError: no logged response has this id.
        """
        decision = self.store.decision(recommendation_id)
        if decision is None:
            raise UnknownIdError(f"no recommendation has the id '{recommendation_id[:80]}'")
        return decision_dict(decision, self._titles([i["item_id"] for i in decision.items]))

    def wait_until_ready(self) -> None:
        """Waits until a version is loaded or a problem is known."""
        while self._manager.snapshot is None and self._manager.problem is None:
            sleep(_LOOK_SECONDS)

    def is_trained_on(self, user_id: str) -> bool:
        """Whether the user had events when the current version was trained."""
        return self.store.has_events(user_id, self.snapshot.fitted.inventory.watermark)

    def _keeps_all_candidates(self, recommendation_id: str) -> bool:
        """Whether a response is logged with all its candidates."""
        return sampled(recommendation_id, self._initial.file.store.full_decisions)

    def _titles(self, ids: Sequence[str]) -> dict[str, str]:
        snapshot = self._manager.snapshot
        if snapshot is None:
            return {}
        catalogue = snapshot.recommender.inventory.catalogue
        indices = catalogue.items.indices(ids)
        titles = {
            id_: catalogue.title(int(index)) for id_, index in zip(ids, indices) if index >= 0
        }
        return {id_: title for id_, title in titles.items() if title}

    def _list_dict(self, snapshot: ModelSnapshot, found: Candidates) -> dict[str, Any]:
        catalogue = snapshot.recommender.inventory.catalogue
        items = []
        for index, score in zip(found.item, found.score):
            title = catalogue.title(int(index))
            items.append(
                {
                    "item_id": catalogue.items.id(int(index)),
                    **({"title": title} if title else {}),
                    "score": float(score) if np.isfinite(score) else None,
                }
            )
        return {"model_version": snapshot.version, "items": items}


def _seed_of(recommendation_id: str) -> NDArray[np.uint64]:
    """The random seed of a response, derived from its id."""
    return np.array([int(recommendation_id[-16:], 16)], np.uint64)
