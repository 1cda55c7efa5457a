"""What a server does, without the network: answers, and takes in events and items.

Every answer comes from one `Live`, taken once at its beginning; every answer is logged.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from time import sleep
from typing import Any, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from tastemaker.data import times
from tastemaker.data.additions import put_attributes
from tastemaker.data.candidates import Candidates
from tastemaker.errors import BusyError, DataError, NotReadyError, StoreError, UnknownIdError
from tastemaker.pipeline.recommendations import ranked_dict
from tastemaker.progress import Progress
from tastemaker.project import Project
from tastemaker.registry import Registry
from tastemaker.serving.asked import Asked
from tastemaker.serving.current import Current
from tastemaker.serving.decided import decision_of, sampled, told_decision
from tastemaker.serving.housekeeping import Housekeeping
from tastemaker.serving.live import Live
from tastemaker.store import EventSource, StoredEvents, check_event
from tastemaker.store.decision import compact_bytes
from tastemaker.store.incoming import checked_id
from tastemaker.store.room import Room
from tastemaker.threads import blas_threads

_LOG = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
NOBODY = StoredEvents.of([])


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of posted events.

    Attributes:
        accepted: how many can be used.
        rejected: `{"index", "error"}` for each of the others.
        written: done when the accepted ones are on disk.
    """

    accepted: int
    rejected: list[dict[str, Any]]
    written: "Future[int]"


class Service:
    """A project at work; a context: opened, asked by any number of threads, closed.

    Args:
        project: what to serve.
        progress: reports the import of files.

    Attributes:
        project: the same.
        store: its events, items and decisions.
    """

    def __init__(self, project: Project, progress: Progress = Progress()) -> None:
        self.project = project
        self._source = EventSource(project, progress)
        self._kinds = project.file.events
        named = project.file.data.defaults.event_type
        self._default_kind = named or (next(iter(self._kinds)) if len(self._kinds) == 1 else None)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(blas_threads(1))  # requests run side by side, kernels one by one
        self.store = self._open.enter_context(self._source.open())
        self._current = Current(self.store, Registry(self.project.state), self.project.file)
        self._current.start()
        self._open.callback(self._current.stop)
        self._room = Room(self.store, self.project.file.store)
        housekeeping = Housekeeping(self._room)
        housekeeping.start()
        self._open.callback(housekeeping.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def live(self) -> Live:
        """The state that answers now.

        Raises:
            NotReadyError: nothing is loaded yet.
        """
        live = self._current.live
        if live is None:
            raise NotReadyError(self._current.problem or "the model is being loaded")
        return live

    def moment(self, live: Live) -> int:
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
            **({"warning": warning} if (warning := self._room.problem) else {}),
            **({} if ended is None else {"log_ended": times.format_moment(ended)}),
        }

    def recommend(self, asked: Asked) -> dict[str, Any]:
        """An answer, in the shape of `Recommendations.to_dict`; logged.

        Raises:
            NotReadyError: nothing is loaded yet.
            InputError: the question cannot be answered; the message says why.
        """
        live, id_ = self.live, uuid4().hex
        stored = NOBODY if asked.user_id is None else self.store.history(asked.user_id)
        request = live.with_profile(asked.request(live, stored, self.moment(live)), self.store)
        request = replace(request, seed=_seed_of(id_))
        answered = live.recommender.answer(
            request, asked.n, within=asked.within, since=asked.since, trace=self._in_full(id_)
        )
        told = answered.to_dict(trace=asked.explain, recommendation_id=id_)
        if self._room.problem is not None:
            return told
        try:
            decision = decision_of(asked, answered, told)
            self.store.log(decision, compact_bytes(len(decision.items)))
        except (StoreError, BusyError) as problem:  # better not remembered than not given
            _LOG.error("the answer %s is not logged: %s", id_, problem)
        return told

    def rank(
        self, asked: Asked, items: Sequence[str], exclude_seen: bool = False
    ) -> dict[str, Any]:
        """Given items in the order of relevance to a user or history; not logged.

        Raises:
            NotReadyError: nothing is loaded yet.
            UnknownIdError: items are not in the catalogue; names them.
            InputError: the request cannot be answered; the message says why.
        """
        live = self.live
        stored = NOBODY if asked.user_id is None else self.store.history(asked.user_id)
        request = live.with_profile(asked.request(live, stored, self.moment(live)), self.store)
        answered = live.recommender.rank_for(request, items, exclude_seen=exclude_seen)
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

    def add_events(self, events: Sequence[Any]) -> Taken:
        """Takes in events; those that can be used are written together.

        Args:
            events: objects as they came; see `check_event`.

        Raises:
            BusyError: too much is waiting for the disk.
            StoreFullError: the store holds as much as its settings allow.
        """
        now, rows, rejected = times.now(), [], []
        for index, fields in enumerate(events):
            try:
                if not isinstance(fields, Mapping):
                    raise DataError(f"an event must be an object, got {str(fields)[:40]!r}")
                rows.append(check_event(fields, self._kinds, self._default_kind, now))
            except DataError as problem:
                rejected.append({"index": index, "error": str(problem)})
        self._room.require_events(len(rows))
        return Taken(len(rows), rejected, self.store.append(rows))

    def put_item(self, item_id: str, attributes: Mapping[str, Any]) -> "Future[bool]":
        """Adds an item, or describes one anew; done when on disk, with whether it was new.

        Call `refresh` then, and answers know of it.

        Args:
            item_id: its id.
            attributes: column → value; moments as ISO 8601 or epoch numbers.

        Raises:
            InputError: the id, a column or a value cannot be used.
            StoreFullError: the store holds as much as its settings allow.
        """
        checked_id(item_id, "item_id")
        self._room.require_item()
        catalogue = self.live.recommender.world.catalogue
        return self.store.put_item(item_id, put_attributes(catalogue, attributes))

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
        items = self.live.recommender.world.catalogue.items
        ids: list[str] = []
        for value in values:
            is_one = "," not in value or items.index(value) >= 0
            parts = [value] if is_one else value.split(",")
            ids += [checked_id(part.strip() if len(parts) > 1 else part, name) for part in parts]
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
        stored = self.store.history(user_id)
        return bool((stored.time < self.live.fitted.world.watermark).any())

    def _in_full(self, recommendation_id: str) -> bool:
        """Whether an answer is logged with all its candidates."""
        return sampled(recommendation_id, self.project.file.store.full_decisions)

    def _titles(self, ids: Sequence[str]) -> dict[str, str]:
        live = self._current.live
        if live is None:
            return {}
        catalogue = live.recommender.world.catalogue
        indices = catalogue.items.indices(ids)
        titles = {
            id_: catalogue.title(int(index)) for id_, index in zip(ids, indices) if index >= 0
        }
        return {id_: title for id_, title in titles.items() if title}

    def _listed(self, live: Live, found: Candidates) -> dict[str, Any]:
        catalogue = live.recommender.world.catalogue
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
