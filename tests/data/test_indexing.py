from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.indexing import merged_ids


@pytest.mark.parametrize("make", [str, int], ids=["text", "whole numbers"])
@given(st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)))
def test_merged_ids_are_sorted_text_with_correct_positions(
    make: Callable[[int], Any], first: list[int], second: list[int]
) -> None:
    kind = pl.String if make is str else pl.Int64
    columns = (
        pl.Series([make(i) for i in first], dtype=kind),
        pl.Series(map(str, second), dtype=pl.String),
    )
    ids, codes = merged_ids(columns)
    assert ids == sorted({str(i) for i in [*first, *second]})
    assert [ids[code] for code in codes[0].to_list()] == [str(i) for i in first]
    assert [ids[code] for code in codes[1].to_list()] == [str(i) for i in second]
