"""JOINED: every retriever on users who joined after training, with 1, 5 and 20 events."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.data import fingerprint, prepare
from benchmarks.harness import Options, Result, isolated, peak_mb
from tastemaker import retrieval
from tastemaker.component import FitOptions, Retriever, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Histories
from tastemaker.data.ragged import Ragged
from tastemaker.data.schema import EventKind, Schema
from tastemaker.errors import TastemakerError
from tastemaker.evaluation.measure import PER_REQUEST, per_request
from tastemaker.inventory import Inventory
from tastemaker.metrics import UserBootstrap
from tastemaker.project.find_files import find_tables
from tastemaker.project.propose import propose_project
from tastemaker.split import relevant_after

ID = "JOINED"
WHAT = "every retriever on users who joined after training, with 1, 5 and 20 events"
DATA = ("ml-1m-timed", "gowalla-lightgcn")
PEERS = ()
MINUTES = 30.0
EVENTS = (1, 5, 20)
EARLY = 0.5
"""Of ml-1m's events, how many were there at training."""
HELD_OUT = 0.1
"""Of Gowalla's users, how many were not."""
OFTEN = 20
"""Minimum number of train pairs of an item of Gowalla: a third of the items, so that models whose
fit is cubic in the number of items can take part."""
BASELINE = "popular"
_QUICK = ("popular", "item_knn", "als")
_K = 10


@dataclass(frozen=True, slots=True)
class NewItems:
    """Users who join after training.

    Attributes:
        train: what it is fitted on; nothing of theirs.
        data: everything.
        users: int[n], who they are; each has more than 20 events.
        events: int64[n × 20], the events they are known by, in order.
    """

    train: Dataset
    data: Dataset
    users: NDArray[np.integer]
    events: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answered:
    """The result of one retriever.

    Attributes:
        ndcg: events → (value, low, high) of NDCG@10; empty where it could not be fitted.
        seconds: of `fit`.
        peak_mb: of the process.
        reason: why it could not be fitted.
        failed: whether it died, rather than being rejected.
    """

    ndcg: dict[int, tuple[float, float, float]]
    seconds: float
    peak_mb: float
    reason: str = ""
    failed: bool = False


def run(options: Options) -> Result:
    """Every retriever in a separate process; the baseline is popularity for the same users."""
    classes: list[type[Retriever]] = [getattr(retrieval, name) for name in retrieval.__all__]
    kept = {one.name: one for one in classes if not options.quick or one.name in _QUICK}
    found = {
        (data, name): _answered_apart(data, name, options.seed)
        for data in (DATA[1:] if options.quick else DATA)
        for name in sorted(kept)
    }
    figures = {f"{data} {name}": answer.ndcg for (data, name), answer in found.items()}
    ours = {f"{at} {e}": v[0] for at, of in figures.items() for e, v in of.items()}
    peer = {at: ours[at] for at in ours if at.split()[1] == BASELINE}
    ratio = {
        at: value / peer[f"{at.split()[0]} {BASELINE} {at.split()[2]}"]
        for at, value in ours.items()
        if f"{at.split()[0]} {BASELINE} {at.split()[2]}" in peer
        and kept[at.split()[1]].capabilities.personal
    }
    return Result(
        ID,
        ours=ours,
        peer=peer,
        ratio=ratio,
        must={},
        met=not any(answer.failed for answer in found.values()),
        seconds=sum(answer.seconds for answer in found.values()),
        peak_mb=max(answer.peak_mb for answer in found.values()),
        notes=f"NDCG@{_K} of everything else they liked, all items ranked, default settings; "
        f"{DATA[0]}: fitted on the first {EARLY:.0%} of the events, requests of users who came "
        f"later, known by their first events (which the site had shown them: popularity is strong "
        "there; trending, new_items and content read what all did between training and request); "
        f"{DATA[1]}: a tenth of the users held out, known by events drawn at random; of its items "
        f"those with {OFTEN} pairs or more; there is no bar but that none dies; each line: seconds "
        "of fit, then value [95 % interval over users]\n" + "\n".join(_lines(found)),
        data={name: fingerprint(prepare(name)) for name in DATA},
        runs={f"{d} {n}": {"ndcg": a.ndcg, "seconds": a.seconds} for (d, n), a in found.items()},
    )


def _answered_apart(data: str, name: str, seed: int) -> Answered:
    """Runs in a separate process, so that a crash does not lose the other results."""
    try:
        return isolated(answered, data, name, seed)
    except Exception as problem:  # any error is reported
        return Answered({}, 0.0, 0.0, f"died: {problem!r}", failed=True)


