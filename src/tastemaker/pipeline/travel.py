"""Learning to rank by time travel: candidates as they stood in the past, and what came of them.

For each of several rolling windows the sources are fitted on what was known when it began; the
candidates and features of requests inside it are then what serving would have computed at that
moment, by the same functions; the labels are what happened next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import WANTED, Features, FitOptions, Retriever, Task, TrainingSet
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, offsets_of, rows_of
from tastemaker.data.requests import Requests
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import parse_duration
from tastemaker.errors import DataError, SettingError, near_miss
from tastemaker.features import FeatureSet
from tastemaker.pipeline.pipeline import DEFAULT_N, REQUESTS_AT_A_TIME, Pipeline
from tastemaker.pipeline.trace import Trace
from tastemaker.pipeline.watch import Deadline
from tastemaker.project import Training
from tastemaker.split import wanted_after, window_task

_COPIES = 2.3
"""How often the windows are held at once: to learn from, joined for the last trees, in bins."""
_MOMENTS_PER_USER = 5
_WITH_SOURCES = 2

Sources = Mapping[str, Retriever]


@dataclass(frozen=True, slots=True)
class Slice:
    """One window of the past.

    Attributes:
        start: when it begins, and where the sources' knowledge ends; microseconds.
        sources: the retrievers, fitted on what was known at its start; none for windows before
            the last two, since large models would fill the memory.
        task: the requests in it and what was wanted.
        training: their candidates, described and labelled.
    """

    start: int
    sources: Sources
    task: Task
    training: TrainingSet


def travel(
    data: Dataset,
    road: Callable[[Sources], Pipeline],
    retrievers: Sources,
    settings: Training,
    seen: SeenPolicy,
    objectives: tuple[str, ...] = (),
    options: FitOptions = FitOptions(),
) -> list[Slice]:
    """The last windows of a log as training data for a ranker, oldest first.

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

    Raises:
        ClockError: the clock is not absolute.
        DataError: a window is empty, or nothing wanted was found by any source.
        SettingError: an objective is no kind of positive event.
    """
    data.require_clock("a ranker")
    _check_objectives(data, objectives)
    edges = _edges(data, settings)
    slices: list[Slice] = []
    for start, stop in options.progress.track(
        list(pairwise(edges)), "time travel: windows", len(edges) - 1
    ):
        known = data.before(start)
        sources = {name: source.clone().fit(known, options) for name, source in retrievers.items()}
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
        training = describe(road(sources), task, labels, settings.negatives, options.seed, room)
        slices.append(Slice(start, sources, task, training))
        if len(slices) > _WITH_SOURCES:
            slices[-_WITH_SOURCES - 1] = replace(slices[-_WITH_SOURCES - 1], sources={})
    return slices


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
    negatives: int,
    seed: int,
    room: Callable[[int], None] | None = None,
) -> TrainingSet:
    """The candidates of a task's requests, described by the pipeline's own functions.

    Args:
        pipeline: its sources fitted on what was known before the task.
        task: requests and what was wanted.
        labels: objective → what was wanted in its sense, per request.
        negatives: how many candidates that were not relevant are kept of each request, at random.
        seed: of the lot.
        room: told, after some of the requests, how many bytes the features of all will take; may
            refuse.
    """
    features = FeatureSet.of(task.world, pipeline.retrievers)
    parts = []
    for start in range(0, len(task), REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(task)))
        asked = task.requests.take(rows)
        found = pipeline.candidates(
            asked, DEFAULT_N, world=task.world, trace=(road := Trace()), deadline=Deadline()
        )
        road.require_whole()
        marks = {name: _hits(found, wanted.take(rows)) for name, wanted in labels.items()}
        entries, weight = _sample(asked, found, np.any(list(marks.values()), axis=0), negatives)
        parts.append(
            TrainingSet(
                offsets=np.searchsorted(found.rows[entries], np.arange(len(rows) + 1)),
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
                    "wanted": sum(len(wanted.take(rows).values) for wanted in labels.values()),
                    "wanted_but_not_found": sum(
                        len(wanted.take(rows).values) - int(marks[name].sum())
                        for name, wanted in labels.items()
                    ),
                    "candidates": len(found.item),
                    "candidates_kept": len(entries),
                },
            )
        )
        if start == 0 and room is not None:
            room(parts[0].features.values.nbytes * len(task) // len(rows))
    return joined(parts)


def joined(parts: list[TrainingSet]) -> TrainingSet:
    """Several training sets as one, their notes added up."""
    first = parts[0]
    return TrainingSet(
        offsets=offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        user=np.concatenate([part.user for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        item=np.concatenate([part.item for part in parts]),
        features=Features(
            first.features.names, np.concatenate([part.features.values for part in parts])
        ),
        labels={name: np.concatenate([p.labels[name] for p in parts]) for name in first.labels},
        weight=np.concatenate([part.weight for part in parts]),
        position=np.concatenate([part.position for part in parts]),
        propensity=np.concatenate([part.propensity for part in parts]),
        notes=noted(parts),
    )


def noted(parts: list[TrainingSet]) -> dict[str, int]:
    """The notes of several training sets, added up."""
    return {name: sum(part.notes[name] for part in parts) for name in parts[0].notes}


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
