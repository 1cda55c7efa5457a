"""Fusion of the sources of a placement: a quota of candidates and a weight for each source.

Quotas and weights that a project file states are kept. If it only names its sources, both are
learned from the training windows: the weights by coordinate ascent on NDCG@10 (Metzler & Croft
2007), starting from the best single source, and the quotas by the number of relevant items found.
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
"""The weight of a source that improves no order: its candidates follow those of the others."""
_STEPS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""The weights to try, as multiples of the largest weight of the other sources."""
_PASSES = 3
_GAIN = 1.001
"""The smallest relative improvement of NDCG for which a weight changes; less is chance."""
_BLOCK = 10
"""The step by which a quota grows, in candidates, and the smallest quota."""
_FOLDS = 3
_NEAR = 40
"""The deepest rank from which a mixture of sources can raise an item into a list of ten."""
_FEWEST_REQUESTS = 30
"""The fewest requests with a relevant candidate from which a fusion is learned."""

Figures = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fusion:
    """The quotas and weights that merge the lists of a placement's sources.

    Attributes:
        quotas: source → how many of its best items are candidates for certain.
        weights: source → its weight in reciprocal rank fusion, above 0; the largest is 1.
        candidates: the number of distinct candidates; places that the quotas leave go to the best
            other items by fused score.
        notes: the origin of the numbers: `learned`, and if True, `learned_weights`,
            `learned_quotas`, `requests`, `best_source`, and the NDCG@10 in the training windows as
            `best_source_ndcg` and `fused_ndcg`.
    """

    quotas: dict[str, int]
    weights: dict[str, float]
    candidates: int
    notes: dict[str, Any] = field(default_factory=lambda: {"learned": False})

    @classmethod
    def stated(cls, placement: Placement) -> "Fusion":
        """The quotas and weights of the project file; equal ones if it states none.

        Weights that are not stated are proportional to the quotas.
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
            ranks: int16[rows × S], the rank in each source from 0; −1 if it was not found.
            sources: the names of the S sources.
        """
        total = np.zeros(len(ranks))
        for place, name in enumerate(sources):
            found = ranks[:, place] >= 0
            share = (RANK_OFFSET + 1) / (RANK_OFFSET + 1 + ranks[:, place].astype(np.float64))
            total += np.where(found, self.weights[name] * share, 0.0)
        return np.asarray(total, np.float32)

    def __str__(self) -> str:
        """A summary for people: the sources by weight, and the NDCG@10 of the fusion."""
        shown = ", ".join(
            f"{name} {weight:.2f} (at least {self.quotas[name]} candidates)"
            for name, weight in sorted(self.weights.items(), key=lambda pair: -pair[1])
        )
        if not self.notes["learned"]:
            return f"{shown}; not learned from past events"
        best, alone = self.notes["best_source"], self.notes["best_source_ndcg"]
        fused = self.notes["fused_ndcg"]
        if self.notes["learned_weights"] and fused <= alone:
            return f"ordered by {best} alone, no mixture was better: NDCG@10 {alone:.4f}; {shown}"
        stated = "" if self.notes["learned_weights"] else ", with the weights of the project file"
        figures = f"NDCG@10 {fused:.4f} in the training windows{stated}, {best} alone {alone:.4f}"
        return f"{figures}; {shown}"

    def to_dict(self) -> dict[str, Any]:
        """For an artifact's manifest."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FusionData:
    """The source ranks and the relevance of candidates of past requests, to learn a fusion from.

    Attributes:
        user: int32[requests], the user of each request.
        offsets: int64[requests + 1], where the candidates of each request begin.
        ranks: int16[candidates × S], the rank in each source from 0; −1 if it was not found.
        hit: bool[candidates], whether the candidate was relevant.
        relevant: int64[requests], the number of relevant items, found or not.
        relevant_ranks: int16[relevant items × S], their rank in the list of each source; −1 if it
            did not find them.
    """

    user: NDArray[np.int32]
    offsets: NDArray[np.int64]
    ranks: NDArray[np.int16]
    hit: NDArray[np.bool_]
    relevant: NDArray[np.int64]
    relevant_ranks: NDArray[np.int16]

    @classmethod
    def joined(cls, parts: Sequence["FusionData"]) -> "FusionData":
        """The concatenation of several windows."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([part.user for part in parts]),
            offsets_of(counts),
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.hit for part in parts]),
            np.concatenate([part.relevant for part in parts]),
            np.concatenate([part.relevant_ranks for part in parts]),
        )

    def near(self) -> "FusionData":
        """The data without candidates that no source ranks high enough for a list of ten."""
        kept = ((self.ranks >= 0) & (self.ranks < _NEAR)).any(axis=1)
        counts = np.bincount(rows_of(self.offsets)[kept], minlength=len(self.user))
        return replace(self, offsets=offsets_of(counts), ranks=self.ranks[kept], hit=self.hit[kept])

    def take(self, rows: NDArray[np.int64]) -> "FusionData":
        """The data of some requests, without the ranks of their relevant items."""
        entries = ranges(self.offsets[rows], np.diff(self.offsets)[rows])
        return FusionData(
            self.user[rows],
            offsets_of(np.diff(self.offsets)[rows]),
            self.ranks[entries],
            self.hit[entries],
            self.relevant[rows],
            self.relevant_ranks[:0],
        )

    def ndcg(self, score: NDArray[np.floating]) -> Figures:
        """The NDCG@10 of each request in the order of `score`, float64[requests]."""
        return np.asarray(ndcg(self.offsets, score, self.hit, self.relevant))

    def by_source(self) -> Figures:
        """The NDCG@10 of each request, ordered by each source alone, float64[requests × S]."""
        columns = self.ranks.T.astype(np.float64)
        return np.stack(
            [self.ndcg(np.where(rank >= 0, -rank, -np.inf)) for rank in columns], axis=1
        )


