"""Growing trees with LightGBM: the one file that imports it, loaded by `fit` and the fallback."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import FitOptions
from tastemaker.data.ragged import offsets_of
from tastemaker.errors import LibraryError
from tastemaker.ranking.rows import Rows
from tastemaker.threads import blas_threads

try:
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
        later: what to judge each number of trees by; None, all trees are kept.
        patience: trees without a better figure after which growing ends; 0, never.
        standard_errors: the fewest trees are kept whose NDCG is within so many standard errors of
            the best.
    """
    metric = _metric(later, ranks=parameters["objective"] == "lambdarank")
    threads = _threads(rows, options.threads)
    settings = parameters | {
        "metric": metric,
        "eval_at": [NDCG_AT],
        "seed": options.seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    watched = metric != "none"
    figures: list[float] = []
    smoothed: list[float] = []
    best, kept = -np.inf, 0
    with blas_threads(threads):  # LightGBM sets the limit of its library; this takes it back
        booster = _booster(rows, settings, later if watched else None)
        for _ in options.progress.track(range(trees), "GBM: trees", trees):
            exhausted = booster.update()
            grown = booster.current_iteration()
            figures.append(_figure(booster) if watched else float(grown))
            smoothed.append(float(np.mean(figures[-_SMOOTHED:])))
            if smoothed[-1] > best:
                best, kept = smoothed[-1], grown
            if exhausted or (patience and grown - kept >= patience):
                break
        if later is not None and metric == "ndcg" and standard_errors:
            enough = best - standard_errors * _standard_error(booster, kept, later)
            kept = 1 + next(place for place, figure in enumerate(smoothed) if figure >= enough)
    return _trimmed(booster.model_to_string(num_iteration=max(kept, 1)))


def _booster(rows: Rows, settings: dict[str, Any], later: Rows | None) -> lightgbm.Booster:
    """A model of no tree yet, with the rows to learn from and those to judge by."""
    data = lightgbm.Dataset(
        rows.values, rows.label, weight=rows.weight, group=rows.counts, params=settings
    )
    booster = lightgbm.Booster(settings, data)
    if later is not None:
        # A candidate that stands for others left out must not make its request count for more.
        weight = None if settings["metric"] == "ndcg" else later.weight
        # A data set made without parameters would set the number of threads back.
        judged = data.create_valid(
            later.values, later.label, weight=weight, group=later.counts, params=settings
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


def _figure(booster: lightgbm.Booster) -> float:
    """The metric on the later rows, more is better.

    Rounded, because its threads add up in any order.
    """
    result = booster.eval_valid()[0]
    value, more_is_better = round(float(result[2]), 9), result[3]
    return value if more_is_better else -value


def _standard_error(booster: lightgbm.Booster, trees: int, later: Rows) -> float:
    """Of the mean NDCG@10 of the first `trees` trees over the later requests with a choice."""
    scores = np.asarray(booster.predict(later.values, num_iteration=trees))
    row, offsets = np.repeat(np.arange(len(later.counts)), later.counts), offsets_of(later.counts)
    discount = 1 / np.log2(np.arange(2, 2 + int(later.counts.max())))
    discount[NDCG_AT:] = 0
    place = np.arange(len(row)) - np.repeat(offsets[:-1], later.counts)
    gain = 2.0**later.label - 1
    found, ideal = (
        np.bincount(row, gain[np.lexsort((-by, row))] * discount[place])
        for by in (scores, later.label)
    )
    with_choice = ideal > 0
    ndcg = found[with_choice] / ideal[with_choice]
    return float(ndcg.std() / np.sqrt(max(1, len(ndcg))))


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
