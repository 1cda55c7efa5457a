"""User-based nearest neighbours: items liked by similar users."""

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.data.ragged import Ragged, offsets_of, ranges
from tastemaker.data.requests import Requests
from tastemaker.index.exact import ScoreChunk
from tastemaker.index.heap import best_first, keep
from tastemaker.retrieval.cooccurrence import Interactions, strongest_reasons
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.scoring import ScoringRetriever


class UserKNNConfig(DislikeSettings):
    """Settings of `UserKNN`."""

    neighbors: int = Field(100, ge=1)
    """Number of the users most similar to a history to use."""
    similarity: Literal["cosine", "pearson", "jaccard", "tfidf", "bm25"] = "tfidf"
    """The measure of similarity between the likes of two users."""
    shrinkage: float = Field(0.0, ge=0)
    """Added to the denominator: shrinks similarities based on few items towards zero."""
    min_common: int = Field(1, ge=1)
    """The minimum number of common likes for a user to be a neighbour."""
    amplification: float = Field(2.0, gt=0, le=10)
    """Exponent of the similarity: values above 1 give the nearest users more weight (Breese et al.
    1998)."""
    k1: float = Field(1.2, gt=0)
    """For BM25: larger values let repeated events of a pair count more before they saturate."""
    b: float = Field(0.75, ge=0, le=1)
    """For BM25: how much users with many likes are dampened."""
    reduce: Reduce = "log"
    """How to combine repeated events of a pair into one weight."""


