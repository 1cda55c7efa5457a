"""Skip-gram with negative sampling, the training algorithm of Item2Vec and Node2Vec.

Training is parallel and gives bitwise identical vectors for any number of threads.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tastemaker.compilation import kernel
from tastemaker.component import FitOptions
from tastemaker.data.ragged import Ragged, offsets_of
from tastemaker.errors import SettingError
from tastemaker.retrieval.graph.streams import below, mixed, next_state, uniform
from tastemaker.retrieval.item_vectors import VectorSettings
from tastemaker.threads import run_chunks

_PARTS = 8
"""Number of parts into which items are split, and the maximum number of threads. It is not a
setting, since the vectors depend on it."""
_PAIRS_AT_A_TIME = 4_000_000
"""Pairs laid out together: two times 16 MB."""
WORTH_THREADS = 50_000
"""Length of sequences below which starting threads takes longer than it saves."""


class SkipGramSettings(VectorSettings):
    """Settings of models trained by skip-gram."""

    popularity: float = Field(0.3, ge=0, le=1)
    """β: a candidate's score is multiplied by its number of users, relative to the maximum, to this
    power; 0 leaves the cosines unchanged."""
    factors: int = Field(128, ge=1, le=2_048)
    """Length of the vectors."""
    window: int = Field(10, ge=1)
    """The maximum distance between the items of a pair; drawn from 1 to this for each item."""
    negatives: int = Field(5, ge=1)
    """Number of negative samples per pair."""
    negative_exponent: float = Field(0.75, ge=-2, le=2)
    """Negatives are sampled in proportion to their count to this power. 0.75 is usual for words;
    values below 0 sample rare items more often (Caselles-Dupré, Lesaint & Royo-Letelier 2018)."""
    learning_rate: float = Field(0.1, gt=0)
    """Initial learning rate; it decreases linearly to a hundredth of this."""


class _AliasTables(NamedTuple):
    """The items of each part with alias tables for weighted sampling (Walker 1977).

    Attributes:
        part: int32[items], the part of each item.
        offsets: int64[parts + 1].
        items: int32[items], by part.
        accept: float64[items], the probability that a place yields its own item.
        other: int32[items], the alias: the item sampled otherwise.
    """

    part: NDArray[np.int32]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    accept: NDArray[np.float64]
    other: NDArray[np.int32]

    @classmethod
    def of(cls, counts: NDArray[np.int64], exponent: float) -> Self:
        """Tables with items dealt to parts by frequency, so that all parts have similar work."""
        part = np.full(len(counts), -1, np.int32)
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] > 0]
        turn = np.arange(len(order)) % (2 * _PARTS)
        part[order] = np.minimum(turn, 2 * _PARTS - 1 - turn)
        items = np.argsort(part, kind="stable")[np.count_nonzero(part < 0) :].astype(np.int32)
        offsets = offsets_of(np.bincount(part[items], minlength=_PARTS))
        weights = np.power(counts[items].astype(np.float64), exponent)
        accept, other = np.ones(len(items)), items.copy()
        for first, last in pairwise(offsets):
            _aliases(weights[first:last], items[first:last], accept[first:last], other[first:last])
        return cls(part, offsets, items, accept, other)


class SkipGram:
    """Vectors in training (Mikolov, Sutskever, Chen, Corrado & Dean 2013, equation 4).

    For each pair of a centre c and a context o, stochastic gradient ascent maximizes

        ln σ(v_c · u_o) + Σ over the negatives ln σ(−v_c · u_n)

    Pairs are sorted by the parts of centre and context. While a thread works on centres of part a
    with contexts and negatives of part b, no other thread accesses either (Zhu, Xu, Qu & Tang 2019,
    GraphVite). No update is lost, and the result does not depend on threads or timing.

    Args:
        counts: int64[items], the approximate number of occurrences of each item; 0 if none.
        settings: dimensions, window, negatives, learning rate.
        options: seed and threads.

    Attributes:
        counts: int64[items].
        vectors: float32[items × factors], v.
        contexts: float32[items × factors], u.

    Cost: window × (1 + negatives) × factors steps for each item of a sequence.
    """

    def __init__(
        self, counts: NDArray[np.int64], settings: SkipGramSettings, options: FitOptions
    ) -> None:
        self._settings, self._options, self.counts = settings, options, counts
        self._tables = _AliasTables.of(counts, settings.negative_exponent)
        self._random = np.random.default_rng(options.seed)
        shape, reach = (len(counts), settings.factors), 0.5 / settings.factors
        self.vectors = self._random.uniform(-reach, reach, shape).astype(np.float32)
        self.contexts = np.zeros(shape, np.float32)

    @staticmethod
    def memory(n_items: int, factors: int) -> int:
        """The memory for training in bytes."""
        return 8 * n_items * factors + 24 * n_items + 16 * 2 * _PAIRS_AT_A_TIME

    def items(self) -> NDArray[np.float32]:
        """The v of each item minus their mean, float32[items × factors]; 0 if it never occurs.

        The common component does not distinguish items (Mu & Viswanath 2018), and it is larger the
        more similar the tastes of the users are.

        Raises:
            SettingError: training diverged, so that the vectors are not finite.
        """
        if not np.isfinite(self.vectors).all():
            raise SettingError(
                f"'learning_rate' {self._settings.learning_rate:g} is too high for this data: "
                "training diverged and the vectors are not finite; lower it"
            )
        share = (self.counts / max(1, int(self.counts.sum()))).astype(np.float32)
        centred: NDArray[np.float32] = self.vectors - np.einsum("i,if->f", share, self.vectors)
        centred[self.counts == 0] = 0
        return centred

    def learn(self, sequences: Ragged, begin: float, end: float) -> None:
        """Trains on sequences of items, which are one portion of the training.

        Args:
            sequences: items in their order; −1 is skipped.
            begin: the share of the training completed before, 0 to 1; the learning rate decreases
                with it.
            end: the share of the training completed after these sequences.
        """
        seed = np.uint64(self._random.integers(1, 2**63))
        whole = max(1, int(sequences.offsets[-1]))
        for first, last in self._batches(sequences):
            some = slice(int(sequences.offsets[first]), int(sequences.offsets[last]))
            done = begin + (end - begin) * some.start / whole
            rate = self._settings.learning_rate * max(0.01, 1 - done)
            threads = self._options.threads if some.stop - some.start >= WORTH_THREADS else 1
            pairs = self._pairs(sequences, first, last, seed, threads)
            self._ascend_pairs(*pairs, np.float32(rate), threads)

    def _batches(self, sequences: Ragged) -> Iterator[tuple[int, int]]:
        """Batches of sequences that have about `_PAIRS_AT_A_TIME` pairs each."""
        tokens = max(1, _PAIRS_AT_A_TIME // (self._settings.window + 1))
        # Even a short sequence takes memory for its counts.
        batch = (sequences.offsets[:-1] + 8 * np.arange(len(sequences))) // tokens
        edges = np.flatnonzero(np.diff(batch, prepend=-1, append=-1))
        yield from zip(edges[:-1].tolist(), edges[1:].tolist())

    def _pairs(
        self, sequences: Ragged, first: int, last: int, seed: np.uint64, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Pairs of a batch by the parts of centre and context: offsets, centres, contexts.

        Within a pair of parts they are in the order of the sequences.
        """
        offsets, window = sequences.offsets[first : last + 1], self._settings.window
        part = self._tables.part
        counts = np.zeros((last - first, _PARTS * _PARTS), np.int64)
        cost = offsets - offsets[0]

        def count(start: int, stop: int) -> None:
            _count_pairs(start, stop, first, offsets, sequences.values, window, part, seed, counts)

        run_chunks(count, cost, threads)
        by_part = counts.sum(axis=0)
        places = np.cumsum(counts, axis=0) - counts + (np.cumsum(by_part) - by_part)
        centres = np.empty(int(by_part.sum()), np.int32)
        contexts = np.empty_like(centres)

        def write(start: int, stop: int) -> None:
            _write_pairs(
                *(start, stop, first, offsets, sequences.values, window, part, seed),
                *(places, centres, contexts),
            )

        run_chunks(write, cost, threads)
        return offsets_of(by_part), centres, contexts

    def _ascend_pairs(
        self,
        offsets: NDArray[np.int64],
        centres: NDArray[np.int32],
        contexts: NDArray[np.int32],
        rate: np.float32,
        threads: int,
    ) -> None:
        """Takes one gradient step per pair; parts processed in parallel share no item."""
        seeds = self._random.integers(1, 2**63, size=_PARTS * _PARTS).astype(np.uint64)
        for turn in self._random.permutation(_PARTS):
            pairs = np.array([a * _PARTS + (a + turn) % _PARTS for a in range(_PARTS)])

            def work(start: int, stop: int, pairs: NDArray[np.int64] = pairs) -> None:
                for both in pairs[start:stop]:
                    some = slice(offsets[both], offsets[both + 1])
                    _ascend(
                        *(centres[some], contexts[some], self.vectors, self.contexts),
                        *(self._negatives_of(int(both) % _PARTS)),
                        *(self._settings.negatives, rate, seeds[both]),
                    )

            size = offsets_of(offsets[pairs + 1] - offsets[pairs])
            run_chunks(work, size, threads)

    def _negatives_of(
        self, part: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
        """The alias table from which negatives of a part are sampled."""
        some = slice(self._tables.offsets[part], self._tables.offsets[part + 1])
        return self._tables.items[some], self._tables.accept[some], self._tables.other[some]


@kernel
def _aliases(weights, items, accept, other):  # type: ignore[no-untyped-def]
    """Writes the alias table: the probability of each place's own item, and its alias."""
    n = len(weights)
    if n == 0:
        return
    share = weights * (n / weights.sum())
    stack = np.empty(n, np.int64)
    low, high = 0, n
    for place in range(n):
        if share[place] < 1:
            stack[low] = place
            low += 1
        else:
            high -= 1
            stack[high] = place
    while low > 0 and high < n:
        low -= 1
        small, large = stack[low], stack[high]
        accept[small], other[small] = share[small], items[large]
        share[large] -= 1 - share[small]
        if share[large] < 1:
            high += 1
            stack[low] = large
            low += 1


@kernel
def _count_pairs(start, stop, first, offsets, items, window, part, seed, counts):  # type: ignore[no-untyped-def]
    """Counts the pairs of sequences start … stop − 1, counted from `first`, by their two parts."""
    parts = np.int64(np.sqrt(counts.shape[1]))
    for row in range(start, stop):
        state = mixed(seed, first + row)
        for place in range(offsets[row], offsets[row + 1]):
            state = next_state(state)
            reach = 1 + below(state, window)
            centre = items[place]
            if centre < 0:
                continue
            for near in range(
                max(offsets[row], place - reach), min(offsets[row + 1], place + reach + 1)
            ):
                if items[near] >= 0 and items[near] != centre:
                    counts[row, part[centre] * parts + part[items[near]]] += 1


@kernel
def _write_pairs(  # type: ignore[no-untyped-def]
    start, stop, first, offsets, items, window, part, seed, places, centres, contexts
):
    """Writes the pairs that `_count_pairs` counted, starting at `places`, and advances these."""
    parts = np.int64(np.sqrt(places.shape[1]))
    for row in range(start, stop):
        state = mixed(seed, first + row)
        for place in range(offsets[row], offsets[row + 1]):
            state = next_state(state)
            reach = 1 + below(state, window)
            centre = items[place]
            if centre < 0:
                continue
            for near in range(
                max(offsets[row], place - reach), min(offsets[row + 1], place + reach + 1)
            ):
                context = items[near]
                if context >= 0 and context != centre:
                    both = part[centre] * parts + part[context]
                    centres[places[row, both]] = centre
                    contexts[places[row, both]] = context
                    places[row, both] += 1


@kernel
def _ascend(  # type: ignore[no-untyped-def]
    centres, contexts, vectors, context_vectors, items, accept, other, negatives, rate, seed
):
    """Takes a stochastic gradient step for each pair, in order; updates vectors in place."""
    factors = vectors.shape[1]
    step = np.empty(factors, np.float32)
    state = seed
    for pair in range(len(centres)):
        v = vectors[centres[pair]]
        step[:] = 0
        for drawn in range(negatives + 1):
            target, label = contexts[pair], np.float32(1)
            if drawn > 0:
                state = next_state(state)
                place = below(state, len(items))
                state = next_state(state)
                target = items[place] if uniform(state) < accept[place] else other[place]
                label = np.float32(0)
                if target == contexts[pair] or target == centres[pair]:
                    continue
            u = context_vectors[target]
            gain = rate * (label - np.float32(1) / (np.float32(1) + np.exp(-_dot(v, u))))
            for f in range(factors):
                step[f] += gain * u[f]
            for f in range(factors):
                u[f] += gain * v[f]
        for f in range(factors):
            v[f] += step[f]


@kernel(fastmath={"reassoc", "nsz"})
def _dot(one, other):  # type: ignore[no-untyped-def]
    """The inner product, in an order of additions fixed at compile time.

    The function writes no array, so the order cannot depend on the memory layout of the vectors.
    """
    total = np.float32(0)
    for f in range(len(one)):
        total += one[f] * other[f]
    return total
