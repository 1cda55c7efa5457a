"""The hash set of items for kernels, compared with Python sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.item_table import item_table, slot_of
from tastemaker.data.ragged import offsets_of

# including items whose slots collide in a small table, and −1, which is not an item
items = st.one_of(st.integers(-1, 40), st.integers(-1, 2**31 - 1))


@given(st.lists(st.lists(items, max_size=40), max_size=5), st.lists(items, max_size=20))
def test_a_table_contains_only_items_of_its_request(
    rows: list[list[int]], others: list[int]
) -> None:
    held, requests = item_table(offsets_of([len(row) for row in rows]))
    for request, row in enumerate(rows):
        known = set[int]()
        for item in row:
            slot = slot_of(held, requests, request, np.int32(item))
            assert (requests[slot] == request) == (item in known)
            held[slot], requests[slot] = item, request
            known.add(item)
        for item in [*row, *others]:
            slot = slot_of(held, requests, request, np.int32(item))
            assert (requests[slot] == request) == (item in known)
