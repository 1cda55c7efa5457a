"""Numbers and ids in common formats."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.cells import numbers
from tastemaker.data.schema import Decimal
from tastemaker.data.table import frame_table
from tastemaker.errors import DataError


def read(cells: Any, decimal: Decimal = "auto") -> list[float | None]:
    frame = pl.LazyFrame({"x": cells})
    number = numbers(frame_table(frame, "t"), "x", frame.collect_schema(), decimal)
    return frame.select(number).collect().to_series().to_list()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0,5", "4", "3,0"], [0.5, 4.0, 3.0]),
        (["1.234,5", "12.345.678,25", "1.234"], [1234.5, 12_345_678.25, 1234.0]),
        (["1,234.5", "1,234,567", "1,234"], [1234.5, 1_234_567.0, 1234.0]),
        (["0,5", "1,234"], [0.5, 1.234]),
        (["1,234", "2,345"], [None, None]),
        (["1.234", "2"], [1.234, 2.0]),
        (["True", "false", "YES", "n"], [1.0, 0.0, 1.0, 0.0]),
        (["-3", "+4", "1e3", " 7 "], [-3.0, 4.0, 1000.0, 7.0]),
        (["good", "inf", "nan", "", None], [None] * 5),
        ([True, False, None], [1.0, 0.0, None]),
        ([5, 7], [5.0, 7.0]),
    ],
)
def test_the_number_format_is_detected_per_cell(
    cells: list[Any], expected: list[float | None]
) -> None:
    assert read(cells) == expected


def test_a_decimal_mark_that_is_set_decides() -> None:
    assert read(["1,234", "1.234"], ",") == [1.234, 1234.0]
    assert read(["1,234", "1.234"], ".") == [1234.0, 1.234]
    assert read(["0,5"], ".") == [None]


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_any_number_is_read_back_with_either_mark(values: list[float]) -> None:
    plain = [f"{value:.2f}" for value in values]
    expected = [float(text) for text in plain]
    assert read(plain) == expected
    assert read([text.replace(".", ",") for text in plain]) == expected
    assert read([f"{value:,.2f}" for value in values]) == expected


def test_a_column_that_cannot_hold_numbers_is_refused() -> None:
    with pytest.raises(DataError, match=r"t: the column 'x' holds List.*, but numbers are expect"):
        read([[1.0], [2.0]])
