"""A source's answer is used only if it is one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.candidates import Candidates
from tastemaker.pipeline.sources import _checked


def answer(offsets: list[int], items: list[int], scores: int | None = None) -> Candidates:
    count = len(items) if scores is None else scores
    return Candidates(np.array(offsets), np.array(items, np.int32), np.ones(count, np.float32))


def test_a_valid_result_is_accepted() -> None:
    found = answer([0, 2, 3], [4, 1, 4])
    assert _checked(found, 2) is found


@pytest.mark.parametrize("offsets", [[0, 2, 5], [0, 3, 2], [0, 2, 2], [1, 2, 3], [0, -1, 3]])
def test_offsets_that_do_not_fit_the_items_are_rejected(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets that do not fit its 3 items"):
        _checked(answer(offsets, [1, 2, 3]), 2)


def test_too_few_scores_are_rejected() -> None:
    with pytest.raises(ValueError, match="do not fit its 3 items"):
        _checked(answer([0, 3], [1, 2, 3], scores=2), 1)


def test_a_wrong_number_of_lists_is_rejected() -> None:
    with pytest.raises(ValueError, match="returned 1 lists for 2 requests"):
        _checked(answer([0, 3], [1, 2, 3]), 2)


@given(st.lists(st.lists(st.integers(-1, 30), max_size=12), min_size=1, max_size=5))
def test_an_item_twice_in_one_list_is_rejected(rows: list[list[int]]) -> None:
    offsets = np.cumsum([0, *map(len, rows)]).tolist()
    found = answer(offsets, [item for row in rows for item in row])
    if all(len(set(row)) == len(row) for row in rows):
        assert _checked(found, len(rows)) is found
    else:
        with pytest.raises(ValueError, match="an item twice in one list"):
            _checked(found, len(rows))