def answered(data: str, name: str, seed: int) -> Answered:
    """Fits one retriever without the new users and requests recommendations for them."""
    people = late() if data == DATA[0] else held_out(seed)
    classes: list[type[Retriever]] = [getattr(retrieval, one) for one in retrieval.__all__]
    model = next(one for one in classes if one.name == name)()
    begun = perf_counter()
    try:
        model.fit(people.train, FitOptions(seed=seed))
    except TastemakerError as refusal:
        return Answered({}, perf_counter() - begun, peak_mb(), str(refusal))
    seconds, ndcg = perf_counter() - begun, {}
    for events in EVENTS:
        task = known_by(people, events)
        lists = model.retrieve(task.requests, _K, task.inventory)
        values = per_request(lists, task, _K)[:, list(PER_REQUEST).index("ndcg")]
        estimate = UserBootstrap(task.user, seed).means(values[:, None])[0]
        ndcg[events] = (estimate.value, estimate.low, estimate.high)
    return Answered(ndcg, seconds, peak_mb())


def late() -> NewItems:
    """Users who joined in the later half of ml-1m's timed part, by their first events."""
    folder = prepare(DATA[0])
    data = propose_project(find_tables(folder)).require_data()
    log, start = data.events, int(np.quantile(data.events.time, EARLY))
    counts = np.diff(log.offsets)
    first = log.time[np.minimum(log.offsets[:-1], len(log.time) - 1)]
    users = np.flatnonzero((counts > max(EVENTS)) & (first >= start))
    events = log.offsets[users][:, None] + np.arange(max(EVENTS))
    return NewItems(data.before(start), data, users, events)


def held_out(seed: int) -> NewItems:
    """A tenth of Gowalla's users, by events drawn at random; of its train file's frequent items."""
    pairs = pl.read_csv(prepare(DATA[1]) / "train.csv", infer_schema=False)
    often = pairs.group_by("item_id").len().filter(pl.col("len") >= OFTEN)
    pairs = pairs.join(often, on="item_id", how="semi")
    schema = Schema(kinds={"visit": EventKind()}, clock="none")
    data = Dataset.from_frames(pairs, schema=schema)
    log, random = data.events, np.random.default_rng(seed)
    counts = np.diff(log.offsets)
    able = np.flatnonzero(counts > max(EVENTS))
    users = np.sort(random.choice(able, round(HELD_OUT * len(data.users)), replace=False))
    events = np.stack(
        [log.offsets[u] + random.permutation(counts[u])[: max(EVENTS)] for u in users]
    )
    return NewItems(data.where(~np.isin(log.user, users)), data, users, events)


def known_by(people: NewItems, events: int) -> Task:
    """Requests of the new users with a number of events; all other liked items are relevant."""
    data, log = people.data, people.data.events
    index = people.events[:, :events].ravel()
    offsets = np.arange(len(people.users) + 1) * events
    history = Histories(
        offsets,
        log.item[index],
        log.kind[index],
        log.value[index],
        log.weight[index],
        log.time[index],
    )
    now = log.time[people.events[:, events - 1]] + 1
    seen = Ragged(offsets, np.sort(history.item.reshape(-1, events), axis=1).ravel())
    requests = data.requests(people.users, now)
    requests = replace(requests, history=history, exclude=seen)
    always = np.zeros(len(now), np.int64), np.full(len(now), data.end)
    truth, _ = relevant_after(data, people.users, *always, seen)
    rows = np.flatnonzero(truth.counts)
    truth = truth.take(rows)
    return Task(
        requests.take(rows),
        truth,
        np.ones(len(truth.values), np.float32),
        people.users[rows].astype(np.int32),
        np.zeros(len(rows), np.bool_),
        Inventory.of(data),
        {"users": len(rows)},
    )


def _lines(found: Mapping[tuple[str, str], Answered]) -> list[str]:
    lines, last = [], EVENTS[-1]
    for at in sorted(found, key=lambda at: (at[0], -found[at].ndcg.get(last, (0.0,))[0])):
        answer = found[at]
        cells = "  ".join(
            f"{value:.4f} [{low:.4f}, {high:.4f}]" for value, low, high in answer.ndcg.values()
        )
        lines.append(f"  {' '.join(at):34} {answer.seconds:7.1f} s  {cells or answer.reason}")
    return lines