def learn_fusion(
    windows: Sequence[FusionData], placement: Placement, *, provisional: bool = False
) -> Fusion:
    """The weights and quotas that would have been best in the training windows.

    The search for weights starts from the best single source. A mixture of sources is used only if
    its weights are better than that source by more than a standard error, where each window is
    evaluated with weights learned from the others (each third of the users if there are fewer than
    three windows). Otherwise that source decides the order, and the others add candidates after it.

    Args:
        windows: for each window, the candidates of the placement's sources and their relevance.
        placement: its `retrievers` names the S sources in the order of `windows`; the numbers that
            it states are kept.
        provisional: whether to skip that comparison, which takes four times as long. Provisional
            weights are for computing features, not for serving.
    """
    stated, names = Fusion.stated(placement), tuple(placement.retrievers)
    windows = [window.near() for window in windows]
    found = FusionData.joined(windows)
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
    elif provisional or is_better(_cross_validated(windows, found), fused, found.user):
        weights = _learned_weights(found)
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


def _cross_validated(windows: Sequence[FusionData], found: FusionData) -> Figures:
    """NDCG@10 of each request by weights that were learned without it, float64[requests]."""
    if len(windows) >= _FOLDS:
        fold = np.repeat(np.arange(len(windows)), [len(window.user) for window in windows])
    else:
        fold = np.unique(found.user, return_inverse=True)[1] % _FOLDS
    figures = np.zeros(len(found.user))
    for left_out in np.unique(fold):
        weights = _learned_weights(found.take(np.flatnonzero(fold != left_out)))
        rows = np.flatnonzero(fold == left_out)
        held_out = found.take(rows)
        figures[rows] = held_out.ndcg(_shares(held_out.ranks) @ weights)
    return figures


def is_better(ours: Figures, theirs: Figures, user: NDArray[np.integer], seed: int = 0) -> bool:
    """Whether the mean of one metric is higher than another by more than a standard error.

    Args:
        ours: float64[requests], the metric that may be better.
        theirs: float64[requests], the metric of the same requests to compare with.
        user: int[requests]; the standard error is estimated by resampling users.
        seed: the seed of the resamples.
    """
    gain = UserBootstrap(user, seed).mean(ours - theirs)
    return gain.value > (gain.high - gain.low) / (2 * 1.96) and gain.value > 0


def _scaled(weights: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    """The weights scaled to a maximum of 1, and at least `LEAST_WEIGHT`."""
    largest = max(weights) or 1.0
    return {
        name: max(LEAST_WEIGHT, round(weight / largest, 6)) for name, weight in zip(names, weights)
    }


def _shares(ranks: NDArray[np.int16]) -> Figures:
    """The contribution of each source to a score at weight 1, float64[candidates × S]."""
    share = (RANK_OFFSET + 1) / (RANK_OFFSET + 1 + ranks.astype(np.float64))
    return np.asarray(np.where(ranks >= 0, share, 0.0), np.float64)


def _learned_weights(found: FusionData) -> Figures:
    """The weights of coordinate ascent from the best single source, float64[S]."""
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
    """How many of each source's best items are candidates for certain, int64[S].

    Grows the quota that adds most relevant items, block by block (a greedy cover, Nemhauser et al.
    1978); ties go to the smaller quota. Callers give only half of the candidates to quotas and the
    rest to fused scores, which finds more: items on which sources agree are few and often relevant.

    Args:
        ranks: int16[relevant items × S].
        candidates: the sum of all quotas; each source gets at least 1.
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
    """NDCG@10 of each request, float64[requests]; a score of −inf excludes a candidate.

    Ties keep the order of the candidates.
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
