"""Learns the fusion and the ranker of a placement from past events, and decides which to use.

The fusion is used only if it is better in the training windows than the best single source. The
ranker is used only if it is better than both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tastemaker.component import FitOptions, Ranker, Retriever, TrainingSet
from tastemaker.data.dataset import Dataset
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import DataError
from tastemaker.metrics import UserBootstrap
from tastemaker.pipeline.fusion import Figures, Fusion, FusionData, is_better, learn_fusion
from tastemaker.pipeline.pipeline import Pipeline
from tastemaker.pipeline.point_in_time import (
    PipelineFactory,
    TrainingWindow,
    held_out_window,
    travel,
)
from tastemaker.pipeline.training_candidates import TrainingCandidates
from tastemaker.project import Placement, Training

Sources = Mapping[str, Retriever]


@dataclass(frozen=True, slots=True)
class LearningResult:
    """The results of learning from past events.

    Attributes:
        fusion: the quotas and weights of the sources.
        sources: the sources of the latest window if they are to be served; otherwise empty, so
            that they do not occupy memory while the sources are fitted again.
        enabled: whether the ranker is used because it is better than the fusion and the best
            source; None without a ranker.
        notes: numbers of rows, requests and dropped items, and NDCG@10 over all windows, each by a
            ranker that has not learned from it: `ranked`, `merged` by the fusion, `single` by the
            best source; for the latest window, `fresh` with sources fitted at its start and
            `stale` with those of the window before.
        refit: whether to fit the sources again, because the ranker is no worse with newer sources.
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
) -> LearningResult:
    """Learns the fusion of a placement, unless the project file states it, and its ranker.

    The ranker is fitted in place. Each window is evaluated by a ranker that has learned from all
    other windows and used this window only to choose its number of trees. The ranker is used only
    if it is better than the fusion and than the best single source by more than a standard error,
    paired over the users of all windows. If it is worse with sources fitted at the start of the
    latest window than with those of the window before (95 %, paired), the older sources are kept.

    Args:
        ranker: the ranker to fit; None to order by the fusion.
        data: all events that may be learned from.
        placement: its sources, seen policy and objective weights.
        retrievers: the sources of the placement, unfitted.
        settings: the training windows.
        options: seed, threads, memory budget, progress.

    Raises:
        ClockError, DataError, SettingError: there is a ranker, and `travel` or `Ranker.fit` raised.
    """
    seen, stated = SeenPolicy.of(data.kinds, placement.seen), Fusion.stated(placement)

    def pipeline_factory(fusion: Fusion) -> PipelineFactory:
        return lambda sources: Pipeline(
            sources, fusion.quotas, weights=fusion.weights, capacity=fusion.candidates
        )

    def fuse(parts: Sequence[FusionData]) -> PipelineFactory:
        return pipeline_factory(learn_fusion(parts, placement, provisional=True))

    if ranker is None:
        args = (data, pipeline_factory(stated), retrievers, settings, seen, fuse, options)
        windows = _windows_without_ranker(*args)
        fusion = learn_fusion(_fusion_data(windows), placement) if windows else stated
        return LearningResult(fusion, {}, None, {})
    windows = travel(
        data,
        pipeline_factory(stated),
        retrievers,
        settings,
        seen,
        ranker.objectives,
        options,
        fuse=fuse if placement.learns_fusion else None,
    )
    fusion = learn_fusion(_fusion_data(windows), placement) if placement.learns_fusion else stated
    return _learn_to_rank(ranker, windows, fusion, placement, settings, options)


def _windows_without_ranker(
    data: Dataset,
    make_pipeline: PipelineFactory,
    retrievers: Sources,
    settings: Training,
    seen: SeenPolicy,
    fuse: Callable[[Sequence[FusionData]], PipelineFactory],
    options: FitOptions,
) -> list[TrainingWindow]:
    """Windows to learn a fusion from; empty if the log is too short."""
    try:
        if data.clock == "absolute":
            return travel(
                data, make_pipeline, retrievers, settings, seen, (), options, ranks=False, fuse=fuse
            )
        return held_out_window(data, make_pipeline, retrievers, options)
    except DataError:
        return []


def _fusion_data(windows: Sequence[TrainingWindow]) -> list[FusionData]:
    return [window.fusion_data for window in windows if window.fusion_data is not None]


def _learn_to_rank(
    ranker: Ranker,
    windows: Sequence[TrainingWindow],
    fusion: Fusion,
    placement: Placement,
    settings: Training,
    options: FitOptions,
) -> LearningResult:
    """Fits the ranker, and compares it with the fusion and the best single source."""
    trainings = [w.candidates.fused(fusion).training for w in windows if w.candidates]
    evaluated = [w.evaluation.fused(fusion) for w in windows if w.evaluation]
    folds: list[Ranker] = []
    ranked: list[Figures] = []
    for place, window in enumerate(evaluated):
        others = [one for other, one in enumerate(trainings) if other != place]
        fold = ranker.clone().fit(TrainingSet.joined(others), options, validation=window.training)
        folds.append(fold)
        ranked.append(_ndcg(fold, window, placement.objective_weights))
    fused = [window.fusion_data.ndcg(window.candidates.score) for window in evaluated]
    alone = np.concatenate([window.fusion_data.by_source() for window in evaluated])
    single = alone[:, int(alone.mean(axis=0).argmax())]
    ours, theirs = np.concatenate(ranked), np.concatenate(fused)
    user = np.concatenate([window.fusion_data.user for window in evaluated])
    better = all(is_better(ours, other, user, options.seed) for other in (theirs, single))
    last = windows[-1]
    assert last.stale is not None  # noqa: S101 - there is a ranker
    stale = _ndcg(folds[-1], last.stale.fused(fusion), placement.objective_weights)
    users = evaluated[-1].fusion_data.user
    gain = UserBootstrap(users, options.seed).mean(ranked[-1] - stale)
    enabled, refit = better or not settings.require_improvement, bool(gain.high >= 0)
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
    return LearningResult(fusion, kept, enabled, notes, refit)


def _ndcg(ranker: Ranker, window: TrainingCandidates, value: Mapping[str, float]) -> Figures:
    """NDCG@10 of every evaluated request by the ranker; ties keep the order of the fusion."""
    candidates = window.candidates
    scores = ranker.score(window.requests, candidates, window.training.features).combined(value)
    order = np.lexsort((-candidates.score, -scores, candidates.rows))
    place = np.empty(len(order))
    place[order] = np.arange(len(order))
    return window.fusion_data.ndcg(-place)
