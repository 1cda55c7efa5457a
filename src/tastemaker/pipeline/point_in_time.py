"""Point-in-time training data: past candidates with features, labelled by what happened next.

For each of several rolling windows, the sources are fitted on the events before it. The candidates
and features of the requests in the window are those that serving would have computed at that
moment, by the same functions. The labels are the events that followed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import RELEVANT, FitOptions, Retriever, Task, TrainingSet
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import parse_duration
from tastemaker.errors import DataError, SettingError, did_you_mean
from tastemaker.pipeline.fitting import fit_source
from tastemaker.pipeline.fusion import FusionData
from tastemaker.pipeline.pipeline import Pipeline
from tastemaker.pipeline.training_candidates import (
    TrainingCandidates,
    fusion_data,
    training_candidates,
)
from tastemaker.project import Training
from tastemaker.split import holdout, relevant_after, window_task

_COPIES = 2.3
"""Copies of the windows in memory: the windows, their concatenation for refitting, and its bins."""
_MOMENTS_PER_USER = 5
_WITH_SOURCES = 2
_EVALUATED = 300
"""Requests per window for which all candidates are kept, about 50 MB of features."""
_HELD_OUT = 0.2

Sources = Mapping[str, Retriever]
PipelineFactory = Callable[[Sources], Pipeline]
"""Builds the pipeline of a placement, without its ranker, from fitted sources."""


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """One window of the past.

    Attributes:
        start: the start of the window, microseconds; sources know only earlier events.
        sources: the retrievers, fitted on the events before the window; empty for windows before
            the last two, because large models would fill the memory.
        task: the requests in the window and their relevant items.
        fusion_data: the candidates of some requests, to learn a fusion; None if none is learned.
        candidates: all relevant candidates and a sample of the others, to learn a ranker; None
            without a ranker.
        evaluation: all candidates of some requests, to evaluate orders; None without a ranker.
        stale: the same requests of the last window with the sources of the window before; None for
            other windows and without a ranker.
    """

    start: int
    sources: Sources
    task: Task
    fusion_data: FusionData | None = None
    candidates: TrainingCandidates | None = None
    evaluation: TrainingCandidates | None = None
    stale: TrainingCandidates | None = None

    @property
    def training(self) -> TrainingSet:
        """The training set of the window."""
        assert self.candidates is not None  # noqa: S101 - used with a ranker only
        return self.candidates.training


def travel(
    data: Dataset,
    make_pipeline: PipelineFactory,
    retrievers: Sources,
    settings: Training,
    seen: SeenPolicy,
    objectives: tuple[str, ...] = (),
    options: FitOptions = FitOptions(),
    *,
    ranks: bool = True,
    fuse: Callable[[Sequence[FusionData]], PipelineFactory] | None = None,
) -> list[TrainingWindow]:
    """The last windows of a log as training data for a ranker and a fusion, oldest first.

    Positives that no source found are dropped and counted, never inserted: the ranker will never
    see such a candidate.

    Args:
        data: all events that may be learned from.
        make_pipeline: builds the pipeline of the placement, without its ranker.
        retrievers: the sources; only clones of them are fitted.
        settings: the number and length of the windows, and the number of requests.
        seen: the placement's seen policy.
        objectives: event types to use as labels; if empty, any positive event, named `RELEVANT`.
        options: seed, threads, memory budget, progress.
        ranks: whether a ranker learns from the windows.
        fuse: learns the fusion from the windows so far, so that candidates get the features that
            serving will compute; by default the fusion of `make_pipeline` is kept.

    Raises:
        ClockError: the clock is not absolute.
        DataError: a window is empty, or no source found a relevant item.
        SettingError: an objective is not a positive event type.
    """
    data.require_clock("a ranker")
    _check_objectives(data, objectives)
    edges = _edges(data, settings)
    windows: list[TrainingWindow] = []
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
        some = _evaluated_rows(task, options.seed)
        evaluated, make_fused = _taken(task, some), make_pipeline
        window = TrainingWindow(start, sources, task)
        if fuse is not None:
            window = replace(window, fusion_data=fusion_data(make_pipeline(sources), evaluated))
            parts = [w.fusion_data for w in (*windows, window) if w.fusion_data is not None]
            make_fused = fuse(parts) if ranks else make_pipeline
        if ranks:
            labels = _labels(data, task, stop, objectives)
            relevant = {name: ragged.take(some) for name, ragged in labels.items()}
            check_capacity = (
                partial(_require_capacity, len(task), settings, options) if not windows else None
            )
            fused, seed = make_fused(sources), options.seed
            window = replace(
                window,
                candidates=training_candidates(
                    fused, task, labels, settings.negatives, seed, check_capacity
                ),
                evaluation=training_candidates(fused, evaluated, relevant, None, seed),
            )
            if number == settings.slices:
                older = make_fused(windows[-1].sources)
                stale = training_candidates(older, evaluated, relevant, None, seed)
                window = replace(window, stale=stale)
        windows.append(window)
        if len(windows) > _WITH_SOURCES:
            windows[-_WITH_SOURCES - 1] = replace(windows[-_WITH_SOURCES - 1], sources={})
    return windows


def held_out_window(
    data: Dataset, make_pipeline: PipelineFactory, retrievers: Sources, options: FitOptions
) -> list[TrainingWindow]:
    """One window of random items of each user, held out; used if event times are not moments.

    Raises:
        DataError: no user has enough items to hold one out.
    """
    split = holdout(data, test=_HELD_OUT, validation=_HELD_OUT, seed=options.seed)
    sources = fit_sources(retrievers, split.before_test, options, "held out")
    task = _taken(split.test, _evaluated_rows(split.test, options.seed))
    return [TrainingWindow(0, sources, task, fusion_data(make_pipeline(sources), task))]


def fit_sources(
    retrievers: Sources, known: Dataset, options: FitOptions, label: str
) -> dict[str, Retriever]:
    """Fitted clones of the sources; `label` names their purpose in the progress report."""
    named = options.progress.track(retrievers.items(), f"{label}: sources", len(retrievers))
    return {name: fit_source(name, source.clone(), known, options) for name, source in named}


def _evaluated_rows(task: Task, seed: int) -> NDArray[np.int64]:
    """The requests to evaluate: all of them, or a random sample of `_EVALUATED`."""
    if len(task) <= _EVALUATED:
        return np.arange(len(task))
    return np.sort(np.random.default_rng(seed).choice(len(task), _EVALUATED, replace=False))


def _taken(task: Task, rows: NDArray[np.int64]) -> Task:
    """A task with some of the requests."""
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
    """Raises if all windows would exceed the memory budget, estimated from the first requests."""
    measured = first.notes["requests"]
    training = first.features.values.nbytes * requests // measured
    bytes_per_row = first.features.values.nbytes // max(1, len(first))
    evaluation = bytes_per_row * first.notes["candidates"] * min(requests, _EVALUATED) // measured
    options.require_memory(
        int(_COPIES * settings.slices * training + (settings.slices + 1) * evaluation),
        f"learning to rank from {settings.requests:,} requests",
        "lower 'requests' or 'negatives' under [training], or raise its 'memory'",
    )


def _check_objectives(data: Dataset, objectives: tuple[str, ...]) -> None:
    positive = [name for name, kind in data.kinds.items() if kind.role == "positive"]
    for name in objectives:
        if name not in positive:
            raise SettingError(
                f"objectives: '{name}' is not a positive event type{did_you_mean(name, positive)}"
            )


def _edges(data: Dataset, settings: Training) -> list[int]:
    """The starts of the windows and the end of the last one, microseconds."""
    if isinstance(settings.window, str):
        length = parse_duration(settings.window, "training.window")
        edges = [data.end - back * length for back in range(settings.slices, -1, -1)]
    else:
        time = np.sort(data.events.time)
        share = settings.window
        if not 0 < share * settings.slices < 1:
            raise SettingError(
                f"[training] {settings.slices} windows of {share} leave no events before them; "
                "lower 'slices' or 'window'"
            )
        places = [round((1 - back * share) * len(time)) for back in range(settings.slices, 0, -1)]
        edges = [*(int(time[min(place, len(time) - 1)]) for place in places), data.end]
    if edges[0] <= int(data.events.time.min(initial=data.end)) or len(set(edges)) < len(edges):
        raise DataError(
            "the data is too short for a ranker to learn from; shorten [training] window, or "
            "remove the ranker"
        )
    return edges


def _labels(data: Dataset, task: Task, stop: int, objectives: tuple[str, ...]) -> dict[str, Ragged]:
    """Objective → the items that are relevant to it, per request."""
    if not objectives:
        return {RELEVANT: task.truth}
    requests, until = task.requests, np.full(len(task), stop, np.int64)
    return {
        name: relevant_after(data, task.user, requests.time, until, requests.exclude, name)[0]
        for name in objectives
    }
