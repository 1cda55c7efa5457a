import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.times import MICROSECONDS, format_duration, format_moment, now, parse_duration
from tastemaker.errors import SettingError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 2_592_000),
        ("12h", 43_200),
        ("90m", 5400),
        ("1.5h", 5400),
        ("2w", 1_209_600),
        ("1s", 1),
    ],
)
def test_durations_read_as_written(text: str, seconds: int) -> None:
    assert parse_duration(text, "gap") == seconds * 10**6
    assert parse_duration(f" {text} ", "gap") == seconds * 10**6


@pytest.mark.parametrize(
    "text", ["", "30", "d", "30 d", "-3d", "3 days", "1e3d", "0d", "0.0000001s", "9" * 400 + "d"]
)
def test_anything_else_is_refused_with_name_value_and_cure(text: str) -> None:
    with pytest.raises(SettingError, match=r"'gap' must be a duration such as '30d'.*got '"):
        parse_duration(text, "gap")


@given(st.integers(1, 999), st.sampled_from("smhd"))
def test_a_formatted_duration_reads_back(number: int, unit: str) -> None:
    length = number * MICROSECONDS[unit]
    assert parse_duration(format_duration(length), "x") == pytest.approx(length, rel=0.006)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("30d", "30d"), ("24h", "1d"), ("36h", "36h"), ("90m", "90m"), ("60s", "1m"),
        ("59s", "59s"), ("1095d", "1095d"), ("5000s", "83.3m"),
    ],
)  # fmt: skip
def test_durations_are_shown_in_a_fitting_unit(text: str, shown: str) -> None:
    assert format_duration(parse_duration(text, "x")) == shown


def test_moments_are_shown_as_iso_8601_to_the_microsecond() -> None:
    assert format_moment(1_700_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert format_moment(1_700_000_000_123_457) == "2023-11-14T22:13:20.123457Z"
    assert format_moment(-1_000_000) == "1969-12-31T23:59:59Z"


def test_now_is_the_clock_in_microseconds() -> None:
    assert abs(now() / 1e6 - time.time()) < 60
