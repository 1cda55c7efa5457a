"""Boosted trees as bit sets of leaves: LightGBM's raw scores bit for bit, several times faster.

`Trees.read` takes a text model that `model_text` supports.
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
"""The position of the value of leaf `bit` of a word, by multiplication with its single bit."""
_FIRST = np.array([(1 << count) - 1 for count in range(_WORD + 1)], np.uint64)
"""The bits of the first `count` leaves of a word."""
_ZERO = np.float32(1e-35)
"""LightGBM treats values up to this magnitude as zero."""


@dataclass(frozen=True, slots=True)
class Trees:
    """T trees with N splits and L leaves in total, scored without following paths.

    A split removes the leaves of its first side if its test fails. The first leaf that no split
    removed is the leaf of the row (QuickScorer, Lucchese et al. 2015, here without sorted
    thresholds). Many rows are compared at once, without branches and indirection. Trees with more
    than 64 leaves use several words.

    Every test is `view ≤ threshold`, false for NaN. A view is a column as some splits read it, with
    or without NaN or zero as missing. It is negated, and the sides are swapped, if missing values
    go left. LightGBM compares float64 thresholds with float32 values; the threshold rounded down
    to float32 gives the same result.

    Attributes:
        columns: the number of features of a row.
        feature: int32[V], the column of each view.
        missing: int8[V], 0: NaN is 0; 1: zero is missing, and NaN; 2: NaN is missing.
        sign: float32[V], −1 if the view is negated.
        begin: int64[T + 1], where the splits of each tree begin.
        view: int32[N], the view that each split reads.
        threshold: float32[N].
        child: int32[N × 2], the split (or −1 − leaf) if the test holds, and if it fails.
        value: float64[N], mean of the leaves below, weighted by their rows in training.
        leaf_value: float64[L].
        cut_begin: int64[T + 1], where the cuts of each tree begin.
        cut_split: int32[C], the split of each cut.
        cut_word: int32[C], the word of leaves that it cuts.
        cut_keep: uint64[C], the leaves that it keeps.
        leaves: float64[T × words × 64], the values of the leaves at `_PLACE`.
        base: the expected raw score, Σ over trees of the mean of all leaves.
        gain: float64[columns], the gain of the splits on each column in training.

    Cost: one comparison and one AND per row and split.
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
            UnknownModelError: the text has an unknown part.
        """
        columns, plain = read_model(text)
        keys: dict[tuple[int, int, int], int] = {}
        trees = [_tests(tree, keys) for tree in plain]
        words = max((len(tree.leaf_value) - 1) // _WORD + 1 for tree in trees)
        splits = offsets_of([len(tree.view) for tree in trees])
        leaf = offsets_of([len(tree.leaf_value) for tree in trees])
        layouts = [_layout(tree, words, int(first)) for tree, first in zip(trees, splits)]
        views = np.array(list(keys), np.int64).reshape(-1, 3)
        child = [
            np.where(tree.child < 0, tree.child - leaf[t], tree.child + splits[t])
            for t, tree in enumerate(trees)
        ]
        split_feature = _concatenate([tree.feature for tree in plain])
        split_gain = _concatenate([tree.gain for tree in plain])
        return cls(
            columns,
            views[:, 0].astype(np.int32),
            views[:, 1].astype(np.int8),
            views[:, 2].astype(np.float32),
            splits,
            _concatenate([tree.view for tree in trees]).astype(np.int32),
            _concatenate([tree.threshold for tree in trees]),
            _concatenate(child).astype(np.int32),
            _concatenate([one.value for one in layouts]),
            _concatenate([tree.leaf_value for tree in trees]),
            offsets_of([len(one.cut_split) for one in layouts]),
            _concatenate([one.cut_split for one in layouts]).astype(np.int32),
            _concatenate([one.cut_word for one in layouts]).astype(np.int32),
            _concatenate([one.cut_keep for one in layouts]),
            np.stack([one.leaves for one in layouts]),
            sum(one.base for one in layouts),
            np.bincount(split_feature, split_gain, columns).astype(np.float64),
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
        """The contribution of each column to the raw score (Saabas 2014), [rows × columns].

        The change of the expected value at each split of the row's paths is credited to the column
        of the split. The contributions of a row add up to its raw score minus `base`.
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
    """A tree whose splits read views; missing values fail every test."""

    view: NDArray[np.int64]
    threshold: NDArray[np.float32]
    child: NDArray[np.int64]
    leaf_value: NDArray[np.float64]
    leaf_count: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The arrays of one tree that `Trees` stores in addition to its tests."""

    value: NDArray[np.float64]
    cut_split: NDArray[np.int64]
    cut_word: NDArray[np.int64]
    cut_keep: NDArray[np.uint64]
    leaves: NDArray[np.float64]
    base: float


def _tests(tree: TextTree, views: dict[tuple[int, int, int], int]) -> _Tests:
    """Converts every split to `view ≤ threshold` and adds new views to `views`.

    x ≤ t for float64 t holds if x ≤ t rounded down. "not x ≤ t" is −x ≤ the next value below −t,
    and never true if t is infinite, which separates NaN from all other values.
    """
    with np.errstate(over="ignore"):
        rounded = tree.threshold.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    threshold = np.where(rounded.astype(np.float64) > tree.threshold, below, rounded)
    negated = (tree.missing > 0) & tree.missing_left
    negated_threshold = np.nextafter(-threshold, np.float32(-np.inf))
    negated_threshold[np.isposinf(threshold)] = np.nan
    threshold = np.where(negated, negated_threshold, threshold)
    child = np.where(negated[:, None], tree.child[:, ::-1], tree.child)
    sign = np.where(negated, -1, 1)
    keys = zip(tree.feature.tolist(), tree.missing.tolist(), sign.tolist())
    view = [views.setdefault(key, len(views)) for key in keys]
    return _Tests(np.array(view, np.int64), threshold, child, tree.leaf_value, tree.leaf_count)


def _layout(tree: _Tests, words: int, first_split: int) -> _Layout:
    """Orders the leaves from the first side to the second, with the cuts of each split."""
    splits, leaves = len(tree.view), len(tree.leaf_value)
    # A child is an index from the front for a split, and from the back (−1 − leaf) for a leaf.
    size = np.ones(splits + leaves, np.int64)
    rows = np.concatenate([np.zeros(splits), tree.leaf_count[::-1]])
    total = np.concatenate([np.zeros(splits), (tree.leaf_count * tree.leaf_value)[::-1]])
    for split in range(splits - 1, -1, -1):
        passed, failed = tree.child[split]
        for column in (size, rows, total):
            column[split] = column[passed] + column[failed]
    start = np.zeros(splits + leaves, np.int64)
    for split in range(splits):
        passed, failed = tree.child[split]
        start[passed] = start[split]
        start[failed] = start[split] + size[passed]
    stop = start[:splits] + size[tree.child[:, 0]]
    word = np.arange(words)[:, None] * _WORD
    lower, upper = (np.clip(edge - word, 0, _WORD) for edge in (start[:splits], stop))
    cut_word, cut_split = np.nonzero(lower < upper)
    keep = ~(_FIRST[upper] ^ _FIRST[lower])[cut_word, cut_split]
    place = start[splits:][::-1]
    values = np.zeros((words, _WORD))
    values[place // _WORD, _PLACE[place % _WORD]] = tree.leaf_value
    mean = total / rows
    return _Layout(mean[:splits], first_split + cut_split, cut_word, keep, values, float(mean[0]))


def _concatenate(arrays: Sequence[NDArray[Number]]) -> NDArray[Number]:
    return np.concatenate(arrays)


@kernel
def _score(  # type: ignore[no-untyped-def]
    values, feature, missing, sign, view, threshold, begin, split, word, keep, leaves, scores
):
    """Adds the leaf value of each row in each tree to `scores`, in the order of the trees.

    Blocks of rows fit the cache; the loops over the rows of a block have no branches.
    """
    words = leaves.shape[1]
    every = ~np.uint64(0)
    views = np.empty((len(feature), _BLOCK), np.float32)
    left = np.empty((words, _BLOCK), np.uint64)
    for start in range(0, len(values), _BLOCK):
        rows = min(_BLOCK, len(values) - start)
        _write_views(values[start : start + rows], feature, missing, sign, views)
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
    """Adds the change of value at every split of each row's paths to `added`."""
    views = np.empty((len(feature), _BLOCK), np.float32)
    for start in range(0, len(values), _BLOCK):
        rows = min(_BLOCK, len(values) - start)
        _write_views(values[start : start + rows], feature, missing, sign, views)
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
def _write_views(values, feature, missing, sign, views):  # type: ignore[no-untyped-def]
    """Writes the views of a block of rows to `views` [V × block]."""
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
