import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.metrics import Estimate, UserBootstrap, coverage, gini


def clustered(
    random: np.random.Generator, users: int = 60, requests: int = 5, between: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Whose each request is, and values that differ more between users than within."""
    user = np.repeat(np.arange(users), requests)
    values = between * random.normal(size=users)[user] + 0.3 * random.normal(size=len(user))
    return user, values


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.3, 1.0])), min_size=1),
    st.integers(0, 3),
)
def test_an_interval_contains_its_value(rows: list[tuple[int, float]], seed: int) -> None:
    user, values = np.array([u for u, _ in rows]), np.array([v for _, v in rows])
    found = UserBootstrap(user, seed).mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.low <= found.value <= found.high


def test_about_95_of_100_intervals_contain_the_truth() -> None:
    random = np.random.default_rng(11)
    hits = 0
    for trial in range(200):
        found = UserBootstrap(*_first(clustered(random)), seed=trial)
        estimate = found[0].mean(found[1]) if isinstance(found, tuple) else None
        hits += estimate is not None and estimate.low <= 0 <= estimate.high
    assert 0.90 <= hits / 200 <= 0.985
