"""Bootstrap intervals over users, because the requests of a user are not independent."""

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
    """Resamples the users of one evaluation; all metrics and systems share the same samples.

    Args:
        user: int[n], the user of each request.
        seed: the seed of the samples.
    """

    def __init__(self, user: NDArray[np.integer], seed: int = 0) -> None:
        _, self._group = np.unique(user, return_inverse=True)
        self.users = int(self._group.max(initial=-1)) + 1
        self._seed = seed

    def mean(self, values: NDArray[np.floating]) -> Estimate:
        """The mean over requests, values float[n]; NaN values are ignored."""
        return self.means(np.asarray(values)[:, None])[0]

    def means(self, values: NDArray[np.floating]) -> list[Estimate]:
        """The mean of each of m columns, values float[n × m]; NaN values are ignored."""
        is_finite = np.isfinite(values)
        filled = np.where(is_finite, values, 0.0)
        by_user = csr_array(
            (np.ones(len(values)), (self._group, np.arange(len(values)))),
            shape=(self.users, len(values)),
        )
        sums, counts = by_user @ filled, by_user @ is_finite.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            overall = sums.sum(axis=0) / counts.sum(axis=0)
            means = np.array([(w @ sums) / (w @ counts) for w in self._weights(REPLICATES)])
        intervals = [_quantiles(column[np.isfinite(column)]) for column in means.T]
        return [  # rounding can put the value of a constant column outside the interval
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
        """A statistic of how often each item is listed.

        A resample has fewer distinct users and therefore fewer distinct items, which shifts these
        statistics. The interval is the spread of the bootstrap, centred on the value.

        Args:
            rows: int64[total], the request of each listed item.
            items: int32[total], the listed items.
            n_items: the number of items of the catalogue.
            statistic: a function [..., items] → [...] with values between 0 and 1.
        """
        ones = np.ones(len(items))
        shape = (self.users, n_items)
        shown = csr_array((ones, (self._group[rows], items)), shape=shape)
        value = float(statistic(np.asarray(shown.sum(axis=0), float)))
        replicates = np.array([statistic(w @ shown) for w in self._weights(LIST_REPLICATES)])
        low, high = _quantiles(replicates - replicates.mean())
        return Estimate(value, max(0.0, value + low), min(1.0, value + high))

    def _weights(self, replicates: int) -> Iterator[NDArray[np.float64]]:
        """How often each resample contains each user."""
        random = np.random.default_rng(self._seed)
        draws = (random.integers(0, self.users, self.users) for _ in range(replicates))
        return (np.bincount(draw, minlength=self.users).astype(float) for draw in draws)


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
