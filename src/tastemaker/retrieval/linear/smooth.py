"""The smoothest signals of a graph: what is strongest in AᵀA, by a few products with A."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.component import FitOptions
from tastemaker.threads import blas_threads

_ROUNDING = 1e-12
"""Squared lengths below this share of the largest are rounding errors."""


def memory_for(rows: int, columns: int, count: int) -> int:
    """Bytes that `smoothest` takes."""
    return 8 * min(count, columns) * (rows + 3 * columns)


def smoothest(
    matrix: csr_array, count: int, passes: int, options: FitOptions, told: str
) -> NDArray[np.float64]:
    """An orthonormal basis of what `count` random signals become by (AᵀA)^passes.

    Subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4). With many passes these are
    the strongest right singular vectors of A, but for a rotation; with few, what is hardly weaker
    than the last of them is let through in part.

    Args:
        matrix: float[rows × columns], A.
        count: how many signals.
        passes: how often each is multiplied by AᵀA.
        options: seed of the signals, threads, progress.
        told: what to tell of the progress.

    Returns:
        float64[columns × at most count], orthonormal; fewer where A has no more rank.

    Cost: passes × count × (2 × entries of A + 2 × columns × count) steps.
    """
    if not count:
        return np.zeros((matrix.shape[1], 0))
    a = matrix.astype(np.float64)
    transposed = a.T.tocsr()
    random = np.random.default_rng(options.seed)
    basis = random.standard_normal((a.shape[1], min(count, a.shape[1])))
    with blas_threads(options.threads):
        for _ in options.progress.track(range(passes), told, passes):
            basis = _orthonormal(transposed @ (a @ basis))
    return basis


def _orthonormal(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """An orthonormal basis of what the columns span, from the eigenvectors of their Gram matrix."""
    squares, rotation = np.linalg.eigh(vectors.T @ vectors)
    kept = squares > _ROUNDING * squares.max(initial=0)
    basis: NDArray[np.float64] = vectors @ (rotation[:, kept] / np.sqrt(squares[kept]))
    return basis
