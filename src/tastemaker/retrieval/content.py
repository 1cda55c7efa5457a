"""Content-based retrieval: items similar to a user's history by title, tags and category."""

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
from tastemaker.retrieval.content_profiles import event_weights, profile_rows, row_of
from tastemaker.retrieval.content_vectors import ContentEncoder, ContentSettings, SparseRows
from tastemaker.retrieval.cooccurrence import strongest_reasons
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.trending import TICKS_PER_HALF_LIFE
from tastemaker.statistics import ItemStatistics

Weights = Callable[[NDArray[np.int64]], NDArray[np.float32]]


class ContentConfig(ContentSettings, DislikeSettings):
    """Settings of `Content`."""

    half_life: float = Field(50.0, gt=0)
    """An event counts half after this many later events in the history."""
    profile_terms: int = Field(64, ge=1)
    """The number of terms of a user's profile to look up: the strongest terms of its likes, and as
    many that occur in its dislikes but not in its likes. If items have vectors, their dimensions
    are added to this number."""
    popularity: float = Field(0.75, ge=0)
    """β: a score is multiplied by the item's popularity, relative to the average, to this power."""
    popularity_half_life: str = "180d"
    """The time in which an event loses half its weight for popularity: a number and s, m, h, d or
    w."""

    @field_validator("popularity_half_life")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        parse_duration(value, "popularity_half_life")
        return value


