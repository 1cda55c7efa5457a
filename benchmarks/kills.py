"""Kills servers while they receive events; acknowledged events must be stored exactly once."""

import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.harness import Options, Result, isolated
from benchmarks.server import READY_SECONDS, Caller, Server
from tastemaker.component import FitOptions
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.store import EventSource

ID = "KILLS"
WHAT = "events posted for three seconds, kill -9, start again: nothing acknowledged is lost"
DATA = ()
PEERS = ()
MINUTES = 8.0
_ROUNDS, _QUICK_ROUNDS = 50, 5
_ROUNDS_OF_TWO = 5
_SECONDS = 3.0
_CONNECTIONS = 4
_LARGEST_BATCH = 50
_PROJECT = """
[data]
events = "events.csv"
[events.view]
[retrievers.item_knn]
type = "item_knn"
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = { item_knn = 20, popular = 10 }
"""


@dataclass(slots=True)
class Client:
    """A client that records which events the server acknowledged, and which are unknown."""

    acknowledged: list[str] = field(default_factory=list)
    unanswered: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    shed: int = 0

    def post(self, caller: Caller, batch: list[dict[str, Any]], alone: bool) -> None:
        """Posts a batch, or its events one by one; connection errors are propagated."""
        self.unanswered = batch
        for sent in [[event] for event in batch] if alone else [batch]:
            body = sent[0] if alone else {"events": sent}
            status, answer = caller.call("POST", "/v1/events", body)
            taken = answer.get("accepted", 0) + answer.get("duplicates", 0)
            if status == 200 and taken == len(sent) and not answer["rejected"]:
                self.acknowledged += [event["event_id"] for event in sent]
            elif status == 503:  # too much was waiting for the disk: the client may send it again
                self.shed += len(sent)
            else:
                self.refused += len(sent)
            self.unanswered = self.unanswered[len(sent) :]


@dataclass(frozen=True, slots=True)
class Round:
    """The result of one round.

    Attributes:
        workers: processes that answered.
        killed_after: seconds of posting.
        acknowledged: events that were acknowledged to the clients.
        present: of these, found after the restart.
        lost: of these, not found.
        twice: events of any round found more than once, also under another id.
        unanswered: events under way at the kill.
        kept_unanswered: of these, found after the restart.
        refused: events that were refused otherwise than by 503, which a busy server may answer.
        shed: events answered by 503.
        repeated: events found more or less than once when the unanswered had been sent again.
        ready_seconds: from the restart until the server was ready.
        answers: whether it recommended something then.
    """

    workers: int
    killed_after: float
    acknowledged: int
    present: int
    lost: int
    twice: int
    unanswered: int
    kept_unanswered: int
    refused: int
    shed: int
    repeated: int
    ready_seconds: float
    answers: bool

    @property
    def clean(self) -> bool:
        """Whether the round had no error."""
        wrong = self.lost + self.twice + self.refused + self.repeated
        return not wrong and self.answers and self.acknowledged == self.present > 0


class Trial:
    """A project, its server, and the clients that post to it.

    Args:
        folder: of the trained project.
        workers: processes that answer.
        seed: for batches and moments of the kill.
    """

    def __init__(self, folder: Path, workers: int, seed: int) -> None:
        self._folder, self._workers = folder, workers
        self._random = np.random.default_rng(seed)
        self._name = f"kill-{workers}-{seed}"  # a store that has seen other trials has other ids
        self._numbers = count()
        self._server = self._start()

    def _start(self) -> Server:
        return Server(self._folder / "tastemaker.toml", self._workers)

    def close(self) -> None:
        """Stops the server."""
        self._server.stop(signal.SIGKILL)

    def round(self, seconds: float) -> Round:
        """Posts for a limited time, kills the server, restarts it and checks the events."""
        killed_after = float(self._random.uniform(0.3, 1.0)) * seconds
        clients = [Client() for _ in range(_CONNECTIONS)]
        seeds = self._random.integers(2**32, size=_CONNECTIONS + 1).tolist()
        threads = [
            threading.Thread(target=self._post, args=(client, seed, place % 2 == 0))
            for place, (client, seed) in enumerate(zip(clients, seeds))
        ]
        threads.append(threading.Thread(target=self._ask, args=(seeds[-1],)))
        for thread in threads:
            thread.start()
        time.sleep(killed_after)
        self._server.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
        self._server = self._start()
        found = self._found()
        acknowledged = [id_ for client in clients for id_ in client.acknowledged]
        unanswered = [event for client in clients for event in client.unanswered]
        caller = Caller(self._server)
        again = Client()
        if unanswered:
            again.post(caller, unanswered, alone=False)
        answers = self._answers(caller)
        caller.close()
        after = self._found()
        posted = {*acknowledged, *(event["event_id"] for event in unanswered)}
        return Round(
            self._workers,
            killed_after,
            len(acknowledged),
            present=sum(id_ in found for id_ in acknowledged),
            lost=sum(id_ not in found for id_ in acknowledged),
            twice=sum(times > 1 for times in found.values()),
            unanswered=len(unanswered),
            kept_unanswered=sum(event["event_id"] in found for event in unanswered),
            refused=sum(client.refused for client in clients) + again.refused,
            shed=sum(client.shed for client in clients) + again.shed,
            repeated=sum(after[id_] != 1 for id_ in posted),
            ready_seconds=self._server.ready_seconds,
            answers=answers,
        )

    def _post(self, client: Client, seed: int, alone: bool) -> None:
        random, caller = np.random.default_rng(seed), Caller(self._server)
        try:
            while True:
                size = int(random.integers(1, _LARGEST_BATCH))
                client.post(caller, [self._event(random) for _ in range(size)], alone)
        except (OSError, HTTPException):  # killed
            caller.close()

    def _ask(self, seed: int) -> None:
        """Answers are logged by the thread that writes events."""
        random, caller = np.random.default_rng(seed), Caller(self._server)
        try:
            while True:
                caller.call("GET", f"/v1/recommendations?user_id=user-{random.integers(40)}")
        except (OSError, HTTPException):
            caller.close()

    def _answers(self, caller: Caller) -> bool:
        """Whether items are recommended; with several workers, one may not be ready yet."""
        end = time.monotonic() + READY_SECONDS
        while True:
            status, answer = caller.call("GET", "/v1/recommendations?history=item-1&n=5")
            if status != 503 or time.monotonic() > end:
                return status == 200 and len(answer["items"]) == 5
            time.sleep(0.05)

    def _event(self, random: np.random.Generator) -> dict[str, Any]:
        id_ = f"{self._name}-{next(self._numbers)}"
        return {
            "event_id": id_,
            "user_id": f"user-{random.integers(60)}",
            "item_id": f"item-{random.integers(40)}",
            "session": id_,
        }

    def _found(self) -> Counter[str]:
        """How often each event is in the log, counted by a column without a unique index."""
        path = self._folder / ".tastemaker" / "store.db"
        connection = sqlite3.connect(path)
        try:
            rows = connection.execute("SELECT event_id, session FROM events WHERE source = 0")
            events = rows.fetchall()
        finally:
            connection.close()
        assert all(event_id == session for event_id, session in events)
        return Counter(session for _, session in events)


