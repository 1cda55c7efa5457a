"""Fits a placement's ranker over its past, and decides how old its sources are to be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker import metrics
from tastemaker.component import FitOptions, Ranker, Retriever, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.seen import SeenPolicy
from tastemaker.features import FeatureSet
from tastemaker.metrics import UserBootstrap
from tastemaker.pipeline.pipeline import Pipeline
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.travel import Slice, joined, travel
from tastemaker.project import Training

_K = 10
_REQUESTS_AT_A_TIME = 1_024

Road = Callable[[Mapping[str, Retriever], Ranking | None], Pipeline]


@dataclass(frozen=True, slots=True)
class Learned:
    """What learning to rank came to.

    Attributes:
        last: the latest window; its sources serve where refitted ones would make the ranker worse.
        refit: whether the ranker is no worse over sources fitted anew, so that they are.
        notes: rows, requests, what was dropped, and NDCG@10 in the latest window: `merged`
            without the ranker, `fresh` over sources fitted at its start, `stale` over those of
            the window before.
    """

    last: Slice
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
    far as users can tell (95 %, paired), may sources be fitted anew under it.

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
    *earlier, last = slices
    training = joined([part.training for part in earlier])
    ranker.fit(training, options, validation=last.training)
    ranking = Ranking(ranker, FeatureSet.of(last.task.world, last.sources), value)
    merged = _ndcg(road(last.sources, None), last.task)
    fresh = _ndcg(road(last.sources, ranking), last.task)
    stale = _ndcg(road(earlier[-1].sources, ranking), last.task)
    gain = UserBootstrap(last.task.user, options.seed).mean(fresh - stale)
    notes = {
        "training_rows": len(training),
        "validation_rows": len(last.training),
        **joined([part.training for part in slices]).notes,
        "merged": float(merged.mean()),
        "fresh": float(fresh.mean()),
        "stale": float(stale.mean()),
    }
    return Learned(last, gain.high >= 0, notes)


def _ndcg(pipeline: Pipeline, task: Task) -> NDArray[np.float64]:
    """NDCG@10 of every request."""
    parts = []
    for start in range(0, len(task), _REQUESTS_AT_A_TIME):
        rows = np.arange(start, min(start + _REQUESTS_AT_A_TIME, len(task)))
        asked = task.requests.take(rows)
        found: Candidates = pipeline.recommend(asked, _K, world=task.world).candidates
        entries = slice(task.truth.offsets[rows[0]], task.truth.offsets[rows[-1] + 1])
        gains, ideal = metrics.gains_of(found, task.truth.take(rows), task.gain[entries], _K)
        parts.append(metrics.ndcg(gains, ideal))
    return np.concatenate(parts)
