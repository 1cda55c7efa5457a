"""What items are about: finds what resembles a user's history by title, tags and category."""

from collections.abc import Callable
from copy import copy
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import NO_ITEMS, Capabilities, FitOptions, Retriever, Task
from tastemaker.data.candidates import Candidates
from tastemaker.data.catalogue import Catalogue
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Histories
from tastemaker.data.ragged import offsets_of, rows_of
from tastemaker.data.requests import Requests
from tastemaker.data.times import MICROSECONDS, parse_duration
from tastemaker.index import exact_top_n
from tastemaker.inventory import Inventory
from tastemaker.retrieval.content_profiles import profile_rows, row_of, worths
from tastemaker.retrieval.content_vectors import ContentEncoder, ContentSettings, SparseRows
from tastemaker.retrieval.cooccurrence import strongest_reasons
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.trending import TICKS_PER_HALF_LIFE
from tastemaker.statistics import ItemStatistics

Weights = Callable[[NDArray[np.int64]], NDArray[np.float32]]


class ContentConfig(ContentSettings, DislikeSettings):
    """Settings of `Content`."""

    half_life: float = Field(50.0, gt=0)
    """After so many later events an event of the history counts half."""
    profile_terms: int = Field(64, ge=1)
    """How many terms of a user's profile are looked up: the strongest of its likes, and as many
    that its dislikes are about and its likes are not. Where items have vectors, as many more as
    these have numbers."""
    popularity: float = Field(0.75, ge=0)
    """β: a score is multiplied by the item's popularity, relative to the average, to this power."""
    popularity_half_life: str = "180d"
    """In this time an event loses half its weight for popularity: a number and s, m, h, d or w."""

    @field_validator("popularity_half_life")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        parse_duration(value, "popularity_half_life")
        return value


