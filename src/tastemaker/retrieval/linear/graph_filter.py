"""GF-CF: smooths histories over the graph of users and items, without training."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, diags_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.data.requests import Requests
from tastemaker.errors import ArtifactError
from tastemaker.index import exact_top_n
from tastemaker.index.exact import ScoreChunk
from tastemaker.index.products import products
from tastemaker.inventory import Inventory
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.cooccurrence import strongest_reasons
from tastemaker.retrieval.linear.smooth import memory_for, smoothest
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.scoring import ScoringRetriever

_WIDTH = 1_024
"""Items in a block of the low-pass filter; a block fits in a core's cache."""
_STEP = 8
"""The number of factors that `products` adds at a time."""


class GraphFilterConfig(DislikeSettings):
    """Settings of `GraphFilter`."""

    factors: int = Field(256, ge=1, le=2_048)
    """The number of smoothest signals that pass the ideal low-pass filter."""
    passes: int = Field(2, ge=1, le=100)
    """The number of passes of subspace iteration over the graph; more find the signals more
    exactly."""
    smoothing: float = Field(0.3, ge=0)
    """α: the weight of the ideal low-pass filter relative to the linear one; 0 avoids its cost."""
    reduce: Reduce = "binary"
    """How to combine repeated events of a pair into one weight."""


