"""What a server does, without the network: answers, and takes in events and items.

Every answer comes from one `ModelSnapshot`, taken once at its beginning; every answer is logged.
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
from tastemaker.serving.decision_log import decision_of, sampled, told_decision
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
class Taken:
    """Posted events that were checked and are being written.

    Attributes:
        indices: the positions of the events that can be used.
        rejected: `{"index", "code", "error"}` for each of the others.
        written: done when the usable events are on disk; StoreFullError where the store holds as
            much as its settings allow; see `add_in_parts`.
    """

    indices: list[int]
    rejected: list[dict[str, Any]]
    written: "Future[Added]"

    def result(self, added: Added) -> dict[str, Any]:
        """The answer to the client, given what was written: every event is counted once."""
        failed = [(place, "invalid", reason) for place, reason in added.conflicts]
        code, reason = _why_not(added.problem)
        failed += [(place, code, reason) for place in added.unwritten]
        entries = [
            {"index": self.indices[place], "code": code, "error": reason}
            for place, code, reason in failed
        ]
        rejected = sorted([*self.rejected, *entries], key=lambda one: int(one["index"]))
        return {"accepted": added.new, "duplicates": added.duplicates, "rejected": rejected}


def _why_not(problem: BaseException | None) -> tuple[str, str]:
    """The code and the message for events that could not be written."""
    if isinstance(problem, StoreError):
        code = "store_full" if isinstance(problem, StoreFullError) else "store"
        return code, f"not stored: {problem}"[:_LONGEST_REASON]
    return "internal", "not stored: an internal error, which was logged"


class Service:
    """A project at work; a context: opened, asked by any number of threads, closed.

    Args:
        project: what to serve.
        progress: reports the import of files.
        on_version: called after each version that was taken up.

    Attributes:
        store: its events, items and decisions.
        requests: makes requests of questions and of what the store knows.
    """

    def __init__(
        self,
        project: Project,
        progress: Progress = Progress(),
        on_version: Callable[[], None] = lambda: None,
    ) -> None:
        self._given = project
        self._on_version = on_version
        self._source = EventSource(project, progress)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(blas_threads(1))  # requests run side by side, kernels one by one
        self.store = self._open.enter_context(self._source.open())
        self.requests = UserRequests(self.store, self._given.file.server.history_events)
        registry = Registry(self._given.state)
        self._current = SnapshotManager(self.store, registry, self._given, self._on_version)
        self._current.start()
        self._open.callback(self._current.stop)
        self._capacity = Capacity(self.store, self._given.file.store)
        housekeeping = Housekeeping(self._capacity)
        housekeeping.start()
        self._open.callback(housekeeping.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def project(self) -> Project:
        """The project, with its file as it was read when the present version was loaded.

        What concerns the process (address, workers, waiting times, the store) follows the file
        that the process was started with.
        """
        return self._current.project if hasattr(self, "_current") else self._given

    @property
    def live(self) -> ModelSnapshot:
        """The state that answers now.

        Raises:
            NotReadyError: nothing is loaded yet.
        """
        live = self._current.live
        if live is None:
            raise NotReadyError(self._current.problem or "the model is being loaded")
        return live

    def moment(self, live: ModelSnapshot) -> int:
        """The moment of a request that arrives now, microseconds; see `[server] now`."""
        return live.moment(self.project.file.server.now)

    def status(self) -> dict[str, Any]:
        """Whether it answers, with which version, what stands in the way, and when the log ended.

        The last only where that was long ago.
        """
        live, problem = self._current.live, self._current.problem
        ended = None if live is None else live.ended()
        return {
            "status": "loading" if live is None else "ready",
            **({} if live is None else {"model_version": live.version}),
            **({"problem": problem} if problem else {}),
            **({"note": note} if (note := self._current.note) else {}),
            **({"warning": warning} if (warning := self._capacity.warning) else {}),
            **({} if ended is None else {"log_ended": times.format_moment(ended)}),
        }

    def prepare(self, asked: RecommendationRequest, *, allow_slow: bool = True) -> Prepared:
        """Reads what the store knows of the user.

        Args:
            asked: the question.
            allow_slow: whether to read however much there is to read: up to a second for each
                million items, mostly in SQLite, which is not for the scoring thread.

        Raises:
            ManySeenItems: not `allow_slow`, and much would have to be read.
            NotReadyError: nothing is loaded yet.
            InputError: the question cannot be answered; the message says why.
        """
        live = self.live
        request = self.requests.request(asked, live, self.moment(live), allow_slow=allow_slow)
        return Prepared(live, request)

    def recommend(
        self, asked: RecommendationRequest, prepared: Prepared | None = None
    ) -> dict[str, Any]:
        """An answer, in the shape of `Recommendations.to_dict`; logged.

        Args:
            asked: the question.
            prepared: what `prepare` has read for it; by default it is read now.

        Raises:
            NotReadyError: nothing is loaded yet.
            InputError: the question cannot be answered; the message says why.
        """
        prepared, id_ = prepared or self.prepare(asked), uuid4().hex
        request = replace(prepared.request, seed=_seed_of(id_))
        answered = prepared.live.recommender.answer(
            request,
            asked.n,
            timeout_ms=asked.timeout_ms,
            since=asked.since,
            trace=self._in_full(id_),
        )
        told = answered.to_dict(trace=asked.explain, recommendation_id=id_)
        if self._capacity.problem is not None:
            return told
        try:
            decision = decision_of(asked, answered, told)
            self.store.log(decision, compact_bytes(len(decision.items)))
        except BusyError:  # counted and reported by the log of decisions
            pass
        except StoreError as problem:  # better not remembered than not given
            _LOG.error("the answer %s is not logged: %s", id_, problem)
        return told

    def rank(
        self,
        asked: RecommendationRequest,
        items: Sequence[str],
        exclude_seen: bool = False,
        prepared: Prepared | None = None,
    ) -> dict[str, Any]:
        """Given items in the order of relevance to a user or history; not logged.

        Args:
            asked: for whom.
            items: ids of the items.
            exclude_seen: whether items are left out that a list would not show.
            prepared: as for `recommend`.

        Raises:
            NotReadyError: nothing is loaded yet.
            UnknownIdError: items are not in the catalogue; names them.
            InputError: the request cannot be answered; the message says why.
        """
        prepared = prepared or self.prepare(asked)
        recommender = prepared.live.recommender
        answered = recommender.rank_for(prepared.request, items, exclude_seen=exclude_seen)
        return ranked_dict(answered, asked.explain)

    def similar(self, item_id: str, n: int, source: str | None = None) -> dict[str, Any]:
        """The items most like one; by default from the first source that knows it.

        Raises:
            UnknownIdError: nobody knows the item.
            ProjectError: no source can tell.
        """
        live = self.live
        name, found = live.recommender.similar(item_id, n=n, retriever=source)
        return {"item_id": item_id, "source": name, **self._listed(live, found)}

    def trending(self, n: int) -> dict[str, Any]:
        """What is liked by many of late."""
        live = self.live
        name, found = live.recommender.trending(n=n, at=self.moment(live))
        return {"source": name, **self._listed(live, found)}

    def add_events(self, events: Sequence[Any], caller: str = "") -> Taken:
        """Takes in events; those that can be used are written, a large batch part by part.

        Args:
            events: objects as they came; see `check_event`.
            caller: the client who sent them; each waits for its own writes.

        Raises:
            BusyError: too much of this client is waiting for the disk.
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
        return Taken(indices, rejected, written)

    def put_item(
        self, item_id: str, attributes: Mapping[str, Any], caller: str = ""
    ) -> "Future[bool]":
        """Adds an item, or replaces its description; done when on disk, with whether it was new.

        It is a StoreFullError where the store holds as much as its settings allow. Call `refresh`
        then, and answers know of the item.

        Args:
            item_id: its id.
            attributes: column → value; moments as ISO 8601 or epoch numbers.
            caller: the client who sent it; each waits for its own writes.

        Raises:
            InputError: the id, a column or a value cannot be used.
            BusyError: too much of this client is waiting for the disk.
        """
        checked_id(item_id, "item_id")
        live, server = self.live, self.project.file.server
        sizes = ItemLimits(server.longest_title, server.most_labels, live.labels_left())
        values = put_attributes(live.recommender.inventory.catalogue, attributes, sizes)
        return self.store.put_item(item_id, values, limits=self._capacity.limits, caller=caller)

    def ids_of(self, name: str, values: Sequence[str], most: int) -> list[str]:
        """The item ids in the values of a URL's parameter, as `_LIST` of the interface says.

        Args:
            name: the parameter.
            values: each an id, or ids separated by commas.
            most: how many ids there may be.

        Raises:
            NotReadyError: nothing is loaded yet.
            DataError: a part is not an id, or there are too many.
        """
        ids = ids_in(name, values, self.live.recommender.inventory.catalogue.items)
        if len(ids) > most:
            raise DataError(f"'{name}' has {len(ids):,} ids, at most {most:,} are allowed")
        return ids

    def refresh(self) -> None:
        """Takes up what has come into the store; when it returns, answers know of it."""
        self._current.refresh()

    def decision(self, recommendation_id: str) -> dict[str, Any]:
        """What was answered, from which sources, on what grounds.

        Raises:
            UnknownIdError: there is no such answer.
        """
        decision = self.store.decision(recommendation_id)
        if decision is None:
            raise UnknownIdError(f"no recommendation has the id '{recommendation_id[:80]}'")
        return told_decision(decision, self._titles([i["item_id"] for i in decision.items]))

    def wait_until_ready(self) -> None:
        """Returns when something is loaded, or something stands in the way."""
        while self._current.live is None and self._current.problem is None:
            sleep(_LOOK_SECONDS)

    def is_trained_on(self, user_id: str) -> bool:
        """Whether the user had events when the present version was trained."""
        return self.store.has_events(user_id, self.live.fitted.inventory.watermark)

    def _in_full(self, recommendation_id: str) -> bool:
        """Whether an answer is logged with all its candidates."""
        return sampled(recommendation_id, self._given.file.store.full_decisions)

    def _titles(self, ids: Sequence[str]) -> dict[str, str]:
        live = self._current.live
        if live is None:
            return {}
        catalogue = live.recommender.inventory.catalogue
        indices = catalogue.items.indices(ids)
        titles = {
            id_: catalogue.title(int(index)) for id_, index in zip(ids, indices) if index >= 0
        }
        return {id_: title for id_, title in titles.items() if title}

    def _listed(self, live: ModelSnapshot, found: Candidates) -> dict[str, Any]:
        catalogue = live.recommender.inventory.catalogue
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
        return {"model_version": live.version, "items": items}


def _seed_of(recommendation_id: str) -> NDArray[np.uint64]:
    """What an answer draws by: another for each, and known from its id."""
    return np.array([int(recommendation_id[-16:], 16)], np.uint64)
