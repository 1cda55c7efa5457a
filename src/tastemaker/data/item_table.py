"""A hash set of items for kernels, reused for one request after another.

A table is two arrays of a power of two of slots: the item in each, and the request it belongs to.
It is never cleared: what belongs to another request counts as empty.
"""

import numpy as np

from tastemaker.compilation import kernel

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ over the golden ratio: products of neighbours are far apart (Knuth 1973, 6.4)."""


@kernel
def item_table(offsets):  # type: ignore[no-untyped-def]
    """An empty table for the longest row: its items int32[slots], their requests int64[slots]."""
    slots = 4
    for row in range(len(offsets) - 1):
        while slots < 2 * (offsets[row + 1] - offsets[row]):
            slots *= 2
    return np.empty(slots, np.int32), np.full(slots, -1, np.int64)


@kernel
def slot_of(items, requests, request, item):  # type: ignore[no-untyped-def]
    """The slot of an item of a request, or, if it is not there, the slot it goes to."""
    last = len(items) - 1
    slot = np.int64(np.uint64(item) * _MULTIPLIER >> np.uint64(33)) & last
    while requests[slot] == request and items[slot] != item:
        slot = (slot + 1) & last
    return slot
