"""A reader of LightGBM's text models, version 4; it rejects models that it does not fully know.

A model is a header of `key=value` lines, a section of such lines for each tree, and `end of trees`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = {
    "version": "v4",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
    "max_feature_idx": None,
    "objective": None,
    "feature_names": None,
    "feature_infos": None,
    "tree_sizes": None,
}
_OBJECTIVES = {"binary sigmoid:1", "lambdarank"}
_TREE = {
    *("num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type"),
    *("left_child", "right_child", "leaf_value", "leaf_weight", "leaf_count", "internal_value"),
    *("internal_weight", "internal_count", "is_linear", "shrinkage"),
}
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2


class UnknownModelError(Exception):
    """The text has an unknown part; use LightGBM itself to score the model."""


@dataclass(frozen=True, slots=True)
class TextTree:
    """One tree of n splits and n + 1 leaves; a row goes left if its value ≤ the threshold.

    Attributes:
        feature: int64[n], the column that is compared.
        threshold: float64[n]; infinite if only NaN goes right.
        missing: int64[n], which values are missing: 0 none (NaN is read as 0), 1 zero and NaN,
            2 NaN.
        missing_left: bool[n], whether a missing value goes left.
        child: int64[n × 2], left and right: a later split, or −1 − leaf.
        gain: float64[n], the gain of the split in training.
        leaf_value: float64[n + 1].
        leaf_count: int64[n + 1], rows of the training data.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    missing: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    child: NDArray[np.int64]
    gain: NDArray[np.float64]
    leaf_value: NDArray[np.float64]
    leaf_count: NDArray[np.int64]


def read_model(text: str) -> tuple[int, list[TextTree]]:
    """The number of columns that the model reads, and its trees.

    Raises:
        UnknownModelError: an unknown version, objective, field or kind of split, or a truncated
            text.
    """
    body, mark, _ = text.partition("\nend of trees")
    header, *sections = body.split("\nTree=")
    if not mark:
        raise UnknownModelError("the text has no 'end of trees'")
    title, _, rest = header.partition("\n")
    fields = _fields(rest)
    if title != "tree" or fields.keys() != _HEADER.keys():
        raise UnknownModelError(f"header fields {sorted(fields.keys() ^ _HEADER.keys())}")
    for key, value in _HEADER.items():
        if value is not None and fields[key] != value:
            raise UnknownModelError(f"{key}={fields[key]}")
    if fields["objective"] not in _OBJECTIVES:
        raise UnknownModelError(f"objective={fields['objective']}")
    if not sections or len(sections) != len(fields["tree_sizes"].split()):
        raise UnknownModelError(f"{len(sections)} trees, but the header has another number")
    columns = int(_numbers(fields, "max_feature_idx", np.int64, 1)[0]) + 1
    return columns, [_tree(_fields(section.partition("\n")[2]), columns) for section in sections]


def _fields(text: str) -> dict[str, str]:
    """The fields of lines of `key=value` or `key`."""
    parts = (line.partition("=") for line in text.splitlines() if line)
    return {key: value for key, _, value in parts}


def _tree(fields: dict[str, str], columns: int) -> TextTree:
    if fields.keys() != _TREE:
        raise UnknownModelError(f"tree fields {sorted(fields.keys() ^ _TREE)}")
    if fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise UnknownModelError("categorical splits or linear leaves")
    leaves = int(_numbers(fields, "num_leaves", np.int64, 1)[0])
    splits = leaves - 1
    decision = _numbers(fields, "decision_type", np.int64, splits)
    missing = decision >> _MISSING_SHIFT
    if (decision & _CATEGORICAL).any() or (missing > 2).any():
        raise UnknownModelError("an unknown decision type")
    sides = [_numbers(fields, side, np.int64, splits) for side in ("left_child", "right_child")]
    tree = TextTree(
        _numbers(fields, "split_feature", np.int64, splits),
        _numbers(fields, "threshold", np.float64, splits),
        missing,
        (decision & _DEFAULT_LEFT) > 0,
        np.stack(sides, axis=1),
        _numbers(fields, "split_gain", np.float64, splits),
        _numbers(fields, "leaf_value", np.float64, leaves),
        # A tree without splits has no counts.
        _numbers(fields, "leaf_count", np.int64, leaves) if splits else np.ones(1, np.int64),
    )
    _check(tree, columns)
    return tree


def _numbers(fields: dict[str, str], key: str, dtype: Any, count: int) -> NDArray[Any]:
    words = fields[key].split()
    if len(words) != count:
        raise UnknownModelError(f"{key} has {len(words)} values, not {count}")
    try:
        return np.array(words, dtype)
    except ValueError:
        raise UnknownModelError(f"{key} is not a list of numbers") from None


def _check(tree: TextTree, columns: int) -> None:
    """Rejects invalid trees: each split and leaf must have one parent, an earlier split."""
    splits, leaves = len(tree.feature), len(tree.leaf_value)
    children = np.sort(tree.child, axis=None)
    expected = np.concatenate([np.arange(-leaves, 0), np.arange(1, splits)])
    if splits and not np.array_equal(children, expected):
        raise UnknownModelError("a split or a leaf does not have exactly one parent")
    inner = tree.child >= 0
    if (tree.child <= np.arange(splits)[:, None])[inner].any():
        raise UnknownModelError("a split is below a later split")
    if ((tree.feature < 0) | (tree.feature >= columns)).any():
        raise UnknownModelError("a split reads a column that does not exist")
    if np.isnan(tree.threshold).any() or not np.isfinite(tree.leaf_value).all():
        raise UnknownModelError("a threshold or a leaf is not a number")
    if (tree.leaf_count <= 0).any():
        raise UnknownModelError("a leaf has no rows")
