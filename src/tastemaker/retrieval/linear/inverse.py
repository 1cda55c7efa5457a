"""In-place inversion of a large positive definite matrix, block by block.

LAPACK does the same in two calls, but OpenBLAS's `spotrf` with several threads aborts the process
on matrices of about forty thousand rows.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from tastemaker.errors import TastemakerError
from tastemaker.progress import Progress

BLOCK = 2_048


def invert_in_place(
    matrix: NDArray[np.float32], progress: Progress, label: str, block: int = BLOCK
) -> None:
    """Replaces the lower triangle of A by that of A⁻¹; the upper triangle is ignored.

    This is the sweep operator (Beaton 1964; Goodnight 1979) over blocks of rows. For each block k

        Aᵢⱼ ← Aᵢⱼ − Aᵢₖ Aₖₖ⁻¹ Aₖⱼ,   Aᵢₖ ← Aᵢₖ Aₖₖ⁻¹,   Aₖₖ ← −Aₖₖ⁻¹

    and after the last block A is −A⁻¹. Positive definite matrices need no pivoting.

    Args:
        matrix: float32[n × n], C order; only the lower triangle is read.
        progress: reports each block.
        label: the name shown with the progress, such as `EASE: inverse`.
        block: number of rows in a block.

    Raises:
        TastemakerError: the matrix is not positive definite in float32.

    Cost: n³ multiplications and additions, and 12 × n × block bytes in addition to the matrix.
    """
    n = len(matrix)
    starts = range(0, n, block)
    for start in progress.track(starts, label, len(starts)):
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
    """The full inverse of a small positive definite matrix, given by its lower triangle."""
    factor, failed = lapack.spotrf(matrix, lower=1)
    if not failed:
        inverse, failed = lapack.spotri(factor, lower=1)
    if failed:
        raise TastemakerError(
            "the matrix is not positive definite in float32; raise 'regularization'"
        )
    lower: NDArray[np.float32] = np.tril(inverse)
    return np.ascontiguousarray(lower + np.tril(inverse, -1).T)