class Content(Retriever):
    """Items whose contents point the way a profile does (Pazzani & Billsus 2007).

    An item is a vector of length 1 over words, labels and given vectors (`ContentEncoder`). A
    profile is Σ ½^(age / half_life) · log₂(1 + weight) · vector over the history, age counted in
    later events, disliked events times −`dislike_weight`; its strongest terms are looked up. A
    candidate scores profile · vector × ((p + p̄) / 2p̄)^β, p its decayed popularity, p̄ the mean over
    items that have any; an item without events counts as average. Popularity is read at the last
    tick (a 32nd of its half-life, at most a day) at or before the request.

    It needs no events of an item: `with_items` takes up what was added to the catalogue later.

    Attributes:
        encoder: what catalogue columns become.
        rows: float32[items × terms] of the fitted items.
        inverted: float32[terms × items] of the same: which items hold a term.
        added: the rows of items added later.

    Cost: `fit`, microseconds an item; a request, the items that hold any of the profile's terms
    and all added ones.

    Example:
        >>> Content(half_life=20)
        Content(half_life=20.0)
    """

    name = "content"
    capabilities: ClassVar = Capabilities(history="native", new_items=True, similar_items=True)
    reason_text: ClassVar = "similar to what you chose"
    config: ContentConfig
    encoder: ContentEncoder
    rows: SparseRows
    inverted: SparseRows
    added: SparseRows
    _latest: tuple[ItemStatistics, int, NDArray[np.float32]] | None = None

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Encodes the catalogue; the events are not read."""
        self.encoder = ContentEncoder.of(dataset.catalogue, self.config)
        self.n_fitted = len(dataset.catalogue)
        self.rows = self.encoder.encode(dataset.catalogue, 0, self.n_fitted)
        columns = self.rows.matrix(self.encoder.width).T.tocsr()
        self.inverted = SparseRows.of(columns)
        self.added = _no_rows()
        return self

    @property
    def n_items(self) -> int:
        """The items it knows, fitted and added."""
        return self.n_fitted + len(self.added.offsets) - 1

    def with_items(self, catalogue: Catalogue, changed: NDArray[np.int64] = NO_ITEMS) -> Self:
        """This retriever that also knows the catalogue's later items, and later ones as changed.

        Only these are encoded. Words and labels unknown when it was fitted are left out.
        """
        self.require_fitted()
        grown = copy(self)
        if len(changed):
            again = self.encoder.encode(catalogue.take(changed), 0, len(changed))
            grown.added = self.added.with_rows(changed - self.n_fitted, again)
        if len(catalogue) > self.n_items:
            later = self.encoder.encode(catalogue, self.n_items, len(catalogue))
            grown.added = grown.added.joined(later)
        return grown

    def profiles(self, requests: Requests) -> SparseRows:
        """What each request's history is about: its strongest terms and their weights."""
        self.require_fitted()
        history, most = requests.history, self.config.profile_terms + self.encoder.dense
        worth, most = self._worth(history), min(most, self.encoder.width)
        return profile_rows(history, worth, self.rows, self.added, self.encoder.width, most)

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The items most like the history, the better liked among those equally like it."""
        return self.among(None, requests, n, inventory)

    def among(
        self, weights: Weights | None, requests: Requests, n: int, inventory: Inventory
    ) -> Candidates:
        """`retrieve` where some items count more, or not at all.

        Args:
            weights: moments int64[m] → float32[m × items], what each item's score is multiplied
                by; an item of weight 0 is not found. None, 1 for all.
            requests: whose histories to look at.
            n: how many items at most.
            inventory: catalogue and statistics.
        """
        return self._nearest(
            self.profiles(requests), requests, requests.time, n, inventory, weights
        )

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """The items whose contents are most like each item's, however popular they are."""
        self.require_fitted()
        asked = Requests.of([[int(item)] for item in items])
        vectors = self._vectors(items)
        return exact_top_n(
            lambda chunk: self._likeness(vectors, chunk), asked, n, self.n_items, min_score=0.0
        )

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The cosine of the two items' contents."""
        self.require_fitted()
        cosines = np.zeros(len(left), np.float32)
        _cosines(left, right, *self.rows, *self.added, self.encoder.width, cosines)
        return cosines

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history whose content is most like each candidate's."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.float32]:
            left, right = np.repeat(history, len(found)), np.tile(found, len(history))
            return self.similarity(left, right).reshape(len(history), len(found))

        history, worth = requests.history, self._worth(requests.history)
        kept = worth > 0
        offsets = offsets_of(np.bincount(rows_of(history.offsets)[kept], minlength=len(requests)))
        shape = (len(requests), self.n_items)
        liked = csr_array((worth[kept], history.item[kept], offsets), shape=shape)
        liked.sum_duplicates()
        return strongest_reasons(liked, candidates, between)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes encoder and vectors; added items are no part of an artifact."""
        self.encoder.save(writer.child("encoder"))
        self.rows.save(writer.child("rows"))
        self.inverted.save(writer.child("inverted"))

    def load(self, reader: ArtifactReader) -> Self:
        """Maps encoder and vectors."""
        self.encoder = ContentEncoder.load(reader.child("encoder"))
        self.rows = SparseRows.load(reader.child("rows"))
        self.inverted = SparseRows.load(reader.child("inverted"))
        self.added = _no_rows()
        self.n_fitted = len(self.rows.offsets) - 1
        return self

    def _worth(self, history: Histories) -> NDArray[np.float32]:
        """How much each event counts in its profile, float32[total]; 0 for unknown items."""
        return worths(history, self.n_items, self.config.half_life, self.config.dislike_weight)

    def _vectors(self, items: NDArray[np.int32]) -> SparseRows:
        """The vectors of items; none for an unknown one."""
        fitted = (items >= 0) & (items < self.n_fitted)
        later = (items >= self.n_fitted) & (items < self.n_items)
        known = np.concatenate([np.flatnonzero(fitted), np.flatnonzero(later)])
        picked = self.rows.take(items[fitted]).joined(self.added.take(items[later] - self.n_fitted))
        place = np.full(len(items), len(known))
        place[known] = np.arange(len(known))
        return picked.joined(_one_empty_row()).take(place)

    def _nearest(
        self,
        asked: SparseRows,
        requests: Requests,
        time: NDArray[np.int64],
        n: int,
        inventory: Inventory,
        weights: Weights | None = None,
    ) -> Candidates:
        """The best of asked · vector × liking, as of each moment."""
        half_life = parse_duration(self.config.popularity_half_life, "popularity_half_life")
        tick = max(1, min(half_life // TICKS_PER_HALF_LIFE, MICROSECONDS["d"]))
        moments = time // tick * tick
        by_liking = self.config.popularity > 0 and inventory.clock == "absolute"

        def score(chunk: slice) -> NDArray[np.float32]:
            scores = self._likeness(asked, chunk)
            if by_liking:
                for moment in sorted(set(moments[chunk].tolist())):
                    liking = self._liking(inventory.statistics, moment, half_life)
                    _multiply(scores, liking, moments[chunk] == moment)
            if weights is not None:
                scores *= weights(time[chunk])
            return scores

        return exact_top_n(score, requests, n, self.n_items, min_score=0.0)

    def _likeness(self, asked: SparseRows, chunk: slice) -> NDArray[np.float32]:
        """Asked · vector for some rows of `asked` and every item, float32[chunk × n_items]."""
        scores = np.zeros((chunk.stop - chunk.start, self.n_items), np.float32)
        offsets = asked.offsets[chunk.start : chunk.stop + 1]
        width = self.encoder.width
        _add_likeness(*(offsets, *asked[1:], *self.inverted, *self.added, width, scores))
        return scores

    def _liking(
        self, statistics: ItemStatistics, moment: int, half_life: int
    ) -> NDArray[np.float32]:
        """The factor of every item by its popularity; the latest answer is kept, as in Trending."""
        latest = self._latest
        if latest is None or latest[:2] != (statistics, moment):
            popularity = statistics.decayed(moment, half_life)
            factor = _relative(popularity) ** np.float32(self.config.popularity)
            latest = self._latest = (statistics, moment, factor)
        return latest[2]


def _relative(popularity: NDArray[np.float32]) -> NDArray[np.float32]:
    """(p + p̄) / 2p̄, p̄ the mean over items that have any popularity; 1 for those that have none."""
    some = popularity > 0
    if not some.any():
        return np.ones_like(popularity)
    mean = popularity[some].mean()
    return np.where(some, (popularity + mean) / (2 * mean), np.float32(1)).astype(np.float32)


def _no_rows() -> SparseRows:
    return SparseRows(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def _one_empty_row() -> SparseRows:
    return SparseRows(np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


@kernel
def _add_likeness(  # type: ignore[no-untyped-def]
    offsets, terms, weights, holder_offsets, holders, holder_weights, more_offsets, more_terms,
    more_weights, width, scores,
):  # fmt: skip
    """Adds asked · vector to scores[row, item], term by term: of the holders, then added items."""
    n_fitted, n_added = scores.shape[1] - len(more_offsets) + 1, len(more_offsets) - 1
    dense = np.zeros(width if n_added else 0, np.float32)
    for row in range(len(scores)):
        out = scores[row]
        for place in range(offsets[row], offsets[row + 1]):
            term, weight = terms[place], weights[place]
            for entry in range(holder_offsets[term], holder_offsets[term + 1]):
                out[holders[entry]] += weight * holder_weights[entry]
        if n_added == 0:
            continue
        for place in range(offsets[row], offsets[row + 1]):
            dense[terms[place]] = weights[place]
        for added in range(n_added):
            for entry in range(more_offsets[added], more_offsets[added + 1]):
                out[n_fitted + added] += dense[more_terms[entry]] * more_weights[entry]
        for place in range(offsets[row], offsets[row + 1]):
            dense[terms[place]] = 0


@kernel
def _multiply(scores, factor, chosen):  # type: ignore[no-untyped-def]
    """Multiplies the chosen rows by an item's factor; items beyond its end keep their score."""
    n = min(scores.shape[1], len(factor))
    for row in range(len(scores)):
        if chosen[row]:
            for item in range(n):
                scores[row, item] *= factor[item]


