import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.store.packing import packed, unpacked

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.integers(), st.text(max_size=3),
    st.floats(width=32), st.floats(), st.sampled_from([0.0, -0.0, 1.0, 1, True]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.sampled_from(["a", "b", "c", ""]), inner, max_size=3),
        st.integers(1, 70).flatmap(lambda n: st.lists(st.sampled_from("xyz\\{"), min_size=n)),
        inner.map(lambda one: [one] * 3),
    ),
    max_leaves=25,
)


def round_trip(value: Any) -> Any:
    numbers: list[float] = []
    text = json.dumps(packed(value, numbers))
    return unpacked(json.loads(text), np.array(numbers, np.float32))


def shown(value: Any) -> str:
    """A value with all that `==` does not tell: 1 and 1.0, 0.0 and −0.0, NaN and NaN."""
    return json.dumps(value, sort_keys=True)


@given(JSON)
def test_whatever_is_packed_comes_back(value: Any) -> None:
    assert shown(round_trip(value)) == shown(value)


def test_more_texts_than_there_are_signs_come_back() -> None:
    texts = [f"t{n % 80}" for n in range(200)]
    assert round_trip(texts) == texts
    few = [f"t{n % 60}" for n in range(200)]
    assert round_trip(few) == few


def test_numbers_that_are_float32_leave_the_json_and_others_stay() -> None:
    numbers: list[float] = []
    told = packed({"short": [0.5, math.nan, 2.0], "long": [0.1, 0.2]}, numbers)
    assert len(numbers) == 3
    assert json.dumps(told) == '{"short": ["f", 3], "long": ["v", 0.1, 0.2]}'


def test_objects_that_are_alike_name_their_fields_once() -> None:
    rows = [{"item_id": str(n), "kind": "source"} for n in range(20)]
    told = json.dumps(packed(rows, []))
    assert told.count("item_id") == told.count("source") == 1


@pytest.mark.parametrize("damaged", [["?"], ["f", 9], ["l", ["v", 2], ["v", 1]], ["t", "0"], ["o"]])
def test_what_nobody_packed_is_no_value(damaged: Any) -> None:
    with pytest.raises((ValueError, TypeError, LookupError, RuntimeError)):
        unpacked(damaged, np.zeros(1, np.float32))
