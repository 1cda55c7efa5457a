"""RP3β in ten lines of SciPy, as a reference, since no peer implements it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array


def rp3_beta(likes: csr_array, alpha: float, beta: float, neighbors: int) -> NDArray[np.float64]:
    """w(i, j) = Σ p(i→u)^α p(u→j)^α / (users of j)^β, the largest of each row, dense."""
    x = likes.astype(np.float64)
    per_user, per_item = np.maximum(x.sum(axis=1), 1), np.maximum(x.sum(axis=0), 1)
    to_items = (diags_array(1 / per_user) @ x).tocsr()
    to_users = (x @ diags_array(1 / per_item)).T.tocsr()
    to_items.data **= alpha
    to_users.data **= alpha
    walks: NDArray[np.float64] = (to_users @ to_items).toarray()
    walks /= per_item**beta
    np.fill_diagonal(walks, 0)
    smallest = np.sort(walks, axis=1)[:, -neighbors][:, None]
    return np.where(walks >= smallest, walks, 0)


def lists(likes: csr_array, weights: NDArray[np.float64], users: Any, k: int) -> NDArray[np.int32]:
    """The k items of highest score that each user has not yet liked, int32[users × k]."""
    some = likes[users]
    scores = some @ weights
    scores[some.nonzero()] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
