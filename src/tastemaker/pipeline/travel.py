"""Learning to rank by time travel: candidates as they stood in the past, and what came of them.

For each of several rolling windows the sources are fitted on what was known when it began; the
candidates and features of requests inside it are then what serving would have computed at that
moment, by the same functions; the labels are what happened next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import FUSED, WANTED, Features, FitOptions, Retriever, Task, TrainingSet
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, rows_of
from tastemaker.data.requests import Requests
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import parse_duration
from tastemaker.errors import DataError, SettingError, near_miss
from tastemaker.features import FeatureSet
from tastemaker.pipeline.fitting import fit_source
from tastemaker.pipeline.fusion import Found, Fusion
from tastemaker.pipeline.pipeline import DEFAULT_N, REQUESTS_AT_A_TIME, Pipeline
from tastemaker.pipeline.trace import Trace
from tastemaker.pipeline.watch import Deadline
from tastemaker.project import Training
from tastemaker.split import holdout, wanted_after, window_task

_COPIES = 2.3
"""How often the windows are held at once: to learn from, joined for the last trees, in bins."""
_MOMENTS_PER_USER = 5
_WITH_SOURCES = 2
_JUDGED = 600
"""Requests of a window whose candidates are all kept, about 100 MB of features."""
_HELD_OUT = 0.2

Sources = Mapping[str, Retriever]


@dataclass(frozen=True, slots=True)
class Described:
    """Candidates of past requests, described, with what the sources made of them.

    Attributes:
        requests: n requests.
        candidates: of each, with their ranks in each source and the score of the fusion.
        training: the same candidates, described; the feature `FUSED` holds that score too.
        found: the same candidates with what was relevant, to measure an order by; complete only
            where none were left out.
    """

    requests: Requests
    candidates: Candidates
    training: TrainingSet
    found: Found

    def fused(self, fusion: Fusion) -> "Described":
        """The same candidates with the score of another fusion."""
        features = self.training.features
        score = fusion.scores(self.candidates.source_rank, self.candidates.sources)
        values = features.values.copy()
        values[:, features.names.index(FUSED)] = score
        training = replace(self.training, features=Features(features.names, values))
        return replace(self, candidates=replace(self.candidates, score=score), training=training)


@dataclass(frozen=True, slots=True)
class Slice:
    """One window of the past.

    Attributes:
        start: when it begins, and where the sources' knowledge ends; microseconds.
        sources: the retrievers, fitted on what was known at its start; none for windows before
            the last two, since large models would fill the memory.
        task: the requests in it and what was relevant.
        learned: its candidates, hits and a sample of the others; None without a ranker.
        judged: all candidates of some of its requests, to measure orders by.
        stale: the same requests of the last window over the sources of the window before; None for
            the others, or without a ranker.
    """

    start: int
    sources: Sources
    task: Task
    learned: Described | None
    judged: Described
    stale: Described | None = None

    @property
    def training(self) -> TrainingSet:
        """The candidates to learn from."""
        assert self.learned is not None  # noqa: S101 - asked with a ranker only
        return self.learned.training


def travel(
    data: Dataset,
    road: Callable[[Sources], Pipeline],
    retrievers: Sources,
    settings: Training,
    seen: SeenPolicy,
    objectives: tuple[str, ...] = (),
    options: FitOptions = FitOptions(),
    *,
    ranks: bool = True,
) -> list[Slice]:
    """The last windows of a log as training data for a ranker and a fusion, oldest first.

    Positives that no source found are dropped and counted, never inserted: the ranker will never
    meet such a candidate.

    Args:
        data: everything that may be learned from.
        road: makes the placement's pipeline, without ranker, around fitted sources.
        retrievers: the sources; clones of them are fitted, they stay as they are.
        settings: how many windows, how long, how many requests.
        seen: the placement's seen policy.
        objectives: kinds of event to label by; none, any positive event under the name `WANTED`.
        options: seed, threads, memory budget, progress.
        ranks: whether a ranker is to learn from them.

    Raises:
        ClockError: the clock is not absolute.
        DataError: a window is empty, or nothing wanted was found by any source.
        SettingError: an objective is no kind of positive event.
    """
    data.require_clock("a ranker")
    _check_objectives(data, objectives)
    edges = _edges(data, settings)
    slices: list[Slice] = []
    for number, (start, stop) in enumerate(pairwise(edges), start=1):
        known = data.before(start)
        label = f"window {number} of {settings.slices}"
        sources = fit_sources(retrievers, known, options, label)
        task = window_task(
            data,
            known,
            (start, stop),
            "training",
            seen=seen,
            max_users=max(1, settings.requests // (settings.slices * _MOMENTS_PER_USER)),
            seed=options.seed,
        )
        labels = _labels(data, task, stop, objectives)
        room = None if slices else partial(_require_room, settings=settings, options=options)
        learned = stale = None
        if ranks:
            learned = describe(road(sources), task, labels, settings.negatives, options.seed, room)
        some = _judged_rows(task, options.seed)
        asked = _taken(task, some)
        wanted = {name: ragged.take(some) for name, ragged in labels.items()}
        judged = describe(road(sources), asked, wanted, None, options.seed)
        if ranks and number == settings.slices:
            stale = describe(road(slices[-1].sources), asked, wanted, None, options.seed)
        slices.append(Slice(start, sources, task, learned, judged, stale))
        if len(slices) > _WITH_SOURCES:
            slices[-_WITH_SOURCES - 1] = replace(slices[-_WITH_SOURCES - 1], sources={})
    return slices


def travel_held_out(
    data: Dataset, road: Callable[[Sources], Pipeline], retrievers: Sources, options: FitOptions
) -> list[Slice]:
    """One stand-in for a window where times are no moments: a random share of each user's items.

    Raises:
        DataError: no user has enough items to hold one out.
    """
    split = holdout(data, test=_HELD_OUT, validation=_HELD_OUT, seed=options.seed)
    sources = fit_sources(retrievers, split.before_test, options, "held out")
    rows = _judged_rows(split.test, options.seed)
    task = _taken(split.test, rows)
    judged = describe(road(sources), task, {WANTED: task.truth}, None, options.seed)
    return [Slice(0, sources, task, None, judged)]


def fit_sources(
    retrievers: Sources, known: Dataset, options: FitOptions, label: str
) -> dict[str, Retriever]:
    """Clones of the sources, fitted; `label` says in the progress what they are fitted for."""
    named = options.progress.track(retrievers.items(), f"{label}: sources", len(retrievers))
    return {name: fit_source(name, source.clone(), known, options) for name, source in named}


def _judged_rows(task: Task, seed: int) -> NDArray[np.int64]:
    """Which requests are judged: all of them, or as many as there is room for, at random."""
    if len(task) <= _JUDGED:
        return np.arange(len(task))
    return np.sort(np.random.default_rng(seed).choice(len(task), _JUDGED, replace=False))


def _taken(task: Task, rows: NDArray[np.int64]) -> Task:
    """Some of a task's requests."""
    return replace(
        task,
        requests=task.requests.take(rows),
        truth=task.truth.take(rows),
        gain=np.concatenate(
            [task.gain[task.truth.offsets[row] : task.truth.offsets[row + 1]] for row in rows]
            or [task.gain[:0]]
        ),
        user=task.user[rows],
        known_user=task.known_user[rows],
    )


