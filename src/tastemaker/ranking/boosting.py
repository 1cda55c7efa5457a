"""Training with LightGBM: the only module that imports it, loaded by `fit` and the fallback."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.component import FitOptions
from tastemaker.data.ragged import offsets_of
from tastemaker.errors import LibraryError
from tastemaker.ranking.rows import Rows
from tastemaker.threads import blas_threads, sleeping_openmp

try:
    with sleeping_openmp():
        import lightgbm
except (ImportError, OSError) as problem:  # its wheel requires OpenMP of the system
    raise LibraryError("lightgbm", problem) from None

NDCG_AT = 10
_FEWEST_REQUESTS = 20
"""Below this number of requests with a choice, NDCG is too coarse for early stopping."""
_SMOOTHED = 10
"""Trees over which the metric is averaged: NDCG of a few requests is noisy."""
_VALUES_PER_THREAD = 200_000


def grow(
    rows: Rows,
    parameters: dict[str, Any],
    trees: int,
    options: FitOptions,
    *,
    start: tuple[float, float] = (0.0, 0.0),
    later: Rows | None = None,
    patience: int = 0,
    standard_errors: float = 0.0,
) -> str:
    """LightGBM's text model of at most `trees` trees, cut after the last one needed.

    Args:
        rows: the rows to learn from.
        parameters: parameters of LightGBM; seed, threads and determinism are added.
        trees: the most trees to grow.
        options: seed, threads, progress.
        start: a and b: the trees add to a · fused + b.
        later: the rows for early stopping; None keeps all trees.
        patience: growing ends after this number of trees without a better metric; 0 means never.
        standard_errors: the model keeps the fewest trees whose NDCG is worse than the best by less
            than this number of standard errors of the difference.
    """
    metric = _metric(later, ranks=parameters["objective"] == "lambdarank")
    threads = _threads(rows, options.threads)
    settings = parameters | {
        "metric": "none" if metric == "ndcg" else metric,
        "eval_at": [NDCG_AT],
        "seed": options.seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    has_metric = metric != "none"
    ndcg = _RequestNDCG(later) if later is not None and metric == "ndcg" else None
    values: list[float] = []
    smoothed: list[float] = []
    best, kept = -np.inf, 0
    with blas_threads(threads):  # LightGBM changes the limit of its library; this restores it
        booster = _booster(rows, settings, start, later if has_metric else None)
        for _ in options.progress.track(range(trees), "GBM: trees", trees):
            exhausted = booster.update()
            grown = booster.current_iteration()
            values.append(_metric_value(booster, ndcg) if has_metric else float(grown))
            smoothed.append(float(np.mean(values[-_SMOOTHED:])))
            if smoothed[-1] > best:
                best, kept = smoothed[-1], grown
            if exhausted or (patience and grown - kept >= patience):
                break
    if ndcg is not None and standard_errors:
        kept = ndcg.fewest(kept, smoothed, standard_errors)
    return _trim(booster.model_to_string(num_iteration=max(kept, 1)))


def _booster(
    rows: Rows, settings: dict[str, Any], start: tuple[float, float], later: Rows | None
) -> lightgbm.Booster:
    """A model without trees, with its training rows and early-stopping rows."""
    slope, level = start
    data = lightgbm.Dataset(
        rows.values,
        rows.label,
        weight=rows.weight,
        group=rows.counts,
        init_score=slope * rows.fused + level if any(start) else None,
        params=settings,
    )
    booster = lightgbm.Booster(settings, data)
    if later is not None:
        # A data set made without parameters resets the number of threads.
        validation = data.create_valid(
            later.values,
            later.label,
            weight=later.weight,
            group=later.counts,
            init_score=slope * later.fused + level if any(start) else None,
            params=settings,
        )
        booster.add_valid(validation, "later")
    return booster


def _threads(rows: Rows, available: int) -> int:
    """The number of threads for some rows: with little work, threads mostly wait."""
    return min(available, 1 + rows.values.size // _VALUES_PER_THREAD)


def _metric(later: Rows | None, *, ranks: bool) -> str:
    if later is None:
        return "none"
    if later.choices() >= (1 if ranks else _FEWEST_REQUESTS):
        return "ndcg"
    return "none" if ranks else "binary_logloss"


def _metric_value(booster: lightgbm.Booster, ndcg: "_RequestNDCG | None") -> float:
    """The metric on the later rows; more is better.

    It is rounded, because LightGBM's threads add up in any order.
    """
    if ndcg is not None:
        booster.eval_valid(ndcg)
        return ndcg.latest
    result = booster.eval_valid()[0]
    value, more_is_better = round(float(result[2]), 9), result[3]
    return value if more_is_better else -value


class _RequestNDCG:
    """NDCG@10 of each later request with a choice, after each tree."""

    def __init__(self, later: Rows) -> None:
        self._offsets = offsets_of(later.counts)
        self._gain = 2.0 ** later.label.astype(np.float64) - 1
        ideal = _dcg(self._offsets, later.label.astype(np.float64), self._gain)
        self._choice = ideal > 0
        self._ideal = ideal[self._choice]
        self._by_tree: list[NDArray[np.float32]] = []

    def __call__(self, scores: NDArray[np.float64], _: Any) -> tuple[str, float, bool]:
        """Evaluates the latest scores of the later rows, in the form that LightGBM expects."""
        found = _dcg(self._offsets, scores, self._gain)[self._choice]
        self._by_tree.append((found / self._ideal).astype(np.float32))
        return "ndcg_of_requests", self.latest, True

    @property
    def latest(self) -> float:
        """The mean NDCG after the latest tree."""
        return float(self._by_tree[-1].mean(dtype=np.float64))

    def fewest(self, best: int, smoothed: Sequence[float], standard_errors: float) -> int:
        """The fewest trees whose NDCG is within `standard_errors` of the best."""
        for trees in range(1, best):
            gain = self._by_tree[best - 1] - self._by_tree[trees - 1]
            error = float(gain.std(dtype=np.float64)) / np.sqrt(max(1, len(gain)))
            if smoothed[trees - 1] >= smoothed[best - 1] - standard_errors * error:
                return trees
        return best


@kernel
def _dcg(offsets, score, gain):  # type: ignore[no-untyped-def]
    """The discounted gain of the ten best rows of each request, float64[requests]."""
    sums = np.zeros(len(offsets) - 1)
    top = np.empty(NDCG_AT, np.int64)
    for row in range(len(sums)):
        count = 0
        for entry in range(offsets[row], offsets[row + 1]):
            if count == NDCG_AT and score[entry] <= score[top[NDCG_AT - 1]]:
                continue
            place = min(count, NDCG_AT - 1)
            while place > 0 and score[top[place - 1]] < score[entry]:
                top[place] = top[place - 1]
                place -= 1
            top[place] = entry
            count = min(count + 1, NDCG_AT)
        for place in range(count):
            sums[row] += gain[top[place]] / np.log2(place + 2)
    return sums


def _trim(text: str) -> str:
    """The model without the parameters after its trees, which include the number of threads."""
    return text[: text.index("\nend of trees")] + "\nend of trees\n"


class LibraryTrees:
    """The interface of `Trees` on LightGBM, for models that `Trees` does not support.

    Attributes:
        gain: float64[columns], the gain of the splits on each column in training.
    """

    def __init__(self, text: str) -> None:
        self._booster = lightgbm.Booster(model_str=text)
        self.gain: NDArray[np.float64] = self._booster.feature_importance("gain")

    def __len__(self) -> int:
        return self._booster.num_trees()

    def raw(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The raw score of each row, float64[rows]."""
        if not len(values):
            return np.zeros(0)
        return np.asarray(self._booster.predict(values, raw_score=True, num_threads=1))

    def contributions(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The contribution of each column (Shapley values, Lundberg et al. 2018)."""
        if not len(values):
            return np.zeros(values.shape)
        found = np.asarray(self._booster.predict(values, pred_contrib=True, num_threads=1))
        return found[:, :-1]
