"""Pins: items with a fixed position in the list, and their status in each request."""

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

(
    SHOWN,
    UNKNOWN,
    BLOCKED,
    INELIGIBLE,
    EXCLUDED,
    BELOW_LIST,
    POSITION_TAKEN,
    DUPLICATE,
    LIST_TOO_SHORT,
) = range(9)
"""The status of a pin: shown, or the first reason why it is not."""
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
    """A setting of several ids, also from arrays and series; other values unchanged."""
    try:
        return listed(values, "ids")
    except SettingError:
        return values  # the validation of the field reports it


def _as_text(value: Any) -> str:
    try:
        return id_text(value)
    except SettingError as problem:
        raise ValueError(str(problem).removeprefix("an id ")) from None


ItemId = Annotated[str, BeforeValidator(_as_text)]
"""An item id as a setting: text, an integer or a whole float, from Python or a data frame."""


class Pin(Settings):
    """An item and its position."""

    item_id: ItemId
    """The id of the item."""
    position: int = Field(ge=1)
    """The position in the list, from 1."""


@dataclass(frozen=True, slots=True)
class PinSet:
    """The P pins for one catalogue, ordered by position and then as configured.

    Attributes:
        pins: the configured pins.
        item: int32[P], −1 if the catalogue does not have the item.
        position: int64[P], from 1.
        status: int8[P], `SHOWN`, or why no request shows the pin.
    """

    pins: tuple[Pin, ...]
    item: NDArray[np.int32]
    position: NDArray[np.int64]
    status: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class PlacedPins:
    """The pins of a batch of n requests.

    Attributes:
        table: the candidates, followed by one entry for each shown pin that is not among them.
            No offset covers these entries yet.
        status: int8[n × P], `SHOWN` or why the pin is not shown.
        entry: int64[n × P], the entry of `table` for the pin; −1 if the pin is not shown.
        lengths: int64[n], the lengths of the lists with the pins.
    """

    table: Candidates
    status: NDArray[np.int8]
    entry: NDArray[np.int64]
    lengths: NDArray[np.int64]


def place_pins(pins: PinSet, requests: Requests, candidates: Candidates, n: int) -> PlacedPins:
    """Decides which pins each request shows, and adds those that no source found.

    Args:
        pins: the pins.
        requests: n requests; excluded and ineligible items are not shown.
        candidates: n lists.
        n: the number of places shown.
    """
    status = np.empty((len(requests), len(pins.pins)), np.int8)
    entry = np.empty(status.shape, np.int64)
    _decide_pins(
        *(pins.item, pins.position, pins.status, candidates.offsets, candidates.item, n),
        *(requests.exclude.offsets, requests.exclude.values),
        *(requests.eligible.bitmaps, requests.eligible.row, status, entry),
    )
    row, pin = np.nonzero((status == SHOWN) & (entry < 0))
    entry[row, pin] = len(candidates.item) + np.arange(len(row))
    lengths = candidates.counts + np.bincount(row, minlength=len(candidates))
    return PlacedPins(_with_entries(candidates, row, pins.item[pin]), status, entry, lengths)


def _with_entries(
    candidates: Candidates, row: NDArray[np.int64], item: NDArray[np.int32]
) -> Candidates:
    """The candidates followed by `item`, each with the lowest score of its list."""
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
def _decide_pins(  # type: ignore[no-untyped-def]
    pinned, position, known_status, offsets, items, n,
    exclude_offsets, excluded, bitmaps, bitmap_row, status, entry,
):  # fmt: skip
    """Writes the status and the entry of each request's pins, in the order of their positions.

    A pin is shown only if all places before it can be filled by the pins above it and by
    candidates that are not pinned.
    """
    for row in range(len(status)):
        free = offsets[row + 1] - offsets[row]
        above = 0
        for pin in range(len(pinned)):
            entry[row, pin] = -1
            reason = known_status[pin]
            if reason == SHOWN:
                excluded_here = excluded[exclude_offsets[row] : exclude_offsets[row + 1]]
                if not _eligible(pinned[pin], bitmaps, bitmap_row[row]):
                    reason = INELIGIBLE
                elif _find(pinned[pin], excluded_here) >= 0:
                    reason = EXCLUDED
                elif position[pin] > n:
                    reason = BELOW_LIST
                else:
                    reason = _conflict(pinned, position, pin, status[row])
            if reason == SHOWN:
                place = _find(pinned[pin], items[offsets[row] : offsets[row + 1]])
                inside = 1 if place >= 0 else 0
                if above + free - inside < position[pin] - 1:
                    reason = LIST_TOO_SHORT
                else:
                    above, free = above + 1, free - inside
                    entry[row, pin] = offsets[row] + place if inside else -1
            status[row, pin] = reason


@kernel
def _eligible(item, bitmaps, bitmap):  # type: ignore[no-untyped-def]
    """Whether the bitmap allows the item; −1 is no bitmap."""
    return bitmap < 0 or (item < bitmaps.shape[1] and bitmaps[bitmap, item])


@kernel
def _find(item, items):  # type: ignore[no-untyped-def]
    """The first place of the item, −1 if `items` does not contain it."""
    for place in range(len(items)):
        if items[place] == item:
            return place
    return -1


@kernel
def _conflict(pinned, position, pin, status):  # type: ignore[no-untyped-def]
    """Whether a pin shown above has the same place or is the same item."""
    for other in range(pin):
        if status[other] == SHOWN and position[other] == position[pin]:
            return POSITION_TAKEN
        if status[other] == SHOWN and pinned[other] == pinned[pin]:
            return DUPLICATE
    return SHOWN
