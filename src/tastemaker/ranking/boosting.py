"""Growing trees with LightGBM: the one file that imports it, loaded by `fit` and the fallback."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import FitOptions
from tastemaker.data.ragged import offsets_of
from tastemaker.errors import LibraryError
from tastemaker.ranking.rows import Rows
from tastemaker.threads import blas_threads, sleeping_openmp

try:
    with sleeping_openmp():
        import lightgbm
except (ImportError, OSError) as problem:  # its wheel leaves OpenMP to the system
    raise LibraryError("lightgbm", problem) from None

NDCG_AT = 10
_FEWEST_REQUESTS = 20
"""Below so many requests with a choice, NDCG is too coarse to stop by."""
_SMOOTHED = 10
"""Trees over which the figure is averaged: NDCG of a few requests jumps from tree to tree."""
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
    """Grows at most `trees` trees and returns LightGBM's text model of the first ones that do.

    Args:
        rows: what to learn from.
        parameters: of LightGBM; seed, threads and determinism are added.
        trees: how many at most.
        options: seed, threads, progress.
        start: a and b: the trees add to a · fused + b.
        later: what to judge each number of trees by; None, all trees are kept.
        patience: trees without a better figure after which growing ends; 0, never.
        standard_errors: the fewest trees are kept whose NDCG is worse than the best by less than
            so many standard errors of the difference.
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
    watched = metric != "none"
    judge = _Judge(later) if later is not None and metric == "ndcg" else None
    figures: list[float] = []
    smoothed: list[float] = []
    best, kept = -np.inf, 0
    with blas_threads(threads):  # LightGBM sets the limit of its library; this takes it back
        booster = _booster(rows, settings, start, later if watched else None)
        for _ in options.progress.track(range(trees), "GBM: trees", trees):
            exhausted = booster.update()
            grown = booster.current_iteration()
            figures.append(_figure(booster, judge) if watched else float(grown))
            smoothed.append(float(np.mean(figures[-_SMOOTHED:])))
            if smoothed[-1] > best:
                best, kept = smoothed[-1], grown
            if exhausted or (patience and grown - kept >= patience):
                break
    if judge is not None and standard_errors:
        kept = judge.fewest(kept, smoothed, standard_errors)
    return _trimmed(booster.model_to_string(num_iteration=max(kept, 1)))


def _booster(
    rows: Rows, settings: dict[str, Any], start: tuple[float, float], later: Rows | None
) -> lightgbm.Booster:
    """A model of no tree yet, with the rows to learn from and those to judge by."""
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
        # A data set made without parameters would set the number of threads back.
        judged = data.create_valid(
            later.values,
            later.label,
            weight=later.weight,
            group=later.counts,
            init_score=slope * later.fused + level if any(start) else None,
            params=settings,
        )
        booster.add_valid(judged, "later")
    return booster


def _threads(rows: Rows, available: int) -> int:
    """Threads with little to do wait for each other longer than they work."""
    return min(available, 1 + rows.values.size // _VALUES_PER_THREAD)


def _metric(later: Rows | None, *, ranks: bool) -> str:
    if later is None:
        return "none"
    if later.choices() >= (1 if ranks else _FEWEST_REQUESTS):
        return "ndcg"
    return "none" if ranks else "binary_logloss"


def _figure(booster: lightgbm.Booster, judge: "_Judge | None") -> float:
    """The metric on the later rows, more is better.

    Rounded, because its threads add up in any order.
    """
    if judge is not None:
        booster.eval_valid(judge)
        return judge.latest
    result = booster.eval_valid()[0]
    value, more_is_better = round(float(result[2]), 9), result[3]
    return value if more_is_better else -value


class _Judge:
    """NDCG@10 of every later request with a choice, after each tree."""

    def __init__(self, later: Rows) -> None:
        self._row = np.repeat(np.arange(len(later.counts)), later.counts)
        self._gain = 2.0**later.label - 1
        place = np.arange(len(self._row)) - np.repeat(offsets_of(later.counts)[:-1], later.counts)
        self._discount = np.where(place < NDCG_AT, 1 / np.log2(place + 2), 0.0)
        self._ideal = self._dcg(later.label)
        self._by_tree: list[NDArray[np.float32]] = []

    def __call__(self, scores: NDArray[np.float64], _: Any) -> tuple[str, float, bool]:
        """Judges the latest scores of the later rows, as LightGBM gives them."""
        choice = self._ideal > 0
        self._by_tree.append((self._dcg(scores)[choice] / self._ideal[choice]).astype(np.float32))
        return "ndcg_of_requests", self.latest, True

    @property
    def latest(self) -> float:
        """The mean after the latest tree."""
        return float(self._by_tree[-1].mean(dtype=np.float64))

    def fewest(self, best: int, smoothed: Sequence[float], standard_errors: float) -> int:
        """The least number of trees whose figure is no worse than the best's, chance aside."""
        for trees in range(1, best):
            gain = self._by_tree[best - 1] - self._by_tree[trees - 1]
            error = float(gain.std(dtype=np.float64)) / np.sqrt(max(1, len(gain)))
            if smoothed[trees - 1] >= smoothed[best - 1] - standard_errors * error:
                return trees
        return best

    def _dcg(self, by: NDArray[np.floating]) -> NDArray[np.float64]:
        order = np.lexsort((-by, self._row))
        return np.bincount(self._row, self._gain[order] * self._discount).astype(np.float64)


def _trimmed(text: str) -> str:
    """The model without what follows its trees: parameters, among them the threads it was given."""
    return text[: text.index("\nend of trees")] + "\nend of trees\n"


class LibraryTrees:
    """What `Trees` does, done by LightGBM: for models that `Trees` does not know.

    Attributes:
        gain: float64[columns], what the splits on each column gained in training.
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
        """What each column adds (Shapley values of the trees, Lundberg et al. 2018)."""
        if not len(values):
            return np.zeros(values.shape)
        found = np.asarray(self._booster.predict(values, pred_contrib=True, num_threads=1))
        return found[:, :-1]