@kernel
def _cosines(  # type: ignore[no-untyped-def]
    left, right, row_offsets, row_terms, row_weights, more_offsets, more_terms, more_weights, width,
    out,
):  # fmt: skip
    """Writes the inner product of each pair of rows, by ascending term, at most 1.

    A left row is spread out once for all pairs in a row that share it.
    """
    n_fitted = len(row_offsets) - 1
    dense = np.zeros(width, np.float32)
    spread = row_terms[:0]
    for pair in range(len(left)):
        if pair == 0 or left[pair] != left[pair - 1]:
            for term in spread:
                dense[term] = 0
            spread, weights = row_of(
                left[pair], row_offsets, row_terms, row_weights, more_offsets, more_terms,
                more_weights,
            )  # fmt: skip
            for place in range(len(spread)):
                dense[spread[place]] = weights[place]
        item = right[pair]
        total = np.float32(0)
        if 0 <= item < n_fitted:
            total = _product(dense, item, row_offsets, row_terms, row_weights)
        elif n_fitted <= item < n_fitted + len(more_offsets) - 1:
            total = _product(dense, item - n_fitted, more_offsets, more_terms, more_weights)
        out[pair] = min(total, np.float32(1))


@kernel
def _product(dense, row, offsets, terms, weights):  # type: ignore[no-untyped-def]
    """Dense · the row, by ascending term."""
    total = np.float32(0)
    for entry in range(offsets[row], offsets[row + 1]):
        total += dense[terms[entry]] * weights[entry]
    return total
