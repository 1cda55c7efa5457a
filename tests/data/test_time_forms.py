"""The time format of a column is detected from the whole column."""

import polars as pl
import pytest

from tastemaker.data.time_forms import is_ambiguous, time_form


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["2010-01-01", "2010-01-02T10:00", "2011-02"], "iso"),
        (["12/1/2010 8:26", "12/13/2010 9:02"], "%m/%d/%Y %H:%M"),
        (["13/2/2010", "3/4/2010"], "%d/%m/%Y"),
        (["13/2/10"], "%d/%m/%y"),
        (["02 28, 2014", "3 1, 2014"], "%m %d, %Y"),
        (["01-Jan-1995", "14-Feb-1996"], "%d-%b-%Y"),
        (["1/2/2010 3:04 PM"], "%m/%d/%Y %I:%M %p"),
        (["Tue May 31 17:46:55 +0800 2011"], "%a %b %d %H:%M:%S %z %Y"),
        (["x", "y"], None),
        (["1", "20240101"], None),
        (["2024-01-01", "0"], None),
        ([None, ""], None),
    ],
)
def test_the_format_of_times_is_detected(cells: list[str | None], form: str | None) -> None:
    assert time_form(pl.Series(cells, dtype=pl.String)) == form


def test_one_odd_cell_does_not_hide_the_format() -> None:
    days = [f"2024-01-{day:02}T{hour:02}:00" for day in range(1, 29) for hour in range(24)]
    assert time_form(pl.Series([*days, "0"])) == "iso"


def test_a_few_cells_that_fit_are_not_enough() -> None:
    assert time_form(pl.Series(["2024-01-01", *(f"word {i}" for i in range(50))])) is None


def test_day_and_month_may_be_ambiguous() -> None:
    assert is_ambiguous(pl.Series(["1/2/2010", "3/4/2010"]), "%m/%d/%Y")
    assert not is_ambiguous(pl.Series(["1/2/2010", "3/14/2010"]), "%m/%d/%Y")
