"""Learns a placement's fusion and ranker from its past, and decides what it is ordered by.

An order is used only if it was better in the training windows than what it is made of: the fusion
than the best single source, the ranker than both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tastemaker.component import FitOptions, Ranker, Retriever, TrainingSet
from tastemaker.data.dataset import Dataset
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import DataError
from tastemaker.metrics import UserBootstrap
from tastemaker.pipeline.described import Described
from tastemaker.pipeline.fusion import Figures, Found, Fusion, is_better, learn_fusion
from tastemaker.pipeline.pipeline import Pipeline
from tastemaker.pipeline.point_in_time import Road, TrainingWindow, travel, travel_held_out
from tastemaker.project import Placement, Training

Sources = Mapping[str, Retriever]


@dataclass(frozen=True, slots=True)
class Learned:
    """What learning from the past came to.

    Attributes:
        fusion: the quotas and weights of the sources.
        sources: those of the latest window where these are to serve, else none: they would stand
            in memory beside those fitted anew.
        enabled: whether the ranker did better than the fusion and the best source, so that it is
            used; None without a ranker.
        notes: rows, requests, what was dropped, and NDCG@10 over all windows, each by a ranker that
            has not learned from it: `ranked`, `merged` by the fusion, `single` by the best source;
            and in the latest window `fresh` over sources fitted at its start, `stale` over those of
            the window before.
        refit: whether the ranker is no worse over sources fitted anew, so that they are.
    """

    fusion: Fusion
    sources: Sources
    enabled: bool | None
    notes: dict[str, float]
    refit: bool = True


def learn(
    ranker: Ranker | None,
    data: Dataset,
    placement: Placement,
    retrievers: Sources,
    settings: Training,
    options: FitOptions = FitOptions(),
) -> Learned:
    """Learns what a placement leaves open: its fusion, where it names no numbers, and its ranker.

    The ranker is fitted in place. It is judged on each window by one that has learned from all the
    others and took from this window no more than its number of trees; it is used only if
    it is better than the fusion and than the best single source by more than a standard error,
    paired over the users of all windows. Where it is worse over sources fitted at the start of the
    latest window than over those of the window before (95 %, paired), the sources stay as they are.

    Args:
        ranker: to be fitted; None, the fusion orders.
        data: everything that may be learned from.
        placement: its sources, seen policy and objectives' values.
        retrievers: the placement's sources, as settings.
        settings: the windows.
        options: seed, threads, memory budget, progress.

    Raises:
        ClockError, DataError, SettingError: there is a ranker, and `travel` or `Ranker.fit` do.
    """
    seen, stated = SeenPolicy.of(data.kinds, placement.seen), Fusion.stated(placement)

    def road(fusion: Fusion) -> Road:
        return lambda sources: Pipeline(
            sources, fusion.quotas, weights=fusion.weights, capacity=fusion.candidates
        )

    def fuse(found: Sequence[Found]) -> Road:
        return road(learn_fusion(found, placement, provisional=True))

    if ranker is None:
        args = (data, road(stated), retrievers, settings, seen, fuse, options)
        slices = _windows_without_ranker(*args)
        fusion = learn_fusion(_found(slices), placement) if slices else stated
        return Learned(fusion, {}, None, {})
    slices = travel(
        data,
        road(stated),
        retrievers,
        settings,
        seen,
        ranker.objectives,
        options,
        fuse=fuse if placement.learns_fusion else None,
    )
    fusion = learn_fusion(_found(slices), placement) if placement.learns_fusion else stated
    return _learn_to_rank(ranker, slices, fusion, placement, settings, options)


def _windows_without_ranker(
    data: Dataset,
    road: Road,
    retrievers: Sources,
    settings: Training,
    seen: SeenPolicy,
    fuse: Callable[[Sequence[Found]], Road],
    options: FitOptions,
) -> list[TrainingWindow]:
    """Windows to learn a fusion from; none where the log is too short for any."""
    try:
        if data.clock == "absolute":
            return travel(
                data, road, retrievers, settings, seen, (), options, ranks=False, fuse=fuse
            )
        return travel_held_out(data, road, retrievers, options)
    except DataError:
        return []


def _found(slices: Sequence[TrainingWindow]) -> list[Found]:
    return [part.found for part in slices if part.found is not None]


def _learn_to_rank(
    ranker: Ranker,
    slices: Sequence[TrainingWindow],
    fusion: Fusion,
    placement: Placement,
    settings: Training,
    options: FitOptions,
) -> Learned:
    """Fits the ranker, and compares it with what it orders."""
    trainings = [part.learned.fused(fusion).training for part in slices if part.learned]
    judged = [part.judged.fused(fusion) for part in slices if part.judged]
    folds: list[Ranker] = []
    ranked: list[Figures] = []
    for place, window in enumerate(judged):
        others = [one for other, one in enumerate(trainings) if other != place]
        fold = ranker.clone().fit(TrainingSet.joined(others), options, validation=window.training)
        folds.append(fold)
        ranked.append(_ndcg(fold, window, placement.objective_weights))
    fused = [window.found.ndcg(window.candidates.score) for window in judged]
    alone = np.concatenate([window.found.by_source() for window in judged])
    single = alone[:, int(alone.mean(axis=0).argmax())]
    ours, theirs = np.concatenate(ranked), np.concatenate(fused)
    user = np.concatenate([window.found.user for window in judged])
    better = all(is_better(ours, other, user, options.seed) for other in (theirs, single))
    last = slices[-1]
    assert last.stale is not None  # noqa: S101 - there is a ranker
    stale = _ndcg(folds[-1], last.stale.fused(fusion), placement.objective_weights)
    fresher = UserBootstrap(judged[-1].found.user, options.seed).mean(ranked[-1] - stale)
    enabled, refit = better or not settings.require_improvement, bool(fresher.high >= 0)
    notes: dict[str, float] = {
        "training_rows": sum(map(len, trainings)),
        **{name: sum(part.notes[name] for part in trainings) for name in trainings[0].notes},
        "judged_requests": len(user),
        "ranked": float(ours.mean()),
        "merged": float(theirs.mean()),
        "single": float(single.mean()),
        "fresh": float(ranked[-1].mean()),
        "stale": float(stale.mean()),
        "better": better,
    }
    if enabled:
        ranker.refit(trainings, options, folds=folds)
    kept = last.sources if enabled and not refit else {}
    return Learned(fusion, kept, enabled, notes, refit)


def _ndcg(ranker: Ranker, window: Described, value: Mapping[str, float]) -> Figures:
    """NDCG@10 of every judged request by the ranker; the fusion's order decides between equals."""
    candidates = window.candidates
    scores = ranker.score(window.requests, candidates, window.training.features).combined(value)
    order = np.lexsort((-candidates.score, -scores, candidates.rows))
    place = np.empty(len(order))
    place[order] = np.arange(len(order))
    return window.found.ndcg(-place)
