"""Item similarity by catalogue attributes, for diversity within and between lists."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.catalogue import Catalogue, TagsColumn


def attribute_columns(catalogue: Catalogue) -> dict[str, TagsColumn]:
    """The label columns (tags and categories) by name."""
    return {n: c for n, c in catalogue.columns.items() if isinstance(c, TagsColumn)}


def attribute_similarity(
    catalogue: Catalogue, left: NDArray[np.int32], right: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The label similarity of item pairs: the mean over tags and category columns of |A∩B| / |A∪B|.

    Jaccard's index (1901) of the label sets A and B in each column; 0 for a column in which neither
    item has a label. The result for a pair does not depend on the other pairs of the call.

    Args:
        catalogue: the items' attributes; without tags and categories, all similarities are 0.
        left: int32[pairs], the first item of each pair.
        right: int32[pairs], the second; an index outside the catalogue has similarity 0.

    Returns:
        float32[pairs], from 0 to 1.

    Cost: the labels of both items, for each pair.
    """
    columns = attribute_columns(catalogue).values()
    similarity = np.zeros(len(left), np.float32)
    for column in columns:
        _add_jaccard(column.codes.offsets, column.codes.values, left, right, similarity)
    similarity /= np.float32(max(1, len(columns)))
    return similarity


def vector_similarity(
    vectors: NDArray[np.float32], left: NDArray[np.int32], right: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The cosine of two items' vectors; 0 if either has none.

    Args:
        vectors: float32[items × dimension], all NaN if missing.
        left: int32[pairs], the first item of each pair.
        right: int32[pairs], the second; an index outside the vectors has similarity 0.

    Returns:
        float32[pairs], from −1 to 1; the result for a pair does not depend on the other pairs.
    """
    similarity = np.zeros(len(left), np.float32)
    _cosines(vectors, left, right, similarity)
    return similarity


@kernel
def _cosines(vectors, left, right, similarity):  # type: ignore[no-untyped-def]
    """Writes each pair's cosine; comparisons with NaN are false, so missing vectors give 0."""
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
            similarity[pair] = min(1.0, max(-1.0, product / np.sqrt(mine * theirs)))


@kernel
def _add_jaccard(offsets, codes, left, right, similarity):  # type: ignore[no-untyped-def]
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
            similarity[pair] += np.float32(shared) / np.float32(total - shared)