class UserKNN(ScoringRetriever):
    """User-based collaborative filtering (Herlocker, Konstan, Borchers & Riedl 1999).

    The neighbours are the training users with the highest

        s(h, v) = (x_h·x_v − c_h c_v) / (l_h l_v + [Jaccard: d_h + d_v − x_h·x_v] + shrinkage)

    where h is a history and x its weights, with absent interactions as zeros. The cosine has
    l = ‖x‖ and c = 0; Pearson has c = Σx/√items and l = ‖x − mean(x)‖; Jaccard has binary x, d the
    number of items, and l = 0. TF-IDF multiplies ln(1 + x) by the item's ln(users/d) + 1 and uses
    the cosine. BM25 (Robertson & Walker 1994) has users as documents and items as terms, with
    l = 1. A candidate scores Σ over the neighbours of s^amplification × the neighbour's weight.

    A user in the training data is their own nearest neighbour. This neighbour only supports items
    that the user already knows.

    Attributes:
        users: float32[users × items], the likes of the training users.
        read: float32[n], the weights of `users` transformed for the similarity.
        fans: int32[n], the users who liked each item, ascending within an item.
        fan_offsets: int64[items + 1], the offsets of each item in `fans`.
        of_fans: float32[n], the weights of `read` in the order of `fans`.
        figures: float32[3 × users], c, l and d of the formula.
        rarity: float32[items], the factor of each item's weight.
        length: float32[1], the mean total weight of a user, for BM25.

    Cost: `fit`, a few passes over the events, and 20 bytes for each pair; a request, the users of
    each item of the history, neighbors × their likes, and memory for one number per user.

    Example:
        >>> UserKNN(neighbors=50, similarity="jaccard")
        UserKNN(neighbors=50, similarity='jaccard')
    """

    name = "user_knn"
    capabilities: ClassVar = Capabilities(history="native", holds_users=True)
    reason_text: ClassVar[str] = "chosen by people with a taste like yours"
    averages: ClassVar = True
    config: UserKNNConfig
    users: csr_array
    read: NDArray[np.float32]
    fans: NDArray[np.int32]
    fan_offsets: NDArray[np.int64]
    of_fans: NDArray[np.float32]
    figures: NDArray[np.float32]
    rarity: NDArray[np.float32]
    length: NDArray[np.float32]

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by storing the likes by user and by item."""
        users = dataset.interactions(reduce=self.config.reduce)
        n_users, n_items = users.shape
        options.require_memory(
            56 * users.nnz + 24 * n_users,
            f"UserKNN on {n_users:,} users",
            "use another model for a log of this size, such as ItemKNN, which stores no users",
        )
        per_item = np.bincount(users.indices, minlength=n_items)
        self.rarity = _rarity(per_item, n_users, self.config.similarity)
        liked = np.bincount(_rows(users), users.data, n_users)
        self.length = np.array([max(liked.mean(), 1e-12) if n_users else 1], np.float32)
        self.users = users
        self.read = self._read(users)
        pairs = Interactions.of(csr_array((self.read, users.indices, users.indptr), users.shape))
        self.fans, self.fan_offsets = pairs.item_users, pairs.item_offsets
        self.of_fans = pairs.item_weights
        self.figures = self._figures(users)
        self.n_fitted = n_items
        return self

    def nearest_users(self, requests: Requests) -> tuple[Ragged, NDArray[np.float32]]:
        """The users most similar to each history, nearest first, and their similarities.

        Returns:
            User indices of the training data (`dataset.users.ids` maps them to ids), a row for each
            request; and the similarity s of each, float32[total].
        """
        self.require_fitted()
        near, similarity, found = self._near(self._liked(requests), slice(0, len(requests)))
        flat = ranges(np.arange(len(requests)) * near.shape[1], found)
        return Ragged(offsets_of(found), near.ravel()[flat]), similarity.ravel()[flat]

    def scores(self, requests: Requests) -> ScoreChunk:
        """The scores of all items from the neighbours of each history."""
        liked = self._liked(requests)
        power = np.float32(self.config.amplification)

        def score(chunk: slice) -> NDArray[np.float32]:
            near, similarity, found = self._near(liked, chunk)
            dense = np.zeros((chunk.stop - chunk.start, self.n_fitted), np.float32)
            amplified = similarity if power == 1 else np.power(similarity, power)
            rows = (self.users.indptr, self.users.indices, self.users.data)
            _add_neighbors(near, amplified, found, *rows, dense)
            return dense

        return score

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history with the highest cosine to the candidate, by their users."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.float32]:
            block = np.zeros((len(history), len(found)), np.float32)
            _shared(history, found, self.fan_offsets, self.fans, block)
            return block

        return strongest_reasons(self._liked(self.likes(requests)), candidates, between)

    def _liked(self, requests: Requests) -> csr_array:
        """The weights of each history, float32[requests × n_fitted]."""
        return requests.history.interactions(self.n_fitted, reduce=self.config.reduce)

    def _near(
        self, liked: csr_array, chunk: slice
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        """The neighbours of some histories: users, similarities [chunk × neighbors], counts."""
        some = liked[chunk]
        n = chunk.stop - chunk.start
        k = min(self.config.neighbors, max(1, self.users.shape[0]))
        near = np.empty((n, k), np.int32)
        similarity = np.zeros((n, k), np.float32)
        found = np.zeros(n, np.int64)
        _nearest_users(
            *(some.indptr, some.indices, self._read(some), self._figures(some)),
            *(self.fan_offsets, self.fans, self.of_fans, self.figures),
            *(np.float32(self.config.shrinkage), self.config.similarity == "jaccard"),
            *(self.config.min_common, near, similarity, found),
        )
        return near, similarity, found

    def _read(self, rows: csr_array) -> NDArray[np.float32]:
        """The weights of interactions transformed for the similarity, float32[nnz]."""
        config, x = self.config, rows.data
        if config.similarity == "jaccard":
            return np.ones(len(x), np.float32)
        if config.similarity == "tfidf":
            x = np.log1p(x) * self.rarity[rows.indices]
        elif config.similarity == "bm25":
            row = _rows(rows)
            length = np.bincount(row, x, rows.shape[0]).astype(np.float32)
            longest = config.k1 * (1 - config.b + config.b * length / self.length[0])
            x = x * (config.k1 + 1) / (x + longest[row]) * self.rarity[rows.indices]
        return x.astype(np.float32)

    def _figures(self, rows: csr_array) -> NDArray[np.float32]:
        """c, l and d of each row, float32[3 × rows]."""
        row, x = _rows(rows), self._read(rows).astype(np.float64)
        n, n_items = rows.shape
        squares = np.bincount(row, x**2, n)
        figures = np.zeros((3, n), np.float32)
        if self.config.similarity == "jaccard":
            figures[2] = np.bincount(row, minlength=n)
        elif self.config.similarity == "bm25":
            figures[1] = 1
        elif self.config.similarity == "pearson":
            total = np.bincount(row, x, n)
            figures[0] = total / np.sqrt(max(n_items, 1))
            figures[1] = np.sqrt(np.maximum(squares - total**2 / max(n_items, 1), 0))
        else:
            figures[1] = np.sqrt(squares)
        return figures

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the likes by user and by item."""
        writer.sparse("users", self.users)
        for name in ("read", "fans", "fan_offsets", "of_fans", "figures", "rarity", "length"):
            writer.array(name, getattr(self, name))

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the likes by user and by item."""
        self.users = reader.sparse("users")
        (n_users, n_items), pairs = self.users.shape, (self.users.nnz,)
        self.read = reader.array("read", np.float32, pairs)
        self.fans = reader.array("fans", np.int32, pairs, below=n_users)
        self.fan_offsets = reader.offsets("fan_offsets", n_items, self.users.nnz)
        self.of_fans = reader.array("of_fans", np.float32, pairs)
        self.figures = reader.array("figures", np.float32, (3, n_users))
        self.rarity = reader.array("rarity", np.float32, (n_items,))
        self.length = reader.array("length", np.float32, (1,))
        self.n_fitted = n_items
        return self


def _rows(matrix: csr_array) -> NDArray[np.int64]:
    """The row of every entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _rarity(per_item: NDArray[np.int64], n_users: int, similarity: str) -> NDArray[np.float32]:
    """The inverse document frequency of each item, float32[items]."""
    if similarity == "tfidf":
        return (np.log(max(n_users, 1) / np.maximum(per_item, 1)) + 1).astype(np.float32)
    if similarity == "bm25":
        return np.log1p((n_users - per_item + 0.5) / (per_item + 0.5)).astype(np.float32)
    return np.ones(len(per_item), np.float32)


