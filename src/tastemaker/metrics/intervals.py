"""Bootstrap intervals that resample users, since a user's requests are not independent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

REPLICATES = 1_000
LIST_REPLICATES = 200
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """`{"value", "low", "high"}`."""
        return {"value": self.value, "low": self.low, "high": self.high}


class UserBootstrap:
    """Resamples the users of one evaluation; every metric and system shares the same samples.

    Args:
        user: int[n], whose each request is.
        seed: of the samples.
    """

    def __init__(self, user: NDArray[np.integer], seed: int = 0) -> None:
        _, self._group = np.unique(user, return_inverse=True)
        self.users = int(self._group.max(initial=-1)) + 1
        self._seed = seed

    def mean(self, values: NDArray[np.floating]) -> Estimate:
        """The mean over requests, values float[n]; NaN values are left out."""
        return self.means(np.asarray(values)[:, None])[0]

    def means(self, values: NDArray[np.floating]) -> list[Estimate]:
        """The mean of each of m columns, values float[n × m]; NaN values are left out."""
        there = np.isfinite(values)
        filled = np.where(there, values, 0.0)
        by_user = csr_array(
            (np.ones(len(values)), (self._group, np.arange(len(values)))),
            shape=(self.users, len(values)),
        )
        sums, counts = by_user @ filled, by_user @ there.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            overall = sums.sum(axis=0) / counts.sum(axis=0)
            means = np.array([(w @ sums) / (w @ counts) for w in self._weights(REPLICATES)])
        intervals = [_quantiles(column[np.isfinite(column)]) for column in means.T]
        return [  # rounding alone can put the value of a constant column outside
            Estimate(value, min(low, value), max(high, value))
            for value, (low, high) in zip(overall.tolist(), intervals)
        ]

    def of_lists(
        self,
        rows: NDArray[np.int64],
        items: NDArray[np.int32],
        n_items: int,
        statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> Estimate:
        """A statistic of how often each item was listed.

        Fewer distinct users always list fewer distinct items, so resampling shifts these
        statistics by itself; the interval is the bootstrap's spread, centred on the value.

        Args:
            rows: int64[total], the request of each listed item.
            items: int32[total].
            n_items: how many items there are.
            statistic: [..., items] → [...], between 0 and 1.
        """
        ones = np.ones(len(items))
        shape = (self.users, n_items)
        shown = csr_array((ones, (self._group[rows], items)), shape=shape)
        value = float(statistic(np.asarray(shown.sum(axis=0), float)))
        replicates = np.array([statistic(w @ shown) for w in self._weights(LIST_REPLICATES)])
        low, high = _quantiles(replicates - replicates.mean())
        return Estimate(value, max(0.0, value + low), min(1.0, value + high))

    def _weights(self, replicates: int) -> Iterator[NDArray[np.float64]]:
        """How often each user stands in each resample."""
        random = np.random.default_rng(self._seed)
        draws = (random.integers(0, self.users, self.users) for _ in range(replicates))
        return (np.bincount(draw, minlength=self.users).astype(float) for draw in draws)


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
