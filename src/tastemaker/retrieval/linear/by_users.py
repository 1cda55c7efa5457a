"""The inverse for EASE by users × users, for data with far fewer users than items."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from tastemaker.progress import Progress
from tastemaker.retrieval.linear.inverse import BLOCK

_SPARSE = 20
"""The cost of a step of a sparse product, in steps of a dense product."""
_BLOCK_BYTES = 64 << 20


def few_users(users: csr_array) -> bool:
    """Whether `inverse_by_users` is faster than inverting a matrix of items × items.

    Args:
        users: X [users × items].
    """
    n_users, n_items = int((np.diff(users.indptr) > 0).sum()), users.shape[1]
    by_users = 2 * n_users**3 + _SPARSE * users.nnz * (n_users + n_items)
    return bool(n_users < n_items / 2 and by_users < n_items**3)


def bytes_by_users(users: csr_array) -> int:
    """The peak memory of `inverse_by_users` in bytes, not counting its result."""
    n_users, n_items = users.shape
    return 4 * n_users * n_items + 24 * n_users**2 + 8 * BLOCK * n_users + _BLOCK_BYTES


def inverse_by_users(
    users: csr_array, regularization: float, dropout: float, progress: Progress
) -> NDArray[np.float32]:
    """P = (XᵀX / (1 − δ on the diagonal) + λI)⁻¹, float32[items × items].

    With the diagonal D = λ + diag(XᵀX) δ / (1 − δ) this is (D + XᵀX)⁻¹, which by the Woodbury
    identity (1950) equals

        D⁻¹ − D⁻¹Xᵀ (I + XD⁻¹Xᵀ)⁻¹ XD⁻¹

    Args:
        users: X [users × items].
        regularization: λ.
        dropout: δ.
        progress: reports each block of rows.

    Cost: users³ + entries × (users + items) steps, and `bytes_by_users` in addition to the result.
    """
    entries = users[np.diff(users.indptr) > 0].astype(np.float64)
    n_users, n_items = entries.shape
    squares = np.bincount(entries.indices, entries.data**2, n_items)
    diagonal = regularization + squares * (dropout / (1 - dropout))
    scaled = entries.copy()
    scaled.data /= diagonal[entries.indices]
    core = (scaled @ entries.T).toarray()
    core[np.diag_indices(n_users)] += 1
    inner = cho_solve(cho_factor(core, lower=True, overwrite_a=True), np.eye(n_users))
    del core
    by_item = csr_array(scaled.T)
    right = np.empty((n_users, n_items), np.float32)
    for start in range(0, n_items, BLOCK):
        right[:, start : start + BLOCK] = (by_item[start : start + BLOCK] @ inner).T
    del inner
    left = by_item.astype(np.float32)
    inverse = np.empty((n_items, n_items), np.float32)
    block = max(1, _BLOCK_BYTES // (4 * n_items))
    starts = range(0, n_items, block)
    for start in progress.track(starts, "EASE: inverse", len(starts)):
        inverse[start : start + block] = -(left[start : start + block] @ right)
    inverse[np.diag_indices(n_items)] += (1 / diagonal).astype(np.float32)
    return inverse
