"""A hash set of items for kernels, reused across requests.

A table is two arrays whose length is a power of two: the item in each slot, and its request. It is
never cleared: slots of other requests count as empty.
"""

import numpy as np

from tastemaker.compilation import kernel

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio: spreads consecutive integers (Knuth 1973, 6.4)."""


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
    """The slot of an item of a request; if it is absent, the slot where to insert it."""
    last = len(items) - 1
    slot = np.int64(np.uint64(item) * _MULTIPLIER >> np.uint64(33)) & last
    while requests[slot] == request and items[slot] != item:
        slot = (slot + 1) & last
    return slot