def _require_room(window: int, settings: Training, options: FitOptions) -> None:
    """Refuses what the first requests of the first window show to be too much."""
    options.require_memory(
        int(_COPIES * settings.slices * window),
        f"learning to rank from {settings.requests:,} requests",
        "lower 'requests' or 'negatives' under [training], or raise its 'memory'",
    )


def describe(
    pipeline: Pipeline,
    task: Task,
    labels: Mapping[str, Ragged],
    negatives: int | None,
    seed: int,
    room: Callable[[int], None] | None = None,
) -> Described:
    """The candidates of a task's requests, described by the pipeline's own functions.

    Args:
        pipeline: its sources fitted on what was known before the task.
        task: requests and what was relevant.
        labels: objective → what was relevant in its sense, per request.
        negatives: how many candidates that were not relevant are kept of each request, at random;
            None, all of them.
        seed: of the lot.
        room: told, after some of the requests, how many bytes the features of all will take; may
            refuse.
    """
    features = FeatureSet.of(task.world, pipeline.retrievers)
    parts: list[Described] = []
    for start in range(0, len(task), REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(task)))
        parts.append(_described(pipeline, features, task, rows, labels, negatives))
        if start == 0 and room is not None:
            room(parts[0].training.features.values.nbytes * len(task) // len(rows))
    return Described(
        task.requests,
        Candidates.concatenated([part.candidates for part in parts]),
        TrainingSet.joined([part.training for part in parts]),
        Found.joined([part.found for part in parts]),
    )


def _described(
    pipeline: Pipeline,
    features: FeatureSet,
    task: Task,
    rows: NDArray[np.int64],
    labels: Mapping[str, Ragged],
    negatives: int | None,
) -> Described:
    """The candidates of some requests."""
    asked, truth = task.requests.take(rows), task.truth.take(rows)
    road = Trace(keep=True)
    found = pipeline.candidates(asked, DEFAULT_N, world=task.world, trace=road, deadline=Deadline())
    road.require_whole()
    own_lists = {stage.name: stage.candidates for stage in road.stages}
    marks = {name: _hits(found, wanted.take(rows)) for name, wanted in labels.items()}
    any_mark = np.any(list(marks.values()), axis=0)
    entries, weight = np.arange(len(found.item)), np.ones(len(found.item), np.float32)
    if negatives is not None:
        entries, weight = _sample(asked, found, any_mark, negatives)
    offsets = np.searchsorted(found.rows[entries], np.arange(len(rows) + 1))
    n_wanted = sum(len(wanted.take(rows).values) for wanted in labels.values())
    training = TrainingSet(
        offsets=offsets,
        user=task.user[rows],
        time=asked.time,
        item=found.item[entries],
        features=features.build(asked, found, task.world, pipeline.retrievers, entries),
        labels={name: hits[entries].astype(np.float32) for name, hits in marks.items()},
        weight=weight,
        position=np.full(len(entries), -1, np.int16),
        propensity=np.full(len(entries), np.nan, np.float32),
        notes={
            "requests": len(rows),
            "wanted": n_wanted,
            "wanted_but_not_found": n_wanted - sum(int(hits.sum()) for hits in marks.values()),
            "candidates": len(found.item),
            "candidates_kept": len(entries),
        },
    )
    kept = found.entries(entries, offsets)
    return Described(
        asked,
        kept,
        training,
        Found(
            task.user[rows],
            offsets,
            kept.source_rank,
            _hits(found, truth)[entries],
            np.diff(truth.offsets),
            _ranks_of(truth, [own_lists[f"retrieve:{name}"] for name in found.sources]),
        ),
    )


def _ranks_of(truth: Ragged, lists: Sequence[Candidates | None]) -> NDArray[np.int16]:
    """The rank of every relevant item in each source's list, int16[relevant × S]; −1: not there."""
    ranks = np.full((len(truth.values), len(lists)), -1, np.int16)
    row = rows_of(truth.offsets)
    for place, candidates in enumerate(lists):
        if candidates is None or not len(candidates.item):
            continue
        span = np.int64(max(candidates.item.max(), truth.values.max(initial=0))) + 1
        keys = candidates.rows * span + candidates.item
        order = np.argsort(keys)
        sought = row * span + truth.values
        at = np.minimum(np.searchsorted(keys[order], sought), len(keys) - 1)
        entry = order[at]
        rank = entry - candidates.offsets[candidates.rows[entry]]
        ranks[:, place] = np.where(keys[entry] == sought, np.minimum(rank, 32_767), -1)
    return ranks


def _check_objectives(data: Dataset, objectives: tuple[str, ...]) -> None:
    able = [name for name, kind in data.kinds.items() if kind.role == "positive"]
    for name in objectives:
        if name not in able:
            raise SettingError(
                f"objectives: '{name}' is no kind of event that can be wanted"
                f"{near_miss(name, able)}"
            )


def _edges(data: Dataset, settings: Training) -> list[int]:
    """Where the windows begin, and where the last ends."""
    if isinstance(settings.window, str):
        length = parse_duration(settings.window, "training.window")
        edges = [data.end - back * length for back in range(settings.slices, -1, -1)]
    else:
        time = np.sort(data.events.time)
        share = settings.window
        if not 0 < share * settings.slices < 1:
            raise SettingError(
                f"[training] {settings.slices} windows of {share} leave nothing before them; "
                "lower 'slices' or 'window'"
            )
        places = [round((1 - back * share) * len(time)) for back in range(settings.slices, 0, -1)]
        edges = [*(int(time[min(place, len(time) - 1)]) for place in places), data.end]
    if edges[0] <= int(data.events.time.min(initial=data.end)) or len(set(edges)) < len(edges):
        raise DataError(
            "the data is too short for a ranker to learn from its past; shorten [training] window, "
            "or leave the ranker out"
        )
    return edges


def _labels(data: Dataset, task: Task, stop: int, objectives: tuple[str, ...]) -> dict[str, Ragged]:
    """Objective → what was wanted in its sense, per request."""
    if not objectives:
        return {WANTED: task.truth}
    asked, until = task.requests, np.full(len(task), stop, np.int64)
    return {
        name: wanted_after(data, task.user, asked.time, until, asked.exclude, name)[0]
        for name in objectives
    }


def _hits(found: Candidates, wanted: Ragged) -> NDArray[np.bool_]:
    """Whether each candidate is among what its request wanted."""
    span = np.int64(max(found.item.max(initial=0), wanted.values.max(initial=0))) + 1
    keys = rows_of(wanted.offsets) * span + wanted.values
    return np.isin(found.rows * span + found.item, keys)


def _sample(
    asked: Requests, found: Candidates, hit: NDArray[np.bool_], negatives: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The hits and random other candidates, ascending; and how many each stands for."""
    lot = np.empty(len(found.item))
    for row in range(len(found)):
        own = slice(found.offsets[row], found.offsets[row + 1])
        lot[own] = np.random.default_rng(asked.seed[row]).random(found.counts[row])
    lot[hit] = -1.0
    order = np.lexsort((lot, found.rows))
    hits = np.bincount(found.rows[hit], minlength=len(found))
    kept = np.minimum(found.counts, hits + negatives)
    place = np.arange(len(order)) - np.repeat(found.offsets[:-1], found.counts)
    entries = np.sort(order[place < np.repeat(kept, found.counts)])
    stands_for = (found.counts - hits) / np.maximum(kept - hits, 1)
    weight = np.where(hit[entries], 1.0, stands_for[found.rows[entries]])
    return entries, weight.astype(np.float32)
