"""Fits a placement's ranker over its past, and decides how old its sources are to be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tastemaker import metrics
from tastemaker.component import FitOptions, Ranker, Retriever, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.seen import SeenPolicy
from tastemaker.features import FeatureSet
from tastemaker.metrics import UserBootstrap
from tastemaker.pipeline.pipeline import REQUESTS_AT_A_TIME, Pipeline
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.travel import Slice, joined, noted, travel
from tastemaker.project import Training

_K = 10

Road = Callable[[Mapping[str, Retriever], Ranking | None], Pipeline]


@dataclass(frozen=True, slots=True)
class Learned:
    """What learning to rank came to.

    Attributes:
        last: the latest window, with its sources where these are to serve, else without: they
            would stand in memory beside those fitted anew.
        earned: whether the ranker did better than the fusion there, so that it is used.
        refit: whether it is no worse over sources fitted anew, so that they are.
        notes: rows, requests, what was dropped, and NDCG@10 in the latest window, by the ranker
            that has not learned from it: `merged` without the ranker, `fresh` over sources fitted
            at its start, `stale` over those of the window before.
    """

    last: Slice
    earned: bool
    refit: bool
    notes: dict[str, float]


def learn(
    ranker: Ranker,
    data: Dataset,
    road: Road,
    retrievers: Mapping[str, Retriever],
    settings: Training,
    seen: SeenPolicy,
    value: Mapping[str, float],
    options: FitOptions = FitOptions(),
) -> Learned:
    """Fits a ranker in place, on all windows but the last; that one stops and calibrates it.

    The ranker is then asked in the latest window over its own sources, fitted at the window's
    start, and over those of the window before. Only if it is not worse over the fresher ones, as
    far as users can tell (95 %, paired), may sources be fitted anew under it. One that orders no
    better than the fusion has not earned its place. One that has learns again from all windows.

    Args:
        ranker: to be fitted.
        data: everything that may be learned from.
        road: (fitted sources, ranking) → the placement's pipeline without rerankers.
        retrievers: the placement's sources, as settings.
        settings: the windows.
        seen: the placement's seen policy.
        value: what each objective is worth.
        options: seed, threads, memory budget, progress.

    Raises:
        ClockError, DataError, SettingError: as `travel` and `Ranker.fit` do.
    """
    slices = travel(
        data, lambda s: road(s, None), retrievers, settings, seen, ranker.objectives, options
    )
    counted = noted([part.training for part in slices])
    stale_sources, last = slices[-2].sources, slices[-1]
    training = joined([part.training for part in slices[:-1]])
    del slices  # each holds a copy of its share of the training
    ranker.fit(training, options, validation=last.training)
    ranking = Ranking(ranker, FeatureSet.of(last.task.world, last.sources), value)
    merged, fresh = _ndcg(road(last.sources, ranking), last.task)
    _, stale = _ndcg(road(stale_sources, ranking), last.task)
    fresher = UserBootstrap(last.task.user, options.seed).mean(fresh - stale)
    earned = bool(fresh.mean() > merged.mean()) or not settings.must_earn
    if earned:
        ranker.refit(training, options, validation=last.training)
    notes: dict[str, float] = {
        "training_rows": len(training),
        "validation_rows": len(last.training),
        **counted,
        "merged": float(merged.mean()),
        "fresh": float(fresh.mean()),
        "stale": float(stale.mean()),
    }
    refit = fresher.high >= 0
    kept = replace(last, sources={}) if refit or not earned else last
    return Learned(kept, earned, refit, notes)


def _ndcg(pipeline: Pipeline, task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """NDCG@10 of every request, by the order that comes to the ranker and by its own."""
    merged, ranked = [], []
    for start in range(0, len(task), REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(task)))
        answer = pipeline.recommend(task.requests.take(rows), _K, world=task.world, trace=True)
        answer.trace.require_whole()
        stages = {stage.name: stage.candidates for stage in answer.trace.stages}
        entries = slice(task.truth.offsets[rows[0]], task.truth.offsets[rows[-1] + 1])
        wanted = (task.truth.take(rows), task.gain[entries], _K)
        before = stages["filter"] or Candidates.none(len(rows))
        merged.append(metrics.ndcg(*metrics.gains_of(before.head(_K), *wanted)))
        ranked.append(metrics.ndcg(*metrics.gains_of(answer.candidates, *wanted)))
    return np.concatenate(merged), np.concatenate(ranked)
