import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.metrics import Estimate, UserBootstrap, coverage, gini


def clustered(
    random: np.random.Generator, users: int = 60, requests: int = 5, between: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """The user of each request, and values that differ more between users than within."""
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


@pytest.mark.parametrize("users", [3, 128, 384])
def test_equal_values_lie_in_their_interval_despite_rounding(users: int) -> None:
    found = UserBootstrap(np.arange(3 * users) // 3).mean(np.full(3 * users, 0.1))
    assert found.low <= found.value <= found.high
    assert width(found) < 1e-12


def test_about_95_of_100_intervals_contain_the_truth() -> None:
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(120):
        user, values = clustered(random)
        found = UserBootstrap(user, seed=trial).mean(values)
        covered += found.low <= 0 <= found.high
    assert 0.89 <= covered / 120 <= 0.99


def test_users_are_resampled_not_rows() -> None:
    user, values = clustered(np.random.default_rng(2), users=80, requests=10)
    by_user = UserBootstrap(user).mean(values)
    by_row = UserBootstrap(np.arange(len(user))).mean(values)
    assert by_user.value == pytest.approx(by_row.value)
    assert 2 < width(by_user) / width(by_row) < 4.5  # √10 if all values of a user are equal


def test_independent_rows_of_a_user_give_no_wider_interval() -> None:
    random = np.random.default_rng(3)
    user, values = np.repeat(np.arange(200), 5), random.normal(size=1_000)
    ratio = width(UserBootstrap(user).mean(values)) / width(
        UserBootstrap(np.arange(1_000)).mean(values)
    )
    assert 0.8 < ratio < 1.25


def test_the_width_is_that_of_a_mean() -> None:
    values = np.random.default_rng(4).normal(size=400)
    found = UserBootstrap(np.arange(400)).mean(values)
    assert width(found) == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_users_with_more_requests_count_for_more() -> None:
    found = UserBootstrap(np.array([0, 0, 0, 1])).mean(np.array([1.0, 1, 1, 0]))
    assert found.value == 0.75


def test_missing_values_are_ignored() -> None:
    user = np.array([0, 0, 1, 2, 3])
    with_gaps = UserBootstrap(user).mean(np.array([1.0, np.nan, 3.0, np.nan, 2.0]))
    assert with_gaps.value == 2
    assert 1 <= with_gaps.low <= with_gaps.high <= 3


def test_only_missing_values_have_no_mean() -> None:
    found = UserBootstrap(np.arange(3)).mean(np.full(3, np.nan))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_one_user_has_an_interval_of_no_width() -> None:
    found = UserBootstrap(np.zeros(4, int)).mean(np.array([0.1, 0.2, 0.3, 0.7]))
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(found.value)


def test_columns_are_measured_as_if_alone() -> None:
    user, values = clustered(np.random.default_rng(5), users=20)
    columns = np.column_stack([values, -values, np.where(values > 0, values, np.nan)])
    bootstrap = UserBootstrap(user, seed=6)
    assert bootstrap.means(columns) == [bootstrap.mean(column) for column in columns.T]


def test_the_seed_decides_the_samples() -> None:
    user, values = clustered(np.random.default_rng(7), users=20)
    one, again, other = (UserBootstrap(user, seed).mean(values) for seed in (1, 1, 2))
    assert one == again
    assert (one.low, one.high) != (other.low, other.high)


def test_the_user_numbers_do_not_matter() -> None:
    user, values = clustered(np.random.default_rng(8), users=20)
    assert UserBootstrap(user).mean(values) == UserBootstrap(user * 1000 + 7).mean(values)


@pytest.mark.parametrize("statistic", [coverage, gini])
def test_a_statistic_of_all_lists_lies_in_its_interval(statistic) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(9)
    user, rows = np.repeat(np.arange(40), 3), np.repeat(np.arange(120), 5)
    items = random.zipf(1.3, len(rows)).clip(max=200).astype(np.int32) - 1
    found = UserBootstrap(user).of_lists(rows, items, 200, statistic)
    shown = np.bincount(items, minlength=200).astype(float)
    assert found.value == pytest.approx(float(statistic(shown)))
    assert found.low < found.value < found.high


def test_empty_lists_cover_nothing() -> None:
    nothing = np.empty(0, np.int64)
    found = UserBootstrap(np.arange(3)).of_lists(nothing, nothing.astype(np.int32), 9, coverage)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_an_estimate_has_three_numbers() -> None:
    assert Estimate(0.2, 0.1, 0.4).to_dict() == {"value": 0.2, "low": 0.1, "high": 0.4}