@contextmanager
def trial(folder: Path, workers: int = 1, seed: int = 0) -> Iterator[Trial]:
    """A trial with a running server; stopped at the end."""
    made = Trial(folder, workers, seed)
    try:
        yield made
    finally:
        made.close()


def make_project(folder: Path) -> None:
    """Creates and trains a small project: twenty users for each of two tastes."""
    folder.mkdir(parents=True)
    rows = [
        f"user-{user},item-{(user % 2) * 20 + (3 * user + place) % 20},{1_700_000_000 + 97 * place}"
        for user in range(40)
        for place in range(10)
    ]
    (folder / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (folder / "tastemaker.toml").write_text(_PROJECT)
    project = load_project(folder / "tastemaker.toml")
    data = EventSource(project).read()
    recommender = Recommender.from_project(project.path).fit(data, FitOptions(threads=1))
    registry = Registry(project.state)
    registry.promote(registry.add(recommender))


def run(options: Options) -> Result:
    """Rounds with one process, then a few with two."""
    rounds: list[Round] = []
    one = _QUICK_ROUNDS if options.quick else _ROUNDS
    for workers, number in ((1, one), (2, 1 if options.quick else _ROUNDS_OF_TWO)):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "shop"
            isolated(make_project, folder)
            with trial(folder, workers, options.seed) as made:
                for _ in range(number):
                    rounds.append(made.round(_SECONDS))
                    _print(len(rounds), rounds[-1])
            shutil.rmtree(folder)
    ready = [each.ready_seconds for each in rounds]
    ours = {
        "rounds": float(len(rounds)),
        "acknowledged": float(sum(each.acknowledged for each in rounds)),
        "present": float(sum(each.present for each in rounds)),
        "lost": float(sum(each.lost for each in rounds)),
        "twice": float(sum(each.twice for each in rounds)),
        "not once when sent again": float(sum(each.repeated for each in rounds)),
        "refused": float(sum(each.refused for each in rounds)),
        "shed": float(sum(each.shed for each in rounds)),
        "rounds without an answer": float(sum(not each.answers for each in rounds)),
        "ready seconds, median": float(np.median(ready)),
        "ready seconds, longest": max(ready),
    }
    bars = ("lost", "twice", "not once when sent again", "refused", "rounds without an answer")
    under_way = sum(each.unanswered for each in rounds)
    kept = sum(each.kept_unanswered for each in rounds)
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={},
        must=dict.fromkeys(bars, 0.0),
        met=all(each.clean for each in rounds),
        seconds=sum(each.killed_after for each in rounds),
        peak_mb=0.0,
        notes=f"{_CONNECTIONS} connections post, singly and in batches of up to {_LARGEST_BATCH}, "
        f"one asks; killed after 30 to 100 % of {_SECONDS:g} s; the last "
        f"{sum(each.workers > 1 for each in rounds)} rounds with two workers, the whole group "
        f"killed; {under_way:,} events were under way at a kill, {kept:,} of them on disk; these "
        "were sent again",
        runs={"rounds": [asdict(each) for each in rounds]},
    )


def _print(number: int, result: Round) -> None:
    Console(stderr=True, width=120, highlight=False).print(
        f"round {number:2}, workers: {result.workers}; killed after {result.killed_after:.2f} s; "
        f"{result.acknowledged:,} acknowledged, {result.present:,} present, "
        f"{result.twice} twice, {result.lost} lost; ready after {result.ready_seconds:.1f} s"
        f"{'' if result.clean else f'; NOT clean: {result}'}"
    )
