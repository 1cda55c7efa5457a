"""Calibration of raw scores to probabilities with two numbers fitted on later data."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]

_FLATTEST = 1e-3


def platt(raw: Floats, positive: NDArray[np.bool_], weight: Floats) -> tuple[float, float]:
    """The a > 0 and b for which sigmoid(a · raw + b) best predicts the labels (Platt 1999).

    Maximizes the weighted likelihood of Platt's smoothed targets, (N₊ + 1) / (N₊ + 2) and
    1 / (N₋ + 2), which keep a finite if the raw scores separate the labels. The mean prediction
    equals the mean target. The order is never inverted: a is at least 0.001.

    Args:
        raw: float64[rows], the raw scores.
        positive: bool[rows], the labels; both values must occur.
        weight: float64[rows], not all 0.
    """
    n_positive, n_negative = weight[positive].sum(), weight[~positive].sum()
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    share = weight / weight.sum()
    middle = float(share @ raw)
    centred = raw - middle
    # If all scores are equal, only the level can be fitted.
    spread = float(np.sqrt(share @ centred**2)) or 1.0
    scaled = centred / spread

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slope, level = parameters
        logit = slope * scaled + level
        error = share * (expit(logit) - target)
        value = share @ (np.logaddexp(0, logit) - target * logit)
        return float(value), np.array([error @ scaled, error.sum()])

    rate = float(share @ target)
    begin = np.array([spread, np.log(rate / (1 - rate))])
    found = minimize(
        loss,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=[(_FLATTEST * spread, None), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10 * rate},
    )
    slope, level = found.x
    return float(slope / spread), float(level - slope * middle / spread)
