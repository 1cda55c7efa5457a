"""Business rules as settings: blocked items, caps per label, and pinned items."""

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
from tastemaker.reranking.cost import list_cost
from tastemaker.reranking.pins import (
    BLOCKED,
    REASONS,
    SHOWN,
    UNKNOWN,
    ItemId,
    Pin,
    PinSet,
    PlacedPins,
    as_list,
    place_pins,
)


class RulesConfig(Settings):
    """Settings of `Rules`."""

    blocked: Annotated[tuple[ItemId, ...], BeforeValidator(as_list)] = ()
    """Ids of items that are never shown. Ids that the catalogue does not have are ignored."""
    blocked_labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Labels whose items are never shown, by tags or category column."""
    caps: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """The most shown items of each label, by tags or category column."""
    pinned: tuple[Pin, ...] = ()
    """Items with a fixed position in the list."""


@dataclass(frozen=True, slots=True)
class _Resolved:
    """The rules resolved for one catalogue.

    Attributes:
        catalogue: the catalogue.
        blocked: bool[items], the blocked items; None if no rule blocks anything.
        allowed: bool[items], all other items; None if no rule blocks anything.
        pins: the pins.
        caps: (name of the column, column, cap) for each capped column.
    """

    catalogue: Catalogue
    blocked: NDArray[np.bool_] | None
    allowed: NDArray[np.bool_] | None
    pins: PinSet
    caps: tuple[tuple[str, TagsColumn, int], ...]


class Rules(Reranker):
    """Applies blocks, pins and caps. A block overrides a pin, and a pin counts towards the caps.

    A pinned item is shown exactly at its position, whether or not a source found it, unless it is
    unknown, blocked, not eligible, excluded for the request, or its position cannot be reached. If
    several pins have the same position, the first one that can be shown is used, so that the
    second is a substitute. Displaced items move down. A pinned item that no source found gets the
    lowest score of the list, no source, and missing values in the other columns (NaN, −1). The
    `propensity` of a shown pin is 1; all other items keep theirs.

    Blocked items are removed before the sources cut their lists.

    Caps apply to the shown places. Each place goes to the next item that no cap forbids. If places
    stay empty, the pipeline searches for more items that the caps allow. If there are none, the
    places go to the items held back, in order, and a note names the cap that was not held: a full
    list has priority. With one capped category, a cap is exceeded only if no list can hold it.
    With tags or several columns (set packing, NP-hard), a list within all caps can be missed.

    The notes of each request list what the rules did and what they could not do.

    Cost: per request, one pass over its candidates and their labels; per new catalogue, if
    anything is blocked, one pass over its labels and one byte per item.

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
        """The lists after blocks, pins and caps.

        Raises:
            SettingError: a rule names a column without labels; the message suggests a name.
        """
        rules, n = self._resolved(inventory.catalogue), max(0, n)
        remaining = candidates
        if rules.blocked is not None:
            remaining = candidates.where(~rules.blocked[candidates.item])
        placed = place_pins(rules.pins, requests, remaining, n)
        order, held, forced, over = _arrange_lists(remaining, placed, rules, n)
        reranked = _with_certain_pins(placed).entries(order, offsets_of(placed.lengths))
        blocked = candidates.counts - remaining.counts
        notes = tuple(
            tuple(_notes(rules, reranked[row][:n], *outcome))
            for row, outcome in enumerate(zip(blocked, placed.status, held, forced))
        )
        cost, short = list_cost(candidates, reranked, n), np.zeros(len(requests), np.int64)
        if not over.any():
            return Reranked(reranked, cost, notes)
        suitable = _below_caps(reranked, over, n, rules)
        np.add.at(short, reranked.rows, over)
        short[suitable.row < 0] = 0
        return Reranked(reranked, cost, notes, short, suitable)

    def allowed_items(self, inventory: Inventory) -> NDArray[np.bool_] | None:
        """All items that are not blocked; computed once per catalogue.

        Raises:
            SettingError: a rule names a column without labels; the message suggests a name.
        """
        return self._resolved(inventory.catalogue).allowed

    def _resolved(self, catalogue: Catalogue) -> _Resolved:
        """The rules with ids and labels as indices; the result for the latest catalogue is kept."""
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
        """The items that are never shown, bool[items]; None if there are none."""
        labels = self.config.blocked_labels
        columns = _labelled(catalogue, "blocked_labels", labels)
        if not self.config.blocked and not columns:
            return None
        blocked = np.zeros(len(catalogue), np.bool_)
        items = catalogue.items.indices(self.config.blocked)
        blocked[items[items >= 0]] = True
        for name, column in columns.items():
            marked = np.zeros(len(column.labels) + 1, np.bool_)  # the last is for unknown labels
            marked[column.labels.indices(labels[name])] = True
            blocked |= _has_label(column, marked[:-1])
        return blocked


def _labelled(catalogue: Catalogue, rule: str, names: Iterable[str]) -> dict[str, TagsColumn]:
    """The columns that a rule names."""
    columns = attribute_columns(catalogue)
    for name in names:
        if name not in columns:
            other = catalogue.columns.get(name)
            problem = (
                f"has the role {other.role} and no labels" if other else "is not a column of items"
            )
            raise SettingError(f"Rules: {rule}: '{name}' {problem}{did_you_mean(name, columns)}")
    return {name: columns[name] for name in names}


