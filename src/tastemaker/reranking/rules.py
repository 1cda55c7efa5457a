"""Rules as data: what is never shown, how many of a kind, and what stands where."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from tastemaker.compilation import kernel
from tastemaker.component import PROPENSITY, Reranked, Reranker, Retriever
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue, CategoryColumn, TagsColumn
from tastemaker.data.item_similarity import attribute_columns
from tastemaker.data.ragged import offsets_of, ranges
from tastemaker.data.requests import Masks, Requests
from tastemaker.errors import SettingError, did_you_mean
from tastemaker.inventory import Inventory
from tastemaker.reranking.cost import given_up
from tastemaker.reranking.pins import (
    BLOCKED,
    REASONS,
    SHOWN,
    UNKNOWN,
    ItemId,
    Pin,
    PinSet,
    Placed,
    as_list,
    place_pins,
)


class RulesConfig(Settings):
    """Settings of `Rules`."""

    blocked: Annotated[tuple[ItemId, ...], BeforeValidator(as_list)] = ()
    """Ids of items that are never shown; an id the catalogue does not have blocks nothing."""
    blocked_labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column of tags or category → labels whose items are never shown."""
    caps: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Column of tags or category → at most so many shown items of each of its labels."""
    pinned: tuple[Pin, ...] = ()
    """Items that stand at a place of their own."""


@dataclass(frozen=True, slots=True)
class _Resolved:
    """The rules as they stand to one catalogue.

    Attributes:
        catalogue: the one.
        blocked: bool[items]; None where no rule blocks anything.
        allowed: bool[items], the others; None where no rule blocks anything.
        pins: what is to stand where.
        caps: (column's name, column, how many).
    """

    catalogue: Catalogue
    blocked: NDArray[np.bool_] | None
    allowed: NDArray[np.bool_] | None
    pins: PinSet
    caps: tuple[tuple[str, TagsColumn, int], ...]


class Rules(Reranker):
    """Blocks, caps and pins; in that order of strength: a blocked item is not shown by a pin, and
    a pin may fill a cap.

    A pinned item stands exactly at its place, whether or not it was found, unless it is unknown,
    blocked, not eligible, excluded for the request, or its place cannot be reached; of two pins
    for one place the first that can be shown is, so that the second is its substitute. What it
    displaces moves down. An item that nobody found comes with the lowest score of the list, no
    source, and nothing in other columns (NaN, −1). The `propensity` of a shown pin is 1; all others
    keep theirs.

    What is blocked is left out before the sources cut their lists.

    Caps hold for the places shown. Each place goes to the next item in order that no cap stands
    against; if that leaves places empty, the pipeline looks for more items that the caps allow. If
    there are none, the places go to the items held back, in order, and a note says which cap was
    not held: a full list comes first. With one capped category a cap is missed only if no list
    could hold it; with tags or several columns, where to know that is a hard problem (set
    packing), a list that holds all of them may be missed.

    What was done and what could not be done stands in the notes of each request.

    Cost: a request, its candidates and their labels once; a new catalogue, one pass over its
    labels and a byte an item, if anything is blocked.

    Example:
        >>> Rules(caps={"category": 3}, pinned=[Pin(item_id="hello", position=1)]).config.caps
        {'category': 3}
    """

    name = "rules"
    purpose = "rules applied"
    must_run: ClassVar = True
    config: RulesConfig
    _latest: _Resolved | None = None

    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        """The lists as the rules want them.

        Raises:
            SettingError: a rule names a column that has no labels; names the near miss.
        """
        rules, n = self._resolved(inventory.catalogue), max(0, n)
        kept = candidates
        if rules.blocked is not None:
            kept = candidates.where(~rules.blocked[candidates.item])
        placed = place_pins(rules.pins, requests, kept, n)
        order, held, forced, over = _arranged(kept, placed, rules, n)
        reranked = _certain(placed).entries(order, offsets_of(placed.lengths))
        blocked = candidates.counts - kept.counts
        notes = tuple(
            tuple(_notes(rules, reranked[row][:n], *told))
            for row, told in enumerate(zip(blocked, placed.fate, held, forced))
        )
        cost, short = given_up(candidates, reranked, n), np.zeros(len(requests), np.int64)
        if not over.any():
            return Reranked(reranked, cost, notes)
        suitable = _below_caps(reranked, over, n, rules)
        np.add.at(short, reranked.rows, over)
        short[suitable.row < 0] = 0
        return Reranked(reranked, cost, notes, short, suitable)

    def allowed_items(self, inventory: Inventory) -> NDArray[np.bool_] | None:
        """All items but those that are blocked; computed once for a catalogue.

        Raises:
            SettingError: a rule names a column that has no labels; names the near miss.
        """
        return self._resolved(inventory.catalogue).allowed

    def _resolved(self, catalogue: Catalogue) -> _Resolved:
        """Ids and labels as indices; the latest answer is kept, as a catalogue lasts."""
        latest = self._latest
        if latest is None or latest.catalogue is not catalogue:
            blocked = self._blocked(catalogue)
            columns = _labelled(catalogue, "caps", self.config.caps)
            caps = tuple((name, c, self.config.caps[name]) for name, c in columns.items())
            pins = _pin_set(self.config.pinned, catalogue, blocked)
            allowed = None if blocked is None else ~blocked
            latest = self._latest = _Resolved(catalogue, blocked, allowed, pins, caps)
        return latest

    def _blocked(self, catalogue: Catalogue) -> NDArray[np.bool_] | None:
        """Which items are never shown."""
        labels = self.config.blocked_labels
        columns = _labelled(catalogue, "blocked_labels", labels)
        if not self.config.blocked and not columns:
            return None
        blocked = np.zeros(len(catalogue), np.bool_)
        items = catalogue.items.indices(self.config.blocked)
        blocked[items[items >= 0]] = True
        for name, column in columns.items():
            away = np.zeros(len(column.labels) + 1, np.bool_)  # the last place takes unknown labels
            away[column.labels.indices(labels[name])] = True
            blocked |= _has_label(column, away[:-1])
        return blocked


def _labelled(catalogue: Catalogue, rule: str, names: Iterable[str]) -> dict[str, TagsColumn]:
    """The columns that a rule names."""
    columns = attribute_columns(catalogue)
    for name in names:
        if name not in columns:
            other = catalogue.columns.get(name)
            problem = f"holds no labels but a {other.role}" if other else "is no column of items"
            raise SettingError(f"Rules: {rule}: '{name}' {problem}{did_you_mean(name, columns)}")
    return {name: columns[name] for name in names}


def _pin_set(
    named: tuple[Pin, ...], catalogue: Catalogue, blocked: NDArray[np.bool_] | None
) -> PinSet:
    pins = tuple(sorted(named, key=lambda pin: pin.position))
    item = catalogue.items.indices(pin.item_id for pin in pins)
    fate = np.where(item < 0, UNKNOWN, SHOWN).astype(np.int8)
    if blocked is not None:
        known = np.flatnonzero(item >= 0)
        fate[known[blocked[item[known]]]] = BLOCKED
    return PinSet(pins, item, np.array([pin.position for pin in pins], np.int64), fate)


def _certain(placed: Placed) -> Candidates:
    """The table, where the pins stand for certain if anything else was drawn."""
    table = placed.table
    if PROPENSITY not in table.columns:
        return table
    propensity = table.columns[PROPENSITY].copy()
    propensity[placed.entry[placed.entry >= 0]] = 1
    return replace(table, columns={**table.columns, PROPENSITY: propensity})


def _arranged(
    kept: Candidates, placed: Placed, rules: _Resolved, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The entries of `placed.table` in their new order, int64[total].

    Also how many items the caps kept from being shown, int64[requests]; whether one of them was
    not held, bool[requests]; and which items, in the new order, are shown in spite of a cap for
    lack of others, bool[total].
    """
    items = placed.table.item
    rows = [_labels(column, items) for _, column, _ in rules.caps]
    bases = offsets_of([len(column.labels) for _, column, _ in rules.caps])
    nothing = np.empty(0, np.int64)
    codes = np.concatenate([nothing, *(own + base for (_, own), base in zip(rows, bases))])
    label_offsets = offsets_of(np.concatenate([nothing, *(counts for counts, _ in rows)]))
    caps = np.array([cap for *_, cap in rules.caps], np.int64)
    order = np.empty(int(placed.lengths.sum()), np.int64)
    held, forced = np.zeros(len(kept), np.int64), np.zeros(len(kept), np.bool_)
    over = np.zeros(len(order), np.bool_)
    _arrange(
        *(kept.offsets, offsets_of(placed.lengths), n, rules.pins.position, placed.entry),
        *(len(items), label_offsets, codes, np.zeros(bases[-1], np.int64), caps),
        *(order, held, forced, over),
    )
    return order, held, forced, over


def _below_caps(reranked: Candidates, over: NDArray[np.bool_], n: int, rules: _Resolved) -> Masks:
    """The items none of whose labels is shown as often as its cap allows.

    Only for lists that such an item could improve; the others have no mask.

    Args:
        reranked: the lists.
        over: bool[total], the items shown in spite of a cap; they do not count.
        n: how many places are shown.
        rules: the caps.
    """
    counted = (reranked.ranks < n) & ~over
    which, bitmaps = np.full(len(reranked), -1, np.int32), list[NDArray[np.bool_]]()
    for row in np.unique(reranked.rows[over]).tolist():
        entries = slice(reranked.offsets[row], reranked.offsets[row + 1])
        bitmap = _without_full_labels(rules, reranked.item[entries][counted[entries]])
        if bitmap is not None:
            which[row] = len(bitmaps)
            bitmaps.append(bitmap)
    return Masks(np.array(bitmaps, np.bool_, ndmin=2), which)


def _without_full_labels(rules: _Resolved, shown: NDArray[np.int32]) -> NDArray[np.bool_] | None:
    """The items none of whose labels is full where `shown` is, bool[items]; None if there is none.

    Cost: the items that have a full label; nothing for a category column whose labels are all full.
    """
    full = list[tuple[TagsColumn, NDArray[np.int64]]]()
    for _, column, cap in rules.caps:
        times = np.bincount(_labels(column, shown)[1], minlength=len(column.labels))
        full.append((column, np.flatnonzero(times >= cap)))
        held = column.rows_by_label.counts[full[-1][1]].sum()
        if isinstance(column, CategoryColumn) and held == len(rules.catalogue):
            return None
    bitmap = np.ones(len(rules.catalogue), np.bool_)
    for column, labels in full:
        by_label = column.rows_by_label
        _clear_rows(by_label.offsets, by_label.values, labels, bitmap)
    return bitmap if bitmap.any() else None


def _has_label(column: TagsColumn, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether an item has one of the marked labels, bool[items]; `marked` is bool[labels]."""
    among = offsets_of(marked[column.codes.values])
    return np.diff(among[column.codes.offsets]) > 0


def _labels(
    column: TagsColumn, items: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """How many labels each item has, int64[items], and their codes."""
    starts = column.codes.offsets[items]
    counts = column.codes.offsets[items + 1] - starts
    return counts, column.codes.values[ranges(starts, counts)]


def _notes(
    rules: _Resolved,
    shown: NDArray[np.int32],
    blocked: np.int64,
    fates: NDArray[np.int8],
    held: np.int64,
    forced: np.bool_,
) -> Iterator[str]:
    """What the rules did to one request, and what they could not do."""
    if blocked:
        yield f"{blocked} blocked, left out"
    for pin, fate in zip(rules.pins.pins, fates.tolist()):
        if fate == SHOWN:
            yield f"'{pin.item_id}' pinned at {pin.position}"
        else:
            yield f"'{pin.item_id}' not pinned at {pin.position}: {REASONS[fate]}"
    if held:
        yield f"{held} held back by caps"
    if forced:
        for name, column, cap in rules.caps:
            counts = Counter(_labels(column, shown)[1].tolist())
            for code, count in sorted(counts.items()):
                if count > cap:
                    label = column.labels.id(code)
                    yield f"{name} '{label}' shown {count} times: the cap of {cap} was not held"


@kernel
def _clear_rows(offsets, items, labels, bitmap):  # type: ignore[no-untyped-def]
    """Takes the items of some labels out of the bitmap."""
    for label in labels:
        for entry in range(offsets[label], offsets[label + 1]):
            bitmap[items[entry]] = False


@kernel
def _arrange(  # type: ignore[no-untyped-def]
    offsets, new_offsets, n, position, pinned, entries, label_offsets, codes, used, caps,
    order, held, forced, over,
):  # fmt: skip
    """Writes each row's order: pins first, then what the caps let through, then all the rest.

    Entry e's labels in the c-th capped column are `codes` at `label_offsets[c · entries + e]` and
    on; `used` counts the shown items of every label and is 0 before and after. `over` marks the
    places shown that went to the rest.
    """
    taken = np.zeros(entries, np.bool_)
    for row in range(len(held)):
        new = order[new_offsets[row] : new_offsets[row + 1]]
        shown = min(n, len(new))
        new[:] = -1
        for pin in range(len(position)):
            entry = pinned[row, pin]
            if entry >= 0:
                new[position[pin] - 1] = entry
                taken[entry] = True
                forced[row] |= _full(entry, entries, label_offsets, codes, used, caps)
                _count(entry, 1, entries, len(caps), label_offsets, codes, used)
        place = 0
        for entry in range(offsets[row], offsets[row + 1]):
            place = _next_free(new, place)
            if place >= shown:
                break
            if taken[entry]:
                continue
            if _full(entry, entries, label_offsets, codes, used, caps):
                held[row] += 1
                continue
            new[place] = entry
            taken[entry] = True
            _count(entry, 1, entries, len(caps), label_offsets, codes, used)
        for entry in range(offsets[row], offsets[row + 1]):
            if taken[entry]:
                continue
            place = _next_free(new, place)
            if place < shown:
                held[row] -= 1
                forced[row] = True
                over[new_offsets[row] + place] = True
                _count(entry, 1, entries, len(caps), label_offsets, codes, used)
            new[place] = entry
        for place in range(shown):
            _count(new[place], -1, entries, len(caps), label_offsets, codes, used)


@kernel
def _next_free(new, place):  # type: ignore[no-untyped-def]
    """The first place from `place` on that nothing stands at; its end if there is none."""
    while place < len(new) and new[place] >= 0:
        place += 1
    return place


@kernel
def _full(entry, entries, label_offsets, codes, used, caps):  # type: ignore[no-untyped-def]
    """Whether one of the entry's labels is shown as often as its cap allows."""
    for column in range(len(caps)):
        row = column * entries + entry
        for label in range(label_offsets[row], label_offsets[row + 1]):
            if used[codes[label]] >= caps[column]:
                return True
    return False


@kernel
def _count(entry, step, entries, columns, label_offsets, codes, used):  # type: ignore[no-untyped-def]
    """Counts the entry's labels as shown, or no longer."""
    for column in range(columns):
        row = column * entries + entry
        for label in range(label_offsets[row], label_offsets[row + 1]):
            used[codes[label]] += step
