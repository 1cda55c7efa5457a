"""JOINED: every retriever asked by users who came after training, at their 1st, 5th, 20th event."""

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import fingerprint, prepare
from benchmarks.harness import Options, Result, isolated, peak_mb
from tastemaker import retrieval
from tastemaker.component import FitOptions, Retriever, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Histories
from tastemaker.data.ragged import Ragged, ranges
from tastemaker.data.requests import Requests
from tastemaker.errors import TastemakerError
from tastemaker.evaluation.measure import PER_REQUEST, per_request
from tastemaker.metrics import UserBootstrap
from tastemaker.project.propose import find_tables, propose_project
from tastemaker.split import wanted_after
from tastemaker.world import World

ID = "JOINED"
WHAT = "every retriever on users who joined after training, with 1, 5 and 20 events"
DATA = ("ml-1m-timed",)
PEERS = ()
MINUTES = 6.0
EVENTS = (1, 5, 20)
KNOWN_SHARE = 0.5
"""Of the events, how many were there at training."""
BASELINE = "popular"
_QUICK = ("popular", "item_knn", "ease")
_K = 10


@dataclass(frozen=True, slots=True)
class Answered:
    """How one retriever did.

    Attributes:
        ndcg: events → (value, low, high) of NDCG@10; empty where it could not be fitted.
        seconds: of `fit`.
        peak_mb: of the process.
        told: why it could not be fitted.
    """

    ndcg: dict[int, tuple[float, float, float]]
    seconds: float
    peak_mb: float
    told: str = ""


def run(options: Options) -> Result:
    """Each in a process of its own; popularity is what a stranger gets from a model that fails."""
    classes: list[type[Retriever]] = [getattr(retrieval, name) for name in retrieval.__all__]
    names = sorted(one.name for one in classes if not options.quick or one.name in _QUICK)
    found = {name: isolated(answered, name, options.seed) for name in names}
    popular = found[BASELINE].ndcg
    personal = {
        one.name: one.serves.personal and one.name != "newcomers"
        for one in classes
        if one.name in found
    }
    ours = {f"{n} {e}": v[0] for n, a in found.items() for e, v in a.ndcg.items()}
    ratio = {
        f"{n} {e}": v[0] / popular[e][0]
        for n, a in found.items()
        for e, v in a.ndcg.items()
        if personal[n]
    }
    must = {name: 1.0 for name in ratio if name.endswith((" 5", " 20"))}
    return Result(
        ID,
        ours=ours,
        peer={f"{BASELINE} {events}": value[0] for events, value in popular.items()},
        ratio=ratio,
        must=must,
        met=all(ratio[name] >= bar for name, bar in must.items()),
        seconds=sum(answer.seconds for answer in found.values()),
        peak_mb=max(answer.peak_mb for answer in found.values()),
        notes=f"NDCG@{_K} of what they liked after their 1st, 5th, 20th event, all items ranked, "
        f"fitted on the first {KNOWN_SHARE:.0%} of the events and never again; the bar is "
        "popularity, from 5 events on, for those that use a history; each line: seconds of fit, "
        "then value [95 % interval over users]\n" + "\n".join(_lines(found)),
        data={name: fingerprint(prepare(name)) for name in DATA},
        runs={name: {"ndcg": a.ndcg, "seconds": a.seconds} for name, a in found.items()},
    )


def answered(name: str, seed: int) -> Answered:
    """Fits one retriever on the early events and asks it for the later users."""
    data = _data()
    start = int(np.quantile(data.events.time, KNOWN_SHARE))
    model = _model(name)
    begun = perf_counter()
    try:
        model.fit(data.before(start), FitOptions(seed=seed))
    except TastemakerError as refusal:
        return Answered({}, perf_counter() - begun, peak_mb(), str(refusal))
    seconds, ndcg = perf_counter() - begun, {}
    for events in EVENTS:
        task = joined(data, start, events)
        lists = model.retrieve(task.requests, _K, task.world)
        values = per_request(lists, task, _K)[:, list(PER_REQUEST).index("ndcg")]
        estimate = UserBootstrap(task.user, seed).means(values[:, None])[0]
        ndcg[events] = (estimate.value, estimate.low, estimate.high)
    return Answered(ndcg, seconds, peak_mb())


def joined(data: Dataset, start: int, events: int) -> Task:
    """Requests of the users without events before `start`, just after so many events.

    Those whose later likes are fewer than one are left out. Only users with more than 20 events
    are asked, so that the three tasks are of the same people.
    """
    log = data.events
    counts = np.diff(log.offsets)
    first = np.where(counts > 0, log.time[np.minimum(log.offsets[:-1], len(log.time) - 1)], -1)
    users = np.flatnonzero((first >= start) & (counts > max(EVENTS)))
    moments = log.time[log.offsets[users] + events]
    requests = _after_first(data, users, moments, events)
    truth, _ = wanted_after(data, users, moments, np.full(len(users), data.end), requests.exclude)
    asked = np.flatnonzero(truth.counts)
    truth = truth.take(asked)
    return Task(
        requests.take(asked),
        truth,
        np.ones(len(truth.values), np.float32),
        users[asked].astype(np.int32),
        np.zeros(len(asked), np.bool_),
        World.of(data),
        {"users": len(asked)},
    )


def _after_first(
    data: Dataset, users: NDArray[np.integer], moments: NDArray[np.int64], events: int
) -> Requests:
    """Requests with exactly the first events as history, also where a moment is shared."""
    log = data.events
    index = ranges(log.offsets[users], np.full(len(users), events))
    offsets = np.arange(len(users) + 1) * events
    history = Histories(
        offsets,
        log.item[index],
        log.kind[index],
        log.value[index],
        log.weight[index],
        log.time[index],
    )
    seen = np.sort(history.item.reshape(-1, events), axis=1).ravel()
    requests = data.requests(users, moments)
    return replace(requests, history=history, exclude=Ragged(offsets, seen))


def _data() -> Dataset:
    """The data as `init` would read it."""
    folder = prepare(DATA[0])
    return propose_project(folder, find_tables(folder))[1]


def _model(name: str) -> Retriever:
    """The retriever of a name, as it comes."""
    classes: list[type[Retriever]] = [getattr(retrieval, one) for one in retrieval.__all__]
    return next(one for one in classes if one.name == name)()


def _lines(found: dict[str, Answered]) -> list[str]:
    last = EVENTS[-1]
    order = sorted(found, key=lambda name: -found[name].ndcg.get(last, (0.0,))[0])
    lines = []
    for name in order:
        answer = found[name]
        cells = "  ".join(
            f"{value:.4f} [{low:.4f}, {high:.4f}]" for value, low, high in answer.ndcg.values()
        )
        lines.append(f"  {name:16} {answer.seconds:7.1f} s  {cells or answer.told}")
    return lines
