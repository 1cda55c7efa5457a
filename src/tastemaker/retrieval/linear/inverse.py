"""The inverse of a large positive definite matrix, in its own place, block by block.

LAPACK would do the same in two calls; OpenBLAS's `spotrf` with several threads ends the process
on matrices of some forty thousand rows.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from tastemaker.errors import TastemakerError
from tastemaker.progress import Progress

BLOCK = 2_048


def invert_in_place(
    matrix: NDArray[np.float32], progress: Progress, told: str, block: int = BLOCK
) -> None:
    """Replaces the lower triangle of A by that of A⁻¹; nothing above it is read or kept.

    The sweep operator (Beaton 1964; Goodnight 1979) over blocks of rows. For each block k in turn

        Aᵢⱼ ← Aᵢⱼ − Aᵢₖ Aₖₖ⁻¹ Aₖⱼ,   Aᵢₖ ← Aᵢₖ Aₖₖ⁻¹,   Aₖₖ ← −Aₖₖ⁻¹

    and in the end A is −A⁻¹. Positive definite matrices need no pivoting.

    Args:
        matrix: float32[n × n], C order; the lower triangle counts.
        progress: hears of each block.
        told: what the work is called, such as `EASE: inverse`.
        block: rows in a block.

    Raises:
        TastemakerError: the matrix is not positive definite in float32.

    Cost: n³ multiplications and additions, and 12 × n × block bytes beside the matrix.
    """
    n = len(matrix)
    starts = range(0, n, block)
    for start in progress.track(starts, told, len(starts)):
        stop = min(start + block, n)
        inverse = _inverse(matrix[start:stop, start:stop])
        # The block's columns: a row of blocks to its left, a column of blocks below it.
        across = np.concatenate([matrix[start:stop, :start].T, matrix[stop:, start:stop]])
        scaled = across @ inverse
        for first in starts:
            last = min(first + block, n)
            if first != start:
                at = first if first < start else first - (stop - start)
                rows = scaled[at : at + last - first]
                left = min(last, start)
                matrix[first:last, :left] -= rows @ across[:left].T
                if last > stop:
                    right = across[start : start + last - stop]
                    matrix[first:last, stop:last] -= rows @ right.T
        matrix[start:stop, :start] = scaled[:start].T
        matrix[stop:, start:stop] = scaled[start:]
        matrix[start:stop, start:stop] = -inverse
    for first in starts:
        np.negative(matrix[first : first + block], out=matrix[first : first + block])


def _inverse(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The whole inverse of a small positive definite matrix, of which the lower triangle counts."""
    factor, failed = lapack.spotrf(matrix, lower=1)
    if not failed:
        inverse, failed = lapack.spotri(factor, lower=1)
    if failed:
        raise TastemakerError(
            "the matrix is not positive definite in float32; raise 'regularization'"
        )
    lower: NDArray[np.float32] = np.tril(inverse)
    return np.ascontiguousarray(lower + np.tril(inverse, -1).T)
