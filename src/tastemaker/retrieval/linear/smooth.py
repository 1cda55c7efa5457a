"""The smoothest signals of a graph: the leading eigenvectors of AᵀA by subspace iteration."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.component import FitOptions
from tastemaker.threads import blas_threads

_ROUNDING = 1e-12
"""Squared lengths below this share of the largest are rounding errors."""


def memory_for(rows: int, columns: int, count: int) -> int:
    """The memory that `smoothest` takes in bytes."""
    return 8 * min(count, columns) * (rows + 3 * columns)


def smoothest(
    matrix: csr_array, count: int, passes: int, options: FitOptions, label: str
) -> NDArray[np.float64]:
    """An orthonormal basis of (AᵀA)^passes applied to `count` random signals.

    Subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4). With many passes the basis
    spans the leading right singular vectors of A; with few, it also contains part of the directions
    that are slightly weaker than the last of them.

    Args:
        matrix: float[rows × columns], A.
        count: the number of signals.
        passes: the number of multiplications by AᵀA.
        options: seed of the signals, threads, progress.
        label: the name shown with the progress.

    Returns:
        float64[columns × at most count], orthonormal; fewer columns if the rank of A is lower.

    Cost: passes × count × (2 × entries of A + 2 × columns × count) steps.
    """
    if not count:
        return np.zeros((matrix.shape[1], 0))
    a = matrix.astype(np.float64)
    transposed = a.T.tocsr()
    random = np.random.default_rng(options.seed)
    basis = random.standard_normal((a.shape[1], min(count, a.shape[1])))
    with blas_threads(options.threads):
        for _ in options.progress.track(range(passes), label, passes):
            basis = _orthonormal(transposed @ (a @ basis))
    return basis


def _orthonormal(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """An orthonormal basis of the column span, from the eigenvectors of the Gram matrix."""
    squares, rotation = np.linalg.eigh(vectors.T @ vectors)
    kept = squares > _ROUNDING * squares.max(initial=0)
    basis: NDArray[np.float64] = vectors @ (rotation[:, kept] / np.sqrt(squares[kept]))
    return basis
