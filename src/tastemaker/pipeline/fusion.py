"""How a placement's sources make one list: how many candidates each gives, and its weight.

Numbers that a project file states are kept. Where it only names its sources, both are learned from
the training windows: the weights by coordinate ascent on NDCG@10 (Metzler & Croft 2007), beginning
with the best single source, the quotas by how many relevant items each finds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.ragged import offsets_of, ranges, rows_of
from tastemaker.metrics import UserBootstrap
from tastemaker.pipeline.merge import RANK_OFFSET
from tastemaker.project import Placement

K = 10
LEAST_WEIGHT = 1e-4
"""Of a source that improves no order: its candidates follow those of the others."""
_STEPS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Weights that are tried, as multiples of the largest weight of the other sources."""
_PASSES = 3
_GAIN = 1.001
"""A weight changes only for this improvement of NDCG: less is chance."""
_BLOCK = 10
"""Candidates by which a quota grows, and the smallest quota."""
_FOLDS = 3
_NEAR = 40
"""The deepest rank from which a mixture of sources brings an item into a list of ten."""
_FEWEST_REQUESTS = 30
"""With fewer requests for which a source found a relevant item nothing is learned."""

Figures = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the lists of a placement's sources become one.

    Attributes:
        quotas: source → how many of its best are candidates for certain.
        weights: source → its weight in reciprocal rank fusion, above 0; the largest is 1.
        candidates: how many distinct candidates there are room for; what the quotas leave goes to
            the best others by fused score.
        notes: where the numbers come from: `learned`, and if so `learned_weights`,
            `learned_quotas`, `requests`, `best_source`, and NDCG@10 of `best_source_ndcg` and
            `fused_ndcg` in the training windows.
    """

    quotas: dict[str, int]
    weights: dict[str, float]
    candidates: int
    notes: dict[str, Any] = field(default_factory=lambda: {"learned": False})

    @classmethod
    def stated(cls, placement: Placement) -> "Fusion":
        """The numbers of the project file; even ones where it states none.

        Weights that are not stated are in proportion to stated quotas.
        """
        names = tuple(placement.retrievers)
        even = max(1, placement.candidates // max(1, len(names)))
        quotas = {name: quota or even for name, quota in placement.sources.items()}
        weights = dict(placement.weights) if placement.weights else dict(quotas)
        scaled = _scaled([float(weights.get(name, 0)) for name in names], names)
        return cls(quotas, scaled, sum(quotas.values()))

    def scores(self, ranks: NDArray[np.int16], sources: Sequence[str]) -> NDArray[np.float32]:
        """The fused score of candidates, as `merge` computes it, float32[rows].

        Args:
            ranks: int16[rows × S], the rank in each source from 0; −1 where it was not found.
            sources: the names of the S sources.
        """
        total = np.zeros(len(ranks))
        for place, name in enumerate(sources):
            found = ranks[:, place] >= 0
            share = (RANK_OFFSET + 1) / (RANK_OFFSET + 1 + ranks[:, place].astype(np.float64))
            total += np.where(found, self.weights[name] * share, 0.0)
        return np.asarray(total, np.float32)

    def __str__(self) -> str:
        """In words: who leads, with which weights."""
        shown = ", ".join(
            f"{name} {weight:.2f} (at least {self.quotas[name]} candidates)"
            for name, weight in sorted(self.weights.items(), key=lambda pair: -pair[1])
        )
        if not self.notes["learned"]:
            return f"{shown}; nothing was learned from the past"
        best, alone = self.notes["best_source"], self.notes["best_source_ndcg"]
        fused = self.notes["fused_ndcg"]
        if self.notes["learned_weights"] and fused <= alone:
            return f"{best} orders alone, no mixture was better: NDCG@10 {alone:.4f}; {shown}"
        stated = "" if self.notes["learned_weights"] else ", with the weights of the project file"
        figures = f"NDCG@10 {fused:.4f} in the training windows{stated}, {best} alone {alone:.4f}"
        return f"{figures}; {shown}"

    def to_dict(self) -> dict[str, Any]:
        """For an artifact's manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Found:
    """What the sources found for requests of the past, and which of it was relevant.

    Attributes:
        user: int32[requests], whose each request is.
        offsets: int64[requests + 1], where each request's candidates begin.
        ranks: int16[candidates × S], the rank in each source from 0; −1 where it was not found.
        hit: bool[candidates], whether it was relevant.
        relevant: int64[requests], how many items were relevant, found or not.
        relevant_ranks: int16[relevant items × S], their rank in each source's own list; −1 where
            it did not find them.
    """

    user: NDArray[np.int32]
    offsets: NDArray[np.int64]
    ranks: NDArray[np.int16]
    hit: NDArray[np.bool_]
    relevant: NDArray[np.int64]
    relevant_ranks: NDArray[np.int16]

    @classmethod
    def joined(cls, parts: Sequence["Found"]) -> "Found":
        """Several windows as one."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([part.user for part in parts]),
            offsets_of(counts),
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.hit for part in parts]),
            np.concatenate([part.relevant for part in parts]),
            np.concatenate([part.relevant_ranks for part in parts]),
        )

    def near(self) -> "Found":
        """Without candidates that no source ranks high, which reach no list of ten."""
        kept = ((self.ranks >= 0) & (self.ranks < _NEAR)).any(axis=1)
        counts = np.bincount(rows_of(self.offsets)[kept], minlength=len(self.user))
        return replace(self, offsets=offsets_of(counts), ranks=self.ranks[kept], hit=self.hit[kept])

    def take(self, rows: NDArray[np.int64]) -> "Found":
        """Some of the requests, without the ranks of their relevant items."""
        entries = ranges(self.offsets[rows], np.diff(self.offsets)[rows])
        return Found(
            self.user[rows],
            offsets_of(np.diff(self.offsets)[rows]),
            self.ranks[entries],
            self.hit[entries],
            self.relevant[rows],
            self.relevant_ranks[:0],
        )

    def ndcg(self, score: NDArray[np.floating]) -> Figures:
        """NDCG@10 of each request by a score of its candidates, float64[requests]."""
        return np.asarray(ndcg(self.offsets, score, self.hit, self.relevant))

    def by_source(self) -> Figures:
        """NDCG@10 of each request by each source alone, float64[requests × S]."""
        columns = self.ranks.T.astype(np.float64)
        return np.stack(
            [self.ndcg(np.where(rank >= 0, -rank, -np.inf)) for rank in columns], axis=1
        )


def learn_fusion(
    windows: Sequence[Found], placement: Placement, *, provisional: bool = False
) -> Fusion:
    """The weights and quotas that would have been best in the training windows.

    Weights begin with the best single source alone. All sources together are used only if weights
    learned elsewhere are better than that source by more than a standard error, each window judged
    by weights of the others (a third of the users where there are fewer than three windows).
    Otherwise that source keeps the order, and the others add candidates behind its own.

    Args:
        windows: for each, what the placement's sources found and what of it was relevant.
        placement: its `retrievers` names the S sources in the order of `windows`; what it states
            is kept.
        provisional: whether the weights are used without that comparison, which takes four times
            as long: to describe candidates by, not to serve.
    """
    stated, names = Fusion.stated(placement), tuple(placement.retrievers)
    windows = [window.near() for window in windows]
    found = Found.joined(windows)
    with_hit = np.unique(rows_of(found.offsets)[found.hit])
    if len(with_hit) < _FEWEST_REQUESTS:
        return stated
    alone = found.by_source()
    best = int(alone.mean(axis=0).argmax())
    weights, fused = np.eye(len(names))[best], alone[:, best]
    learns_weights = placement.weights is None
    if not learns_weights:
        weights = np.array([stated.weights[name] for name in names])
        fused = found.ndcg(stated.scores(found.ranks, names))
    elif provisional or is_better(_by_weights_of_others(windows, found), fused, found.user):
        weights = _ascended(found)
        fused = found.ndcg(_shares(found.ranks) @ weights)
    quotas, capacity = dict(stated.quotas), stated.candidates
    learns_quotas = None in placement.sources.values()
    if learns_quotas:
        capacity = placement.candidates
        quotas = dict(zip(names, _quotas(found.relevant_ranks, capacity // 2).tolist()))
    notes = {
        "learned": True,
        "learned_weights": learns_weights,
        "learned_quotas": learns_quotas,
        "requests": len(found.relevant),
        "best_source": names[best],
        "best_source_ndcg": float(alone[:, best].mean()),
        "fused_ndcg": float(fused.mean()),
    }
    return Fusion(quotas, _scaled(weights.tolist(), names), capacity, notes)


def _by_weights_of_others(windows: Sequence[Found], found: Found) -> Figures:
    """NDCG@10 of each request by weights that were learned without it, float64[requests]."""
    if len(windows) >= _FOLDS:
        fold = np.repeat(np.arange(len(windows)), [len(window.user) for window in windows])
    else:
        fold = np.unique(found.user, return_inverse=True)[1] % _FOLDS
    figures = np.zeros(len(found.user))
    for left_out in np.unique(fold):
        weights = _ascended(found.take(np.flatnonzero(fold != left_out)))
        rows = np.flatnonzero(fold == left_out)
        judged = found.take(rows)
        figures[rows] = judged.ndcg(_shares(judged.ranks) @ weights)
    return figures


def is_better(ours: Figures, theirs: Figures, user: NDArray[np.integer], seed: int = 0) -> bool:
    """Whether figures of the same requests are better on average, by more than a standard error.

    Args:
        ours: float64[requests].
        theirs: float64[requests].
        user: int[requests]; the error is that of resampled users.
        seed: of the samples.
    """
    gain = UserBootstrap(user, seed).mean(ours - theirs)
    return gain.value > (gain.high - gain.low) / (2 * 1.96) and gain.value > 0


def _scaled(weights: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """Weights whose largest is 1, none of them 0."""
    largest = max(weights) or 1.0
    return {
        name: max(LEAST_WEIGHT, round(weight / largest, 6)) for name, weight in zip(names, weights)
    }


def _shares(ranks: NDArray[np.int16]) -> Figures:
    """What each source adds to a candidate's score at weight 1, float64[candidates × S]."""
    share = (RANK_OFFSET + 1) / (RANK_OFFSET + 1 + ranks.astype(np.float64))
    return np.asarray(np.where(ranks >= 0, share, 0.0), np.float64)