class GraphFilter(ScoringRetriever):
    """GF-CF, a filter on the graph of users and items (Shen et al. 2021).

    With R̃ = D_U^−½·R·D_I^−½ and V its strongest right singular vectors, a history r scores

        s = r·(P + α·D_I^−½·V·Vᵀ·D_I^½),   P = R̃ᵀR̃

    P attenuates signals the more the less smooth they are; V·Vᵀ passes only the smoothest signals,
    unattenuated. The history is used as it is, 0 or 1, and not divided by the roots of the
    popularity of its items. This follows the authors' code; dividing reduces NDCG by an eighth.

    V is computed with few `passes` of subspace iteration, so that signals slightly weaker than the
    last of V pass in part. This costs no accuracy: on pairs held out of Gowalla's training data,
    two passes gave Recall@20 .215 and the exact vectors of the authors' code .212, in a tenth of
    the time. A hundred passes are as good as exact.

    V has fewer directions than the graph, and few passes mix them, so V·Vᵀ is not 0 between
    unconnected parts of the graph. Items outside the parts of the history are not found.

    P is not formed: a request visits the users who liked its items, and the other items of these
    users. The fitted state therefore has a row for every user, without ids.

    Attributes:
        users: float32[users × items], R̃, of users without ids.
        items: float32[items × users], its transpose.
        blocks: float32[blocks × padded factors × 1,024], V by blocks of items.
        root: float32[items], D_I^½.
        connected: which items the graph connects.

    Cost: `fit`, passes × factors × (4 × events + 2 × items × factors) steps and
    8 × factors × (users + 3 × items) bytes; a request, users of its items × their items, at most
    two steps for each event of all users, and items × factors.

    Raises:
        MemoryBudgetError: from `fit`, if the signals would exceed the budget.

    Example:
        >>> GraphFilter(factors=64)
        GraphFilter(factors=64)
    """

    name = "graph_filter"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True, holds_users=True)
    config: GraphFilterConfig
    users: csr_array
    items: csr_array
    blocks: NDArray[np.float32]
    root: NDArray[np.float32]
    connected: ConnectedItems

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by normalizing the interactions and finding the smoothest signals."""
        liked = dataset.interactions(reduce=self.config.reduce)
        n_items = liked.shape[1]
        name, count = type(self).__name__, self._factors
        options.require_memory(
            64 * liked.nnz + (memory_for(*liked.shape, count)),
            f"{name} with {count} factors for {n_items:,} items",
            "lower 'factors'",
        )
        root = np.sqrt(liked.sum(axis=0, dtype=np.float64))
        user_scale = diags_array(_inverse(np.sqrt(liked.sum(axis=1, dtype=np.float64))))
        self.root = root.astype(np.float32)
        self.connected = ConnectedItems.by_users(liked)
        self.users = (user_scale @ liked @ diags_array(_inverse(root))).tocsr().astype(np.float32)
        self.items = self.users.T.tocsr()
        label = f"{name}: smoothest signals"
        vectors = smoothest(self.users, count, self.config.passes, options, label)
        self.blocks = _in_blocks(vectors.astype(np.float32))
        self.n_fitted = n_items
        return self

    @property
    def _factors(self) -> int:
        """The number of singular vectors needed."""
        return self.config.factors if self.config.smoothing else 0

    def scores(self, requests: Requests) -> ScoreChunk:
        """The sum of both filters applied to each history."""
        liked = requests.history.interactions(self.n_fitted, reduce=self.config.reduce)

        def score(chunk: slice) -> NDArray[np.float32]:
            scores = self._blurred(liked[chunk]) + self._low_passed(liked[chunk])
            self.connected.mask_unconnected(liked[chunk], scores, 0.0)
            return scores

        return score

    def _blurred(self, liked: csr_array) -> NDArray[np.float32]:
        """The linear filter applied to each history, float32[n × items]."""
        scores = np.zeros(liked.shape, np.float32)
        rows = (liked.indptr, liked.indices, liked.data)
        _blur(*rows, *self._item_rows(), *self._user_rows(), scores)
        return scores

    def _low_passed(self, liked: csr_array) -> NDArray[np.float32]:
        """The ideal low-pass filter applied to each history, times α, float32[n × items]."""
        scores = np.zeros(liked.shape, np.float32)
        if self.config.smoothing:
            passed = np.zeros((len(scores), self.blocks.shape[1]), np.float32)
            _gather(liked.indptr, liked.indices, liked.data, self.blocks, self.root, passed)
            passed *= np.float32(self.config.smoothing)
            _spread(passed, self.blocks, self.root, scores)
        return scores

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """The items recommended for a history that consists of the item alone."""
        self.require_fitted()
        requests = Requests.of([[int(item)] for item in items])
        return exact_top_n(
            self.scores(requests), requests, n, self.n_fitted, min_score=self.min_score
        )

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history that adds most to each candidate's score by the linear filter."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[Any]:
            block = np.zeros((len(history), len(found)), np.float32)
            _between(history, found, *self._item_rows(), self.items.shape[1], block)
            return block

        history = self.likes(requests).history
        liked = history.interactions(self.n_fitted, reduce=self.config.reduce)
        return strongest_reasons(liked, candidates, between)

    def _item_rows(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Offsets, users and weights of all items, in the layout that the kernels use."""
        return self.items.indptr, self.items.indices, self.items.data

    def _user_rows(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Offsets, items and weights of all users, in the layout that the kernels use."""
        return self.users.indptr, self.users.indices, self.users.data

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the graph and the smoothest signals."""
        writer.sparse("users", self.users)
        writer.sparse("items", self.items)
        writer.array("blocks", self.blocks)
        writer.array("root", self.root)
        self.connected.save(writer)

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the graph and the smoothest signals."""
        self.users, self.items = reader.sparse("users"), reader.sparse("items")
        self.root = reader.array("root", np.float32, (None,))
        self.n_fitted = len(self.root)
        self.connected = ConnectedItems.load(reader, self.n_fitted)
        count = -(-self.n_fitted // _WIDTH)
        self.blocks = reader.array("blocks", np.float32, (count, None, _WIDTH))
        if self.users.shape != self.items.shape[::-1] or self.users.shape[1] != self.n_fitted:
            raise ArtifactError("the users and the items of a graph do not match: train again")
        return self


def _inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / x, with 0 for x = 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def _in_blocks(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[items × factors] by blocks of items, [blocks × padded factors × items of a block]."""
    n_items, factors = vectors.shape
    count = -(-n_items // _WIDTH)
    blocks = np.zeros((count, -(-factors // _STEP) * _STEP, _WIDTH), np.float32)
    for block in range(count):
        some = vectors[block * _WIDTH : (block + 1) * _WIDTH]
        blocks[block, :factors, : len(some)] = some.T
    return blocks


@kernel
def _blur(  # type: ignore[no-untyped-def]
    offsets, liked, weights, item_offsets, item_users, item_weights, user_offsets, user_items,
    user_weights, scores,
):  # fmt: skip
    """Adds r·R̃ᵀ·R̃ to the row of each request; visits only users who share an item with it."""
    of_user = np.zeros(len(user_offsets) - 1, np.float32)
    met = np.empty(len(of_user), np.int32)
    for request in range(len(scores)):
        count = 0
        for event in range(offsets[request], offsets[request + 1]):
            item = liked[event]
            for entry in range(item_offsets[item], item_offsets[item + 1]):
                user = item_users[entry]
                if of_user[user] == 0:
                    met[count] = user
                    count += 1
                of_user[user] += weights[event] * item_weights[entry]
        for user in met[:count]:
            for entry in range(user_offsets[user], user_offsets[user + 1]):
                scores[request, user_items[entry]] += of_user[user] * user_weights[entry]
            of_user[user] = 0


@kernel
def _gather(offsets, liked, weights, blocks, root, passed):  # type: ignore[no-untyped-def]
    """Adds r·D^−½·V to the row of each request."""
    width = blocks.shape[2]
    for request in range(len(passed)):
        for event in range(offsets[request], offsets[request + 1]):
            item = liked[event]
            if root[item] > 0:
                weight = weights[event] / root[item]
                for factor in range(blocks.shape[1]):
                    value = blocks[item // width, factor, item % width]
                    passed[request, factor] += weight * value


@kernel
def _spread(passed, blocks, root, scores):  # type: ignore[no-untyped-def]
    """Writes passed·Vᵀ·D^½ to the row of each request."""
    width = blocks.shape[2]
    some = np.empty((len(passed), width), np.float32)
    for block in range(len(blocks)):
        products(passed, blocks[block], some)
        start = block * width
        for request in range(len(passed)):
            for item in range(start, min(start + width, len(root))):
                scores[request, item] = some[request, item - start] * root[item]


@kernel
def _between(history, found, offsets, users, weights, n_users, block):  # type: ignore[no-untyped-def]
    """Writes P between each item of a history and each found item."""
    of_user = np.zeros(n_users, np.float32)
    for column in range(len(found)):
        start, stop = offsets[found[column]], offsets[found[column] + 1]
        for entry in range(start, stop):
            of_user[users[entry]] = weights[entry]
        for row in range(len(history)):
            for entry in range(offsets[history[row]], offsets[history[row] + 1]):
                block[row, column] += weights[entry] * of_user[users[entry]]
        for entry in range(start, stop):
            of_user[users[entry]] = 0
