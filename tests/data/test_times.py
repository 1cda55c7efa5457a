import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.times import (
    MICROSECONDS,
    format_duration,
    format_moment,
    now,
    parse_duration,
    parse_moment,
)
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
def test_durations_are_parsed(text: str, seconds: int) -> None:
    assert parse_duration(text, "gap") == seconds * 10**6
    assert parse_duration(f" {text} ", "gap") == seconds * 10**6


@pytest.mark.parametrize(
    "text", ["", "30", "d", "30 d", "-3d", "3 days", "1e3d", "0d", "0.0000001s", "9" * 400 + "d"]
)
def test_an_invalid_duration_is_rejected_with_name_and_value(text: str) -> None:
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
def test_durations_are_shown_in_a_suitable_unit(text: str, shown: str) -> None:
    assert format_duration(parse_duration(text, "x")) == shown


def test_moments_are_shown_as_iso_8601_to_the_microsecond() -> None:
    assert format_moment(1_700_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert format_moment(1_700_000_000_123_457) == "2023-11-14T22:13:20.123457Z"
    assert format_moment(-1_000_000) == "1969-12-31T23:59:59Z"


def test_now_is_the_clock_in_microseconds() -> None:
    assert abs(now() / 1e6 - time.time()) < 60


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2024-02-29T12:00:00Z", 1_709_208_000_000_000),
        ("2024-02-29t12:00", 1_709_208_000_000_000),
        (" 2024-02-29 12:00:00 +02:00 ", 1_709_200_800_000_000),
        ("2024-02-29 12:00:00.1234567 UTC", 1_709_208_000_123_456),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("1969-12-31T23:59:59.9", -100_000),
        ("1700000000", 1_700_000_000_000_000),
        ("1.7e12", 1_700_000_000_000_000),
        (1_700_000_000.25, 1_700_000_000_250_000),
        (99_999_999_999, 99_999_999_999_000_000),
        (1_700_000_000_123, 1_700_000_000_123_000),
        (1_700_000_000_123_456, 1_700_000_000_123_456),
        (1_700_000_000_123_456_789, 1_700_000_000_123_456),
        ("20240229", 1_709_164_800_000_000),
        (20_240_229, 1_709_164_800_000_000),
        (1995, 788_918_400_000_000),
        ("2024-03", 1_709_251_200_000_000),
    ],
)
def test_a_moment_is_parsed_like_a_column_of_times(given: object, moment: int) -> None:
    assert parse_moment(given) == moment


@pytest.mark.parametrize(
    "given",
    [
        "", "soon", "2024-02-30", "2024-2-9", "2024-02-29T24:00", "2024-02-29T12",
        "2024-02-29T12:00:61", "2024-02-29T12:00+24:00", "2024-02-29Z", "2024-13", True, None,
        float("nan"), 1 << 62, [1],
    ],
)  # fmt: skip
def test_a_value_that_is_not_a_moment_is_none(given: object) -> None:
    assert parse_moment(given) is None