class Content(Retriever):
    """Items whose content is similar to the user's profile (Pazzani & Billsus 2007).

    An item is a vector of length 1 over words, labels and given vectors (`ContentEncoder`). A
    profile is Σ ½^(age / half_life) · log₂(1 + weight) · vector over the history, where age is the
    number of later events and dislikes are multiplied by −`dislike_weight`; its strongest terms are
    looked up. A candidate scores profile · vector × ((p + p̄) / 2p̄)^β, with p its decayed popularity
    and p̄ the mean over items with any; an item without events counts as average. Popularity is
    computed at the last tick (a 32nd of its half-life, at most a day) at or before the request.

    Items need no events: `with_items` adds items that joined the catalogue later.

    Attributes:
        encoder: encodes catalogue rows.
        rows: float32[items × terms] of the fitted items.
        inverted: float32[terms × items], the same transposed: the items that contain a term.
        added: the rows of items added later.

    Cost: `fit`, microseconds per item; a request, the items that contain any of the profile's terms
    and all added items.

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
        """Fits by encoding the catalogue; events are not used."""
        self.encoder = ContentEncoder.of(dataset.catalogue, self.config)
        self.n_fitted = len(dataset.catalogue)
        self.rows = self.encoder.encode(dataset.catalogue, 0, self.n_fitted)
        columns = self.rows.matrix(self.encoder.width).T.tocsr()
        self.inverted = SparseRows.of(columns)
        self.added = _no_rows()
        return self

    @property
    def n_items(self) -> int:
        """The number of known items, fitted and added."""
        return self.n_fitted + len(self.added.offsets) - 1

    def with_items(self, catalogue: Catalogue, changed: NDArray[np.int64] = NO_ITEMS) -> Self:
        """A copy that also knows the catalogue's later items, and the new content of changed ones.

        Only these items are encoded. Words and labels that were unknown in `fit` are ignored.
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
        """The profile of each request's history: its strongest terms and their weights."""
        self.require_fitted()
        history, most = requests.history, self.config.profile_terms + self.encoder.dense
        weight, most = self._event_weights(history), min(most, self.encoder.width)
        return profile_rows(history, weight, self.rows, self.added, self.encoder.width, most)

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The items most similar to the history, weighted by popularity."""
        return self.among(None, requests, n, inventory)

    def among(
        self, weights: Weights | None, requests: Requests, n: int, inventory: Inventory
    ) -> Candidates:
        """The result of `retrieve` with weighted items.

        Args:
            weights: moments int64[m] → float32[m × items], the factor of each item's score; an item
                of weight 0 is not found. None gives all items weight 1.
            requests: the requests.
            n: the maximum number of items per request.
            inventory: catalogue and statistics.
        """
        return self._nearest(
            self.profiles(requests), requests, requests.time, n, inventory, weights
        )

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """The items whose content is most similar to each item's, regardless of popularity."""
        self.require_fitted()
        requests = Requests.of([[int(item)] for item in items])
        vectors = self._vectors(items)
        return exact_top_n(
            lambda chunk: self._similarities(vectors, chunk),
            requests,
            n,
            self.n_items,
            min_score=0.0,
        )

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The cosine of the content vectors of each pair."""
        self.require_fitted()
        cosines = np.zeros(len(left), np.float32)
        _cosines(left, right, *self.rows, *self.added, self.encoder.width, cosines)
        return cosines

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history whose content is most similar to each candidate's."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[np.float32]:
            left, right = np.repeat(history, len(found)), np.tile(found, len(history))
            return self.similarity(left, right).reshape(len(history), len(found))

        history, weight = requests.history, self._event_weights(requests.history)
        kept = weight > 0
        offsets = offsets_of(np.bincount(rows_of(history.offsets)[kept], minlength=len(requests)))
        shape = (len(requests), self.n_items)
        liked = csr_array((weight[kept], history.item[kept], offsets), shape=shape)
        liked.sum_duplicates()
        return strongest_reasons(liked, candidates, between)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the encoder and the vectors of the fitted items; added items are not written."""
        self.encoder.save(writer.child("encoder"))
        self.rows.save(writer.child("rows"))
        self.inverted.save(writer.child("inverted"))

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the encoder and the vectors."""
        self.encoder = ContentEncoder.load(reader.child("encoder"))
        self.rows = SparseRows.load(reader.child("rows"))
        self.inverted = SparseRows.load(reader.child("inverted"))
        self.added = _no_rows()
        self.n_fitted = len(self.rows.offsets) - 1
        return self

    def _event_weights(self, history: Histories) -> NDArray[np.float32]:
        """The weight of each event in its profile, float32[total]; 0 for unknown items."""
        return event_weights(
            history, self.n_items, self.config.half_life, self.config.dislike_weight
        )

    def _vectors(self, items: NDArray[np.int32]) -> SparseRows:
        """The vectors of items; an unknown item has an empty row."""
        fitted = (items >= 0) & (items < self.n_fitted)
        later = (items >= self.n_fitted) & (items < self.n_items)
        known = np.concatenate([np.flatnonzero(fitted), np.flatnonzero(later)])
        picked = self.rows.take(items[fitted]).joined(self.added.take(items[later] - self.n_fitted))
        place = np.full(len(items), len(known))
        place[known] = np.arange(len(known))
        return picked.joined(_one_empty_row()).take(place)

    def _nearest(
        self,
        profiles: SparseRows,
        requests: Requests,
        time: NDArray[np.int64],
        n: int,
        inventory: Inventory,
        weights: Weights | None = None,
    ) -> Candidates:
        """The best items by profile · vector × popularity factor at each moment."""
        half_life = parse_duration(self.config.popularity_half_life, "popularity_half_life")
        tick = max(1, min(half_life // TICKS_PER_HALF_LIFE, MICROSECONDS["d"]))
        moments = time // tick * tick
        use_popularity = self.config.popularity > 0 and inventory.clock == "absolute"

        def score(chunk: slice) -> NDArray[np.float32]:
            scores = self._similarities(profiles, chunk)
            if use_popularity:
                for moment in sorted(set(moments[chunk].tolist())):
                    factor = self._popularity_factor(inventory.statistics, moment, half_life)
                    _multiply(scores, factor, moments[chunk] == moment)
            if weights is not None:
                scores *= weights(time[chunk])
            return scores

        return exact_top_n(score, requests, n, self.n_items, min_score=0.0)

    def _similarities(self, profiles: SparseRows, chunk: slice) -> NDArray[np.float32]:
        """Profile · vector for a slice of `profiles` and all items, float32[chunk × n_items]."""
        scores = np.zeros((chunk.stop - chunk.start, self.n_items), np.float32)
        offsets = profiles.offsets[chunk.start : chunk.stop + 1]
        width = self.encoder.width
        _add_similarities(*(offsets, *profiles[1:], *self.inverted, *self.added, width, scores))
        return scores

    def _popularity_factor(
        self, statistics: ItemStatistics, moment: int, half_life: int
    ) -> NDArray[np.float32]:
        """The popularity factor of every item; the last result is cached, as in `Trending`."""
        latest = self._latest
        if latest is None or latest[:2] != (statistics, moment):
            popularity = statistics.decayed(moment, half_life)
            factor = _relative(popularity) ** np.float32(self.config.popularity)
            latest = self._latest = (statistics, moment, factor)
        return latest[2]


def _relative(popularity: NDArray[np.float32]) -> NDArray[np.float32]:
    """(p + p̄) / 2p̄, with p̄ the mean over items with any popularity; 1 for items without."""
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
def _add_similarities(  # type: ignore[no-untyped-def]
    offsets, terms, weights, holder_offsets, holders, holder_weights, more_offsets, more_terms,
    more_weights, width, scores,
):  # fmt: skip
    """Adds profile · vector to scores[row, item], term by term: fitted items, then added ones."""
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
    """Multiplies the chosen rows by the factor of each item; items beyond its end are unchanged."""
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

    A left row is expanded to a dense array once for consecutive pairs that share it.
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
    """The inner product of a dense vector and a row, by ascending term."""
    total = np.float32(0)
    for entry in range(offsets[row], offsets[row + 1]):
        total += dense[terms[entry]] * weights[entry]
    return total
