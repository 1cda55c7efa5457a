"""How alike items are by what the catalogue says of them: for diversity, in lists and of lists."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.catalogue import Catalogue, TagsColumn


def attribute_columns(catalogue: Catalogue) -> dict[str, TagsColumn]:
    """The columns of labels by name: tags and categories."""
    return {n: c for n, c in catalogue.columns.items() if isinstance(c, TagsColumn)}


def attribute_similarity(
    catalogue: Catalogue, left: NDArray[np.int32], right: NDArray[np.int32]
) -> NDArray[np.float32]:
    """How many labels two items share: the mean over tags and category columns of |A∩B| / |A∪B|.

    Jaccard's index (1901) of the label sets A and B in each column; in a column where neither
    item has a label it is 0. The same bits whatever else is asked in the same call.

    Args:
        catalogue: the items' attributes; without tags and categories nothing is alike.
        left: int32[pairs], an item of each pair.
        right: int32[pairs], the other; an index outside the catalogue is like nothing.

    Returns:
        float32[pairs], from 0 to 1.

    Cost: the labels of both items, for each pair.
    """
    columns = attribute_columns(catalogue).values()
    likeness = np.zeros(len(left), np.float32)
    for column in columns:
        _add_jaccard(column.codes.offsets, column.codes.values, left, right, likeness)
    likeness /= np.float32(max(1, len(columns)))
    return likeness


def vector_similarity(
    vectors: NDArray[np.float32], left: NDArray[np.int32], right: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The cosine of two items' vectors; 0 where either has none.

    Args:
        vectors: float32[items × dimension], a missing one NaN throughout.
        left: int32[pairs], an item of each pair.
        right: int32[pairs], the other; an index outside the vectors is like nothing.

    Returns:
        float32[pairs], from −1 to 1; the same bits whatever else is asked in the same call.
    """
    likeness = np.zeros(len(left), np.float32)
    _cosines(vectors, left, right, likeness)
    return likeness


@kernel
def _cosines(vectors, left, right, likeness):  # type: ignore[no-untyped-def]
    """Writes each pair's cosine; a comparison with NaN is false, so that missing is 0."""
    items, dimension = vectors.shape
    for pair in range(len(left)):
        one, other = left[pair], right[pair]
        if not (0 <= one < items and 0 <= other < items):
            continue
        product, mine, theirs = 0.0, 0.0, 0.0
        for d in range(dimension):
            a, b = np.float64(vectors[one, d]), np.float64(vectors[other, d])
            product += a * b
            mine += a * a
            theirs += b * b
        if mine * theirs > 0:
            likeness[pair] = min(1.0, max(-1.0, product / np.sqrt(mine * theirs)))


@kernel
def _add_jaccard(offsets, codes, left, right, likeness):  # type: ignore[no-untyped-def]
    """Adds |A∩B| / |A∪B| of each pair's rows of sorted, distinct codes."""
    items = len(offsets) - 1
    for pair in range(len(left)):
        one, other = left[pair], right[pair]
        if not (0 <= one < items and 0 <= other < items):
            continue
        a, a_end = offsets[one], offsets[one + 1]
        b, b_end = offsets[other], offsets[other + 1]
        total = a_end - a + b_end - b
        shared = 0
        while a < a_end and b < b_end:
            difference = codes[a] - codes[b]
            shared += difference == 0
            a += difference <= 0
            b += difference >= 0
        if shared:
            likeness[pair] += np.float32(shared) / np.float32(total - shared)
