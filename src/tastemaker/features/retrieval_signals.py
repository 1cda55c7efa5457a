"""The sources that found a candidate, with their ranks and scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.component import FUSED
from tastemaker.features.pairs import Pairs, distinct


@dataclass(frozen=True, slots=True)
class RetrievalSignals:
    """Rank, percentile, found flag and relative score per source, and the fused score.

    No value is in a source's own units. After a new fit, a source's scores can have another scale,
    but ranks and the relative position of a score in the list keep their meaning.

    Attributes:
        sources: names of the sources.
    """

    sources: tuple[str, ...]

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        named: list[tuple[str, str]] = []
        for name in self.sources:
            named += [
                (f"{name}_rank", f"rank by {name}, log"),
                (f"{name}_percentile", f"share of the list that {name} ranks below it"),
                (f"{name}_found", f"whether {name} found it"),
                (f"{name}_score", f"score by {name}, from the worst (0) to the best (1) found"),
            ]
        named += [
            (FUSED, "fused score of all sources"),
            ("found_by", "how many sources found it"),
        ]
        return distinct(named)

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        candidates = pairs.candidates
        column = {name: place for place, name in enumerate(candidates.sources)}
        place = np.array([column.get(name, -1) for name in self.sources], np.int64)
        _describe(
            *(pairs.entry, pairs.row, candidates.offsets, candidates.score),
            *(candidates.source_rank, candidates.source_score, place, out),
        )


@kernel
def _describe(entry, row, offsets, score, source_rank, source_score, place, out):  # type: ignore[no-untyped-def]
    """Writes the signals of every pair; a source's list ends at its deepest merged rank.

    `place` is a source's column in source_rank, −1 for a source that was not used.
    """
    sources = len(place)
    deepest = np.zeros(sources, np.int64)
    worst, best = np.zeros(sources, np.float32), np.zeros(sources, np.float32)
    described = -1
    for i in range(len(entry)):
        if row[i] != described:
            described = row[i]
            deepest[:] = -1
            worst[:] = np.inf
            best[:] = -np.inf
            for other in range(offsets[described], offsets[described + 1]):
                for s in range(sources):
                    if place[s] >= 0 and source_rank[other, place[s]] >= 0:
                        deepest[s] = max(deepest[s], source_rank[other, place[s]])
                        worst[s] = min(worst[s], source_score[other, place[s]])
                        best[s] = max(best[s], source_score[other, place[s]])
        found = 0
        for s in range(sources):
            rank = source_rank[entry[i], place[s]] if place[s] >= 0 else -1
            out[i, 4 * s] = np.log1p(rank) if rank >= 0 else np.nan
            out[i, 4 * s + 1] = 1.0 - rank / (deepest[s] + 1.0) if rank >= 0 else 0.0
            out[i, 4 * s + 2] = rank >= 0
            out[i, 4 * s + 3] = np.nan
            if rank >= 0:
                spread = best[s] - worst[s]
                own_score = source_score[entry[i], place[s]]
                out[i, 4 * s + 3] = (own_score - worst[s]) / spread if spread > 0 else 1.0
            found += rank >= 0
        out[i, 4 * sources] = score[entry[i]]
        out[i, 4 * sources + 1] = found