@kernel
def _nearest_users(  # type: ignore[no-untyped-def]
    offsets, items, weights, own, fan_offsets, fans, of_fans, figures, shrinkage, jaccard,
    min_common, near, similarity, found,
):  # fmt: skip
    """Writes the nearest users of each history, nearest first."""
    n_users = figures.shape[1]
    row = np.zeros(n_users, np.float32)
    common = np.zeros(n_users, np.int32)
    touched = np.empty(n_users, np.int32)
    for request in range(len(near)):
        together = 0
        for entry in range(offsets[request], offsets[request + 1]):
            item, weight = items[entry], weights[entry]
            for place in range(fan_offsets[item], fan_offsets[item + 1]):
                user = fans[place]
                if common[user] == 0:
                    touched[together] = user
                    together += 1
                common[user] += 1
                row[user] += weight * of_fans[place]
        kept = 0
        for user in touched[:together]:
            over = row[user] - own[0, request] * figures[0, user]
            under = own[1, request] * figures[1, user] + shrinkage
            if jaccard:
                under += own[2, request] + figures[2, user] - row[user]
            if common[user] >= min_common and over > 0 and under > 0:
                kept = keep(
                    np.float32(over / under), user, near[request], similarity[request], kept
                )
            row[user], common[user] = 0, 0
        best_first(near[request], similarity[request], kept)
        found[request] = kept


@kernel
def _add_neighbors(near, amplified, found, offsets, items, weights, scores):  # type: ignore[no-untyped-def]
    """Adds the likes of the neighbours, weighted by similarity, to each request's scores."""
    for request in range(len(scores)):
        for place in range(found[request]):
            user, weight = near[request, place], amplified[request, place]
            for entry in range(offsets[user], offsets[user + 1]):
                scores[request, items[entry]] += weight * weights[entry]


@kernel
def _shared(history, found, fan_offsets, fans, block):  # type: ignore[no-untyped-def]
    """Writes the cosine of the users of each history item and of each found item."""
    for row in range(len(history)):
        for column in range(len(found)):
            a, a_end = fan_offsets[history[row]], fan_offsets[history[row] + 1]
            b, b_end = fan_offsets[found[column]], fan_offsets[found[column] + 1]
            size = np.float32(a_end - a) * np.float32(b_end - b)
            shared = 0
            while a < a_end and b < b_end:
                difference = fans[a] - fans[b]
                shared += difference == 0
                a += difference <= 0
                b += difference >= 0
            block[row, column] = np.float32(shared) / np.sqrt(size) if shared else np.float32(0)