def _pin_set(
    named: tuple[Pin, ...], catalogue: Catalogue, blocked: NDArray[np.bool_] | None
) -> PinSet:
    pins = tuple(sorted(named, key=lambda pin: pin.position))
    item = catalogue.items.indices(pin.item_id for pin in pins)
    status = np.where(item < 0, UNKNOWN, SHOWN).astype(np.int8)
    if blocked is not None:
        known = np.flatnonzero(item >= 0)
        status[known[blocked[item[known]]]] = BLOCKED
    return PinSet(pins, item, np.array([pin.position for pin in pins], np.int64), status)


def _with_certain_pins(placed: PlacedPins) -> Candidates:
    """The table, in which shown pins have propensity 1 if there is a propensity column."""
    table = placed.table
    if PROPENSITY not in table.columns:
        return table
    propensity = table.columns[PROPENSITY].copy()
    propensity[placed.entry[placed.entry >= 0]] = 1
    return replace(table, columns={**table.columns, PROPENSITY: propensity})


def _arrange_lists(
    candidates: Candidates, placed: PlacedPins, rules: _Resolved, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The entries of `placed.table` in their new order, int64[total], and the effect of the caps.

    The effect: the number of items held back, int64[requests]; whether a cap was exceeded,
    bool[requests]; and the items shown over a cap, in the new order, bool[total].
    """
    items = placed.table.item
    rows = [_labels(column, items) for _, column, _ in rules.caps]
    bases = offsets_of([len(column.labels) for _, column, _ in rules.caps])
    nothing = np.empty(0, np.int64)
    codes = np.concatenate([nothing, *(own + base for (_, own), base in zip(rows, bases))])
    label_offsets = offsets_of(np.concatenate([nothing, *(counts for counts, _ in rows)]))
    caps = np.array([cap for *_, cap in rules.caps], np.int64)
    order = np.empty(int(placed.lengths.sum()), np.int64)
    held, forced = np.zeros(len(candidates), np.int64), np.zeros(len(candidates), np.bool_)
    over = np.zeros(len(order), np.bool_)
    _arrange(
        *(candidates.offsets, offsets_of(placed.lengths), n, rules.pins.position, placed.entry),
        *(len(items), label_offsets, codes, np.zeros(bases[-1], np.int64), caps),
        *(order, held, forced, over),
    )
    return order, held, forced, over


def _below_caps(reranked: Candidates, over: NDArray[np.bool_], n: int, rules: _Resolved) -> Masks:
    """The items that the caps still allow, for each list that shows an item over a cap.

    An item is allowed if none of its labels has reached its cap. Lists that no item can improve
    have no mask.

    Args:
        reranked: the lists.
        over: bool[total], the items shown over a cap; they do not count.
        n: the number of places shown.
        rules: the resolved rules.
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
    """The items without a label that has reached its cap, bool[items]; None if there are none.

    Cost: the items with such a label; nothing if all labels of a category reached their cap.
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
    """The number of labels of each item, int64[items], and their codes."""
    starts = column.codes.offsets[items]
    counts = column.codes.offsets[items + 1] - starts
    return counts, column.codes.values[ranges(starts, counts)]


def _notes(
    rules: _Resolved,
    shown: NDArray[np.int32],
    blocked: np.int64,
    statuses: NDArray[np.int8],
    held: np.int64,
    forced: np.bool_,
) -> Iterator[str]:
    """The notes of one request: what the rules did, and what they could not do."""
    if blocked:
        yield f"{blocked} blocked, left out"
    for pin, status in zip(rules.pins.pins, statuses.tolist()):
        if status == SHOWN:
            yield f"'{pin.item_id}' pinned at {pin.position}"
        else:
            yield f"'{pin.item_id}' not pinned at {pin.position}: {REASONS[status]}"
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
    """Clears the items of some labels in the bitmap."""
    for label in labels:
        for entry in range(offsets[label], offsets[label + 1]):
            bitmap[items[entry]] = False


@kernel
def _arrange(  # type: ignore[no-untyped-def]
    offsets, new_offsets, n, position, pinned, entries, label_offsets, codes, used, caps,
    order, held, forced, over,
):  # fmt: skip
    """Writes each row's order: pins first, then the items that the caps allow, then all others.

    The labels of entry e in the c-th capped column are `codes` from
    `label_offsets[c · entries + e]` on. `used` counts the shown items of every label and is 0 again
    at the end. `over` marks the shown places of the other items.
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
    """The first empty place from `place` on; the length of `new` if there is none."""
    while place < len(new) and new[place] >= 0:
        place += 1
    return place


@kernel
def _full(entry, entries, label_offsets, codes, used, caps):  # type: ignore[no-untyped-def]
    """Whether one of the entry's labels has reached its cap."""
    for column in range(len(caps)):
        row = column * entries + entry
        for label in range(label_offsets[row], label_offsets[row + 1]):
            if used[codes[label]] >= caps[column]:
                return True
    return False


@kernel
def _count(entry, step, entries, columns, label_offsets, codes, used):  # type: ignore[no-untyped-def]
    """Adds `step` to the counts of the entry's labels."""
    for column in range(columns):
        row = column * entries + entry
        for label in range(label_offsets[row], label_offsets[row + 1]):
            used[codes[label]] += step
