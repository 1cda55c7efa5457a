"""Replays an hour of traffic in minutes, then trains again on it and compares the answers.

Simulated visitors view recommendations, like and dislike some items, and come back. Each has a
favourite genre that only the simulation knows.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

from benchmarks.harness import Options, Result, isolated, peak_mb
from benchmarks.server import Caller, serving
from tastemaker.cli.demo import prepare
from tastemaker.component import FitOptions
from tastemaker.data import times
from tastemaker.data.catalogue import TagsColumn
from tastemaker.data.times import MICROSECONDS
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.store import EventSource

ID = "REPLAY"
WHAT = "an hour's simulated traffic over HTTP, then a second training with the served events in it"
DATA = ()
PEERS = ()
MINUTES = 6.0
_VISITORS = 400
_VISITS_EACH = 3
_SHOWN = 20
_LOOKED = 0.85
"""The probability that a visitor who has viewed a position views the next."""
_CLICKS = {"favourite": 0.35, "else": 0.04}
_DISLIKES = 0.03
_HOUR = MICROSECONDS["h"]


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit of a simulated user."""

    user_id: str
    favourite: str
    moment: int


def run(options: Options) -> Result:
    """The number of served events, whether the second training uses them, and what changed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "films"
        isolated(_train, folder, True)
        genres = isolated(_genres, folder)
        rng = np.random.default_rng(options.seed)
        visits = _visits(sorted({g for of in genres.values() for g in of}), rng, options.quick)
        with serving(folder / "tastemaker.toml") as server:
            caller = Caller(server)
            begun = perf_counter()
            served, share_first, share_last = _replay(caller, visits, genres, rng)
            replayed = perf_counter() - begun
            users = [visit.user_id for visit in visits[: 3 * 40 : 3]] + [
                str(u) for u in range(1, 41)
            ]
            before = {user: _recommended(caller, user) for user in users}
            second = isolated(_train, folder, False)
            caller = Caller(server)
            while caller.call("GET", "/health/ready")[1].get("model_version") != second["version"]:
                sleep(0.1)
            after = {user: _recommended(caller, user) for user in users}
    changed = [user for user in users if before[user] != after[user]]
    overlap = np.mean([len({*before[u]} & {*after[u]}) / _SHOWN for u in users])
    ours = {
        "served events": float(served),
        "of them in the second training": float(second["served"]),
        "visitors known to it": float(second["visitors"]),
        "lists changed, share": len(changed) / len(users),
        "items kept, share": float(overlap),
        "favourite genre in a visitor's first lists, share": share_first,
        "and in the last": share_last,
        "replay s": replayed,
        "second training s": second["seconds"],
    }
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={},
        must={},
        met=second["served"] == served and bool(changed),
        seconds=replayed,
        peak_mb=peak_mb(),
        notes=f"{len(visits)} visits of {len({v.user_id for v in visits})} new visitors within one "
        "hour; compared: 40 of them and 40 users of before, 20 items each",
    )


def _train(folder: Path, first: bool) -> dict[str, Any]:
    """Trains on all events of the store."""
    project = (
        prepare(folder, ends=times.now() - _HOUR)
        if first
        else load_project(folder / "tastemaker.toml")
    )
    EventSource(project).open().close()
    begun = perf_counter()
    data = EventSource(project).read()
    recommender = Recommender.from_project(project.path).fit(data, FitOptions())
    registry = Registry(project.state)
    version = registry.add(recommender)
    registry.promote(version)
    names = list(data.kinds)
    acts = [names.index(name) for name in ("like", "dislike")]
    visitors = [u for u in range(len(data.users)) if data.users.id(u).startswith("visitor-")]
    return {
        "version": version,
        "seconds": perf_counter() - begun,
        "served": int(np.isin(data.events.kind, acts).sum()),
        "visitors": len(visitors),
    }


def _genres(folder: Path) -> dict[str, list[str]]:
    """Film → its genres."""
    catalogue = EventSource(load_project(folder / "tastemaker.toml")).read().catalogue
    column = catalogue.columns["genres"]
    assert isinstance(column, TagsColumn)
    return {
        catalogue.items.id(item): column.labels.ids(column.codes[item])
        for item in range(len(catalogue))
    }


def _visits(genres: list[str], rng: np.random.Generator, quick: bool) -> list[Visit]:
    """The visits within the last hour, ordered by time."""
    people = _VISITORS // 10 if quick else _VISITORS
    end = times.now()
    moments = np.sort(rng.integers(end - _HOUR, end, people * _VISITS_EACH))
    who = rng.permutation(np.repeat(np.arange(people), _VISITS_EACH))
    taste = rng.integers(0, len(genres), people)
    return [
        Visit(f"visitor-{person}", genres[taste[person]], int(moment))
        for person, moment in zip(who, moments)
    ]


def _replay(
    caller: Caller, visits: list[Visit], genres: dict[str, list[str]], rng: np.random.Generator
) -> tuple[int, float, float]:
    """The number of posted events, and the share of the favourite genre in first and last lists."""
    n_events = 0
    shares: dict[str, list[float]] = {}
    for visit in visits:
        question = {"user_id": visit.user_id, "n": _SHOWN}
        _, answer = caller.call("POST", "/v1/recommendations", question)
        favourites = [visit.favourite in genres[item["item_id"]] for item in answer["items"]]
        shares.setdefault(visit.user_id, []).append(float(np.mean(favourites)))
        events = []
        for position, (item, favourite) in enumerate(zip(answer["items"], favourites), start=1):
            if rng.random() > _LOOKED**position:
                continue
            kind = ""
            if rng.random() < _CLICKS["favourite" if favourite else "else"]:
                kind = "like"
            elif rng.random() < _DISLIKES:
                kind = "dislike"
            if kind:
                events.append(
                    {
                        "user_id": visit.user_id,
                        "item_id": item["item_id"],
                        "event_type": kind,
                        "timestamp": (visit.moment + position * MICROSECONDS["s"]) / 1e6,
                        "recommendation_id": answer["recommendation_id"],
                        "position": position,
                    }
                )
        if events:
            status, taken = caller.call("POST", "/v1/events", {"events": events})
            assert (status, taken["accepted"]) == (200, len(events)), taken
            n_events += len(events)
    first = float(np.mean([given[0] for given in shares.values()]))
    last = float(np.mean([given[-1] for given in shares.values()]))
    return n_events, first, last


def _recommended(caller: Caller, user: str) -> list[str]:
    question = {"user_id": user, "n": _SHOWN}
    _, answer = caller.call("POST", "/v1/recommendations", question)
    return [item["item_id"] for item in answer["items"]]
