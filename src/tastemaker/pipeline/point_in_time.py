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

from tastemaker.component import WANTED, FitOptions, Retriever, Task, TrainingSet
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import parse_duration
from tastemaker.errors import DataError, SettingError, did_you_mean
from tastemaker.pipeline.described import Described, describe, find
from tastemaker.pipeline.fitting import fit_source
from tastemaker.pipeline.fusion import Found
from tastemaker.pipeline.pipeline import Pipeline
from tastemaker.project import Training
from tastemaker.split import holdout, wanted_after, window_task

_COPIES = 2.3
"""How often the windows are held at once: to learn from, joined for the last trees, in bins."""
_MOMENTS_PER_USER = 5
_WITH_SOURCES = 2
_JUDGED = 300
"""Requests of a window whose candidates are all kept, about 50 MB of features."""
_HELD_OUT = 0.2

Sources = Mapping[str, Retriever]
Road = Callable[[Sources], Pipeline]


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """One window of the past.

    Attributes:
        start: when it begins, and where the sources' knowledge ends; microseconds.
        sources: the retrievers, fitted on what was known at its start; none for windows before
            the last two, since large models would fill the memory.
        task: the requests in it and what was relevant.
        found: what the sources found for some of them; None where no fusion is learned.
        learned: their candidates, hits and a sample of the others; None without a ranker.
        judged: all candidates of some requests, to measure orders by; None without a ranker.
        stale: the same requests of the last window over the sources of the window before; None for
            the others, or without a ranker.
    """

    start: int
    sources: Sources
    task: Task
    found: Found | None = None
    learned: Described | None = None
    judged: Described | None = None
    stale: Described | None = None

    @property
    def training(self) -> TrainingSet:
        """The candidates to learn from."""
        assert self.learned is not None  # noqa: S101 - asked with a ranker only
        return self.learned.training


def travel(
    data: Dataset,
    road: Road,
    retrievers: Sources,
    settings: Training,
    seen: SeenPolicy,
    objectives: tuple[str, ...] = (),
    options: FitOptions = FitOptions(),
    *,
    ranks: bool = True,
    fuse: Callable[[Sequence[Found]], Road] | None = None,
) -> list[TrainingWindow]:
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
        fuse: learns the fusion from the windows so far, so that candidates are described as they
            will be served; by default that of `road` is kept.

    Raises:
        ClockError: the clock is not absolute.
        DataError: a window is empty, or nothing relevant was found by any source.
        SettingError: an objective is no kind of positive event.
    """
    data.require_clock("a ranker")
    _check_objectives(data, objectives)
    edges = _edges(data, settings)
    slices: list[TrainingWindow] = []
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
        some = _judged_rows(task, options.seed)
        asked, described = _taken(task, some), road
        window = TrainingWindow(start, sources, task)
        if fuse is not None:
            window = replace(window, found=find(road(sources), asked))
            lists = [part.found for part in (*slices, window) if part.found is not None]
            described = fuse(lists) if ranks else road
        if ranks:
            labels = _labels(data, task, stop, objectives)
            wanted = {name: ragged.take(some) for name, ragged in labels.items()}
            capacity = (
                partial(_require_capacity, len(task), settings, options) if not slices else None
            )
            served = described(sources)
            window = replace(
                window,
                learned=describe(served, task, labels, settings.negatives, options.seed, capacity),
                judged=describe(served, asked, wanted, None, options.seed),
            )
            if number == settings.slices:
                older = described(slices[-1].sources)
                stale = describe(older, asked, wanted, None, options.seed)
                window = replace(window, stale=stale)
        slices.append(window)
        if len(slices) > _WITH_SOURCES:
            slices[-_WITH_SOURCES - 1] = replace(slices[-_WITH_SOURCES - 1], sources={})
    return slices


def travel_held_out(
    data: Dataset, road: Road, retrievers: Sources, options: FitOptions
) -> list[TrainingWindow]:
    """One stand-in for a window where times are no moments: a random share of each user's items.

    Raises:
        DataError: no user has enough items to hold one out.
    """
    split = holdout(data, test=_HELD_OUT, validation=_HELD_OUT, seed=options.seed)
    sources = fit_sources(retrievers, split.before_test, options, "held out")
    task = _taken(split.test, _judged_rows(split.test, options.seed))
    return [TrainingWindow(0, sources, task, find(road(sources), task))]


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


def _require_capacity(
    requests: int, settings: Training, options: FitOptions, first: TrainingSet
) -> None:
    """Refuses what the first requests of the first window show to be too much."""
    described = first.notes["requests"]
    learned = first.features.values.nbytes * requests // described
    bytes_a_row = first.features.values.nbytes // max(1, len(first))
    judged = bytes_a_row * first.notes["candidates"] * min(requests, _JUDGED) // described
    options.require_memory(
        int(_COPIES * settings.slices * learned + (settings.slices + 1) * judged),
        f"learning to rank from {settings.requests:,} requests",
        "lower 'requests' or 'negatives' under [training], or raise its 'memory'",
    )


def _check_objectives(data: Dataset, objectives: tuple[str, ...]) -> None:
    able = [name for name, kind in data.kinds.items() if kind.role == "positive"]
    for name in objectives:
        if name not in able:
            raise SettingError(
                f"objectives: '{name}' is no kind of event that can be wanted"
                f"{did_you_mean(name, able)}"
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