def _ascended(found: Found) -> Figures:
    """Weights found by changing one at a time from the best single source on, float64[S]."""
    by_source = found.by_source().mean(axis=0)
    weights, figure = np.eye(len(by_source))[by_source.argmax()], float(by_source.max())
    shares = _shares(found.ranks)
    for _ in range(_PASSES):
        before = figure
        for place in range(len(weights)):
            others = np.delete(weights, place).max(initial=0.0)
            if not others:
                continue
            rest = np.where(np.arange(len(weights)) == place, 0.0, weights)
            base, own = shares @ rest, shares[:, place]
            figures = [float(found.ndcg(base + step * others * own).mean()) for step in _STEPS]
            best = int(np.argmax(figures))
            if figures[best] > figure * _GAIN:
                figure, weights[place] = figures[best], _STEPS[best] * others
        if figure <= before * _GAIN:
            break
    return np.asarray(weights / weights.max())


def _quotas(ranks: NDArray[np.int16], candidates: int) -> NDArray[np.int64]:
    """How many of each source's best are candidates for certain, int64[S].

    Grows by blocks the quota that adds most relevant items (a greedy cover, Nemhauser et al. 1978);
    among equals the smaller quota. Covering all of the room so loses more than filling half of it
    by fused score: sources that agree are few in number and often right.

    Args:
        ranks: int16[relevant items × S].
        candidates: the sum of all quotas, where each source can have one at least.
    """
    sources = ranks.shape[1]
    block = max(1, min(_BLOCK, candidates // sources))
    quotas = np.full(sources, block, np.int64)
    covered = ((ranks >= 0) & (ranks < quotas)).any(axis=1)
    while quotas.sum() + block <= candidates:
        left = ranks[~covered]
        gains = ((left >= 0) & (left < quotas + block)).sum(axis=0)
        grown = int(np.lexsort((quotas, -gains))[0])
        quotas[grown] += block
        covered |= (ranks[:, grown] >= 0) & (ranks[:, grown] < quotas[grown])
    return quotas


@kernel
def ndcg(offsets, score, hit, relevant):  # type: ignore[no-untyped-def]
    """NDCG@10 of each request, float64[requests]; −inf keeps a candidate out of the list.

    Among equals the earlier candidate comes first.
    """
    figures = np.zeros(len(offsets) - 1)
    top = np.empty(K, np.int64)
    for row in range(len(figures)):
        count = 0
        for entry in range(offsets[row], offsets[row + 1]):
            value = score[entry]
            if value == -np.inf or (count == K and value <= score[top[K - 1]]):
                continue
            place = min(count, K - 1)
            while place > 0 and score[top[place - 1]] < value:
                top[place] = top[place - 1]
                place -= 1
            top[place] = entry
            count = min(count + 1, K)
        found, ideal = 0.0, 0.0
        for place in range(count):
            if hit[top[place]]:
                found += 1 / np.log2(place + 2)
        for place in range(min(K, relevant[row])):
            ideal += 1 / np.log2(place + 2)
        figures[row] = found / ideal if ideal > 0 else 0.0
    return figures
