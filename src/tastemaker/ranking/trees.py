"""Boosted trees as sets of leaves: LightGBM's raw scores to the bit, several times sooner.

`Trees.read` takes a text model; `model_text` says what is understood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.ragged import offsets_of
from tastemaker.ranking.model_text import TextTree, read_model

Number = TypeVar("Number", bound=np.generic)
_WORD = 64
_BLOCK = 256
_DE_BRUIJN = 0x03F79D71B4CB0A89
_SHIFT = np.uint64(58)
_PLACE = np.array([(_DE_BRUIJN << bit) % (1 << _WORD) >> 58 for bit in range(_WORD)], np.int64)
"""Where the value of leaf `bit` of a word stands: found by a multiplication from its lone bit."""
_FIRST = np.array([(1 << count) - 1 for count in range(_WORD + 1)], np.uint64)
"""The first `count` leaves of a word."""
_ZERO = np.float32(1e-35)
"""Up to this magnitude LightGBM takes a value for zero."""


@dataclass(frozen=True, slots=True)
class Trees:
    """T trees with N splits and L leaves altogether, scored without following a path.

    A split removes the leaves on its first side where its test fails; the first leaf that no split
    removed is the row's leaf (QuickScorer, Lucchese et al. 2015, here without sorting thresholds):
    comparisons of many rows at once, no jump and no indirection. Several words per tree hold more
    than 64 leaves.

    Every test is `view ≤ threshold`, false for NaN. A view is a column as some splits read it: with
    NaN or zero as missing or not, and negated where missing values belong to the left, whose
    sides then change places. LightGBM compares float64 thresholds with float32 values, for which
    the threshold rounded down to float32 gives the same answer.

    Attributes:
        columns: how many features a row has.
        feature: int32[V], the column of each view.
        missing: int8[V], 0: NaN is 0; 1: zero is missing, and NaN; 2: NaN is missing.
        sign: float32[V], −1 where the view is negated.
        begin: int64[T + 1], where each tree's splits begin.
        view: int32[N], what each split reads.
        threshold: float32[N].
        child: int32[N × 2], the split (or −1 − leaf) if the test holds, and if it fails.
        value: float64[N], mean of the leaves below, weighted by their rows in training.
        leaf_value: float64[L].
        cut_begin: int64[T + 1], where each tree's cuts begin.
        cut_split: int32[C], the split that cuts.
        cut_word: int32[C], the word of leaves it cuts.
        cut_keep: uint64[C], the leaves it leaves.
        leaves: float64[T × words × 64], the leaves' values at `_PLACE`.
        base: the expected raw score, Σ over trees of the mean of all leaves.
        gain: float64[columns], what the splits on each column gained in training.

    Cost of a row: one comparison and one AND per split.
    """

    columns: int
    feature: NDArray[np.int32]
    missing: NDArray[np.int8]
    sign: NDArray[np.float32]
    begin: NDArray[np.int64]
    view: NDArray[np.int32]
    threshold: NDArray[np.float32]
    child: NDArray[np.int32]
    value: NDArray[np.float64]
    leaf_value: NDArray[np.float64]
    cut_begin: NDArray[np.int64]
    cut_split: NDArray[np.int32]
    cut_word: NDArray[np.int32]
    cut_keep: NDArray[np.uint64]
    leaves: NDArray[np.float64]
    base: float
    gain: NDArray[np.float64]

    @classmethod
    def read(cls, text: str) -> "Trees":
        """The trees of a text model.

        Raises:
            UnknownModelError: it holds what is not known here.
        """
        columns, plain = read_model(text)
        keys: dict[tuple[int, int, int], int] = {}
        trees = [_tests(tree, keys) for tree in plain]
        words = max((len(tree.leaf_value) - 1) // _WORD + 1 for tree in trees)
        splits = offsets_of([len(tree.view) for tree in trees])
        leaf = offsets_of([len(tree.leaf_value) for tree in trees])
        laid = [_laid_out(tree, words, int(first)) for tree, first in zip(trees, splits)]
        views = np.array(list(keys), np.int64).reshape(-1, 3)
        child = [
            np.where(tree.child < 0, tree.child - leaf[t], tree.child + splits[t])
            for t, tree in enumerate(trees)
        ]
        every = _joined([tree.feature for tree in plain])
        gained = _joined([tree.gain for tree in plain])
        return cls(
            columns,
            views[:, 0].astype(np.int32),
            views[:, 1].astype(np.int8),
            views[:, 2].astype(np.float32),
            splits,
            _joined([tree.view for tree in trees]).astype(np.int32),
            _joined([tree.threshold for tree in trees]),
            _joined(child).astype(np.int32),
            _joined([one.value for one in laid]),
            _joined([tree.leaf_value for tree in trees]),
            offsets_of([len(one.cut_split) for one in laid]),
            _joined([one.cut_split for one in laid]).astype(np.int32),
            _joined([one.cut_word for one in laid]).astype(np.int32),
            _joined([one.cut_keep for one in laid]),
            np.stack([one.leaves for one in laid]),
            sum(one.base for one in laid),
            np.bincount(every, gained, columns).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.begin) - 1

    def raw(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The raw score of each row of `values` [rows × columns], float64[rows]."""
        scores = np.zeros(len(values))
        _score(
            *(np.ascontiguousarray(values, np.float32), self.feature, self.missing, self.sign),
            *(self.view, self.threshold, self.cut_begin, self.cut_split, self.cut_word),
            *(self.cut_keep, self.leaves, scores),
        )
        return scores

    def contributions(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each column adds to `base` on the row's paths (Saabas 2014), [rows × columns].

        Each split's change of the expected value is credited to the column it compares; a row's
        contributions add up to its raw score less `base`.
        """
        added = np.zeros((len(values), self.columns))
        _contribute(
            *(np.ascontiguousarray(values, np.float32), self.feature, self.missing, self.sign),
            *(self.begin, self.view, self.threshold, self.child, self.value, self.leaf_value),
            added,
        )
        return added


@dataclass(frozen=True, slots=True)
class _Tests:
    """A tree whose splits read views; a missing value fails every test."""

    view: NDArray[np.int64]
    threshold: NDArray[np.float32]
    child: NDArray[np.int64]
    leaf_value: NDArray[np.float64]
    leaf_count: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _LaidOut:
    """What `Trees` holds of one tree beside its tests."""

    value: NDArray[np.float64]
    cut_split: NDArray[np.int64]
    cut_word: NDArray[np.int64]
    cut_keep: NDArray[np.uint64]
    leaves: NDArray[np.float64]
    base: float


def _tests(tree: TextTree, views: dict[tuple[int, int, int], int]) -> _Tests:
    """Turns every split into `view ≤ threshold`; a view met for the first time is added.

    x ≤ t for float64 t holds where x ≤ t rounded down; "not x ≤ t" is −x ≤ the next below −t, and
    never where t is infinite, which parts NaN from all else.
    """
    with np.errstate(over="ignore"):
        rounded = tree.threshold.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    threshold = np.where(rounded.astype(np.float64) > tree.threshold, below, rounded)
    turned = (tree.missing > 0) & tree.missing_left
    turned_threshold = np.nextafter(-threshold, np.float32(-np.inf))
    turned_threshold[np.isposinf(threshold)] = np.nan
    threshold = np.where(turned, turned_threshold, threshold)
    child = np.where(turned[:, None], tree.child[:, ::-1], tree.child)
    sign = np.where(turned, -1, 1)
    keys = zip(tree.feature.tolist(), tree.missing.tolist(), sign.tolist())
    view = [views.setdefault(key, len(views)) for key in keys]
    return _Tests(np.array(view, np.int64), threshold, child, tree.leaf_value, tree.leaf_count)


def _laid_out(tree: _Tests, words: int, first_split: int) -> _LaidOut:
    """Orders the leaves from the first side to the second, and says what each split cuts."""
    splits, leaves = len(tree.view), len(tree.leaf_value)
    # A child is an index from the front for a split, and, as −1 − leaf, from the back for a leaf.
    size = np.ones(splits + leaves, np.int64)
    rows = np.concatenate([np.zeros(splits), tree.leaf_count[::-1]])
    total = np.concatenate([np.zeros(splits), (tree.leaf_count * tree.leaf_value)[::-1]])
    for split in range(splits - 1, -1, -1):
        held, failed = tree.child[split]
        for column in (size, rows, total):
            column[split] = column[held] + column[failed]
    start = np.zeros(splits + leaves, np.int64)
    for split in range(splits):
        held, failed = tree.child[split]
        start[held] = start[split]
        start[failed] = start[split] + size[held]
    stop = start[:splits] + size[tree.child[:, 0]]
    word = np.arange(words)[:, None] * _WORD
    lower, upper = (np.clip(edge - word, 0, _WORD) for edge in (start[:splits], stop))
    cut_word, cut_split = np.nonzero(lower < upper)
    keep = ~(_FIRST[upper] ^ _FIRST[lower])[cut_word, cut_split]
    place = start[splits:][::-1]
    values = np.zeros((words, _WORD))
    values[place // _WORD, _PLACE[place % _WORD]] = tree.leaf_value
    mean = total / rows
    return _LaidOut(mean[:splits], first_split + cut_split, cut_word, keep, values, float(mean[0]))


def _joined(arrays: Sequence[NDArray[Number]]) -> NDArray[Number]:
    return np.concatenate(arrays)


@kernel
def _score(  # type: ignore[no-untyped-def]
    values, feature, missing, sign, view, threshold, begin, split, word, keep, leaves, scores
):
    """Adds to `scores` the leaf of each row in each tree, trees in their order.

    Blocks of rows small enough for the cache; within, every loop over rows is free of jumps.
    """
    words = leaves.shape[1]
    every = ~np.uint64(0)
    views = np.empty((len(feature), _BLOCK), np.float32)
    left = np.empty((words, _BLOCK), np.uint64)
    for start in range(0, len(values), _BLOCK):
        rows = min(_BLOCK, len(values) - start)
        _look(values[start : start + rows], feature, missing, sign, views)
        for tree in range(len(leaves)):
            left[:, :rows] = every
            for cut in range(begin[tree], begin[tree + 1]):
                seen = views[view[split[cut]]]
                bound = threshold[split[cut]]
                kept, rest = keep[cut], left[word[cut]]
                for row in range(rows):
                    rest[row] &= every if seen[row] <= bound else kept
            for row in range(rows):
                at = 0
                while left[at, row] == 0:
                    at += 1
                rest_of_row = left[at, row]
                lowest = rest_of_row & (np.uint64(0) - rest_of_row)
                hashed = (lowest * np.uint64(_DE_BRUIJN)) >> _SHIFT
                scores[start + row] += leaves[tree, at, hashed]


@kernel
def _contribute(  # type: ignore[no-untyped-def]
    values, feature, missing, sign, begin, view, threshold, child, value, leaf_value, added
):
    """Adds to `added` the change of value at every split of each row's paths."""
    views = np.empty((len(feature), _BLOCK), np.float32)
    for start in range(0, len(values), _BLOCK):
        rows = min(_BLOCK, len(values) - start)
        _look(values[start : start + rows], feature, missing, sign, views)
        for row in range(rows):
            for tree in range(len(begin) - 1):
                split = begin[tree]
                leaf = split == begin[tree + 1]
                while not leaf:
                    holds = views[view[split], row] <= threshold[split]
                    below = child[split, 0 if holds else 1]
                    leaf = below < 0
                    reached = leaf_value[-1 - below] if leaf else value[below]
                    added[start + row, feature[view[split]]] += reached - value[split]
                    split = below


@kernel
def _look(values, feature, missing, sign, views):  # type: ignore[no-untyped-def]
    """Writes the views of a block of rows, one after the other, to `views` [V × block]."""
    nothing = np.float32(0)
    absent = np.float32(np.nan)
    for place in range(len(feature)):
        column, kind, factor = feature[place], missing[place], sign[place]
        seen = views[place]
        for row in range(len(values)):
            value = values[row, column]
            if abs(value) <= _ZERO:
                value = nothing
            if kind == 0 and value != value:
                value = nothing
            if kind == 1 and value == nothing:
                value = absent
            seen[row] = factor * value
