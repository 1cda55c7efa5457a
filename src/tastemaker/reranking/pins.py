"""Pins: items that stand at a place of their own, and what becomes of them in each request."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from tastemaker.compilation import kernel
from tastemaker.config import Settings
from tastemaker.data.arguments import id_text, listed
from tastemaker.data.candidates import Candidates, with_missing
from tastemaker.data.requests import Requests
from tastemaker.errors import SettingError

SHOWN, UNKNOWN, BLOCKED, INELIGIBLE, EXCLUDED, BEYOND, TAKEN, TWICE, SHORT = range(9)
"""What became of a pin: shown, or the first reason why not."""
REASONS = (
    "",
    "no such item",
    "it is blocked",
    "it is not eligible here",
    "it is excluded for this request",
    "fewer places are shown",
    "another pin has the place",
    "it is pinned further up",
    "the list is too short",
)


def as_list(values: Any) -> Any:
    """A setting of several ids, as arrays and series hold them too; what is not one, as it is."""
    try:
        return listed(values, "ids")
    except SettingError:
        return values  # its own check reports it


def _as_text(value: Any) -> str:
    try:
        return id_text(value)
    except SettingError as problem:
        raise ValueError(str(problem).removeprefix("an id ")) from None


ItemId = Annotated[str, BeforeValidator(_as_text)]
"""An item's id as a setting: text, an integer or a whole float, of Python or a frame."""


class Pin(Settings):
    """An item and its place."""

    item_id: ItemId
    """The item's id."""
    position: int = Field(ge=1)
    """Its place in the list, from 1."""


@dataclass(frozen=True, slots=True)
class PinSet:
    """The P pins as they stand to a catalogue, by position; of equal ones the first named first.

    Attributes:
        pins: as they were named.
        item: int32[P], −1 where the catalogue has no such item.
        position: int64[P], from 1.
        fate: int8[P], `SHOWN`, or why no request shows it.
    """

    pins: tuple[Pin, ...]
    item: NDArray[np.int32]
    position: NDArray[np.int64]
    fate: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Placed:
    """The pins of a batch of n requests.

    Attributes:
        table: the candidates; after their last entry, one for each shown pin that was not among
            them, which no offset covers yet.
        fate: int8[n × P], `SHOWN` or why not.
        entry: int64[n × P], which entry of `table` stands there; −1 where the pin is not shown.
        lengths: int64[n], how long the lists are with the pins.
    """

    table: Candidates
    fate: NDArray[np.int8]
    entry: NDArray[np.int64]
    lengths: NDArray[np.int64]


def place_pins(pins: PinSet, requests: Requests, candidates: Candidates, n: int) -> Placed:
    """Decides which pins each request shows, and adds those that nobody found.

    Args:
        pins: what is to stand where.
        requests: n requests; what they exclude or are not eligible for is not shown.
        candidates: n lists.
        n: how many places are shown.
    """
    fate = np.empty((len(requests), len(pins.pins)), np.int8)
    entry = np.empty(fate.shape, np.int64)
    _decide(
        *(pins.item, pins.position, pins.fate, candidates.offsets, candidates.item, n),
        *(requests.exclude.offsets, requests.exclude.values),
        *(requests.eligible.bitmaps, requests.eligible.row, fate, entry),
    )
    row, pin = np.nonzero((fate == SHOWN) & (entry < 0))
    entry[row, pin] = len(candidates.item) + np.arange(len(row))
    lengths = candidates.counts + np.bincount(row, minlength=len(candidates))
    return Placed(_with_entries(candidates, row, pins.item[pin]), fate, entry, lengths)


def _with_entries(
    candidates: Candidates, row: NDArray[np.int64], item: NDArray[np.int32]
) -> Candidates:
    """The candidates and, after the last, the given items with the lowest score of their lists."""
    if not len(row):
        return candidates
    merged = bool(candidates.sources)
    rank, source_score = candidates.source_rank, candidates.source_score
    return Candidates(
        candidates.offsets,
        np.concatenate([candidates.item, item]),
        np.concatenate([candidates.score, candidates.lowest[row]]),
        candidates.sources,
        with_missing(rank, len(row)) if merged else rank,
        with_missing(source_score, len(row)) if merged else source_score,
        {name: with_missing(c, len(row)) for name, c in candidates.columns.items()},
    )


@kernel
def _decide(  # type: ignore[no-untyped-def]
    pinned, position, known_fate, offsets, items, n,
    exclude_offsets, excluded, bitmaps, bitmap_row, fate, entry,
):  # fmt: skip
    """Goes through each request's pins by position; writes their fate and where they were found.

    A pin is shown only if the places before it can all be filled: by the pins above it, and by
    candidates that are not pinned themselves.
    """
    for row in range(len(fate)):
        free = offsets[row + 1] - offsets[row]
        above = 0
        for pin in range(len(pinned)):
            entry[row, pin] = -1
            reason = known_fate[pin]
            if reason == SHOWN:
                excluded_here = excluded[exclude_offsets[row] : exclude_offsets[row + 1]]
                if not _eligible(pinned[pin], bitmaps, bitmap_row[row]):
                    reason = INELIGIBLE
                elif _find(pinned[pin], excluded_here) >= 0:
                    reason = EXCLUDED
                elif position[pin] > n:
                    reason = BEYOND
                else:
                    reason = _conflict(pinned, position, pin, fate[row])
            if reason == SHOWN:
                place = _find(pinned[pin], items[offsets[row] : offsets[row + 1]])
                inside = 1 if place >= 0 else 0
                if above + free - inside < position[pin] - 1:
                    reason = SHORT
                else:
                    above, free = above + 1, free - inside
                    entry[row, pin] = offsets[row] + place if inside else -1
            fate[row, pin] = reason


@kernel
def _eligible(item, bitmaps, bitmap):  # type: ignore[no-untyped-def]
    """Whether the bitmap, −1 for none, allows the item."""
    return bitmap < 0 or (item < bitmaps.shape[1] and bitmaps[bitmap, item])


@kernel
def _find(item, items):  # type: ignore[no-untyped-def]
    """The first place of the item, −1 if it is not there."""
    for place in range(len(items)):
        if items[place] == item:
            return place
    return -1


@kernel
def _conflict(pinned, position, pin, fate):  # type: ignore[no-untyped-def]
    """Whether a pin shown above has the same place or is the same item."""
    for other in range(pin):
        if fate[other] == SHOWN and position[other] == position[pin]:
            return TAKEN
        if fate[other] == SHOWN and pinned[other] == pinned[pin]:
            return TWICE
    return SHOWN
