"""The funnel: how many relevant items each source and stage found and kept."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, rows_of
from tastemaker.pipeline import Recommendations

SOURCE = "retrieve:"
"""The prefix of the stage names of sources."""


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """One stage, or one source of the first stage; counts of relevant items over all requests.

    Attributes:
        stage: `relevant`, `retrieve`, `merge`, `filter`, `rank`, `rerank:…`, `select`.
        source: the source, if the row is about one.
        found: the relevant items in the input; for a source, those it found; for `relevant`, all.
        unique: the relevant items that no other source found; 0 for other rows.
        kept: the relevant items in the output; for a source, those in the merged list; for
            `relevant`, those with an event before the window.
        lost: found minus kept; for `relevant`, those that only sources can find which read later
            events or the catalogue.
        recall: kept divided by all relevant items.
        top: the relevant items among the first k of the row's own order.
    """

    stage: str
    source: str | None
    found: int
    unique: int
    kept: int
    lost: int
    recall: float
    top: int

    def to_dict(self) -> dict[str, Any]:
        """Name → value."""
        return asdict(self)


class Funnel:
    """Counts the relevant items of a task in each stage of a pipeline.

    Args:
        k: the length of the lists.
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._counts: dict[tuple[str, str | None], NDArray[np.int64]] = {}

    def add(self, answer: Recommendations, truth: Ragged) -> None:
        """Counts the relevant items of some requests.

        Args:
            answer: an answer whose trace keeps the candidates of every stage.
            truth: the relevant items of each request.
        """
        stages = {s.name: s.candidates for s in answer.trace.stages if s.candidates is not None}
        hits = {name: _hits(out, truth) for name, out in stages.items()}
        top = {name: _hits(out.head(self._k), truth).sum() for name, out in stages.items()}
        sources = [name for name in stages if name.startswith(SOURCE)]
        finders = np.sum([hits[name] for name in sources], axis=0)
        for name in sources:
            found, kept = hits[name], hits[name] & hits["merge"]
            alone = found & (finders == 1)
            self._count("retrieve", name.removeprefix(SOURCE), found, alone, kept, top[name])
        before = finders > 0
        for name in stages:
            if name not in sources and name != "features":
                kept = before & hits[name]
                self._count(name, None, before, np.zeros(0, np.bool_), kept, top[name])
                before = hits[name]

    def rows(self, truth: Ragged, is_fitted: NDArray[np.bool_]) -> list[FunnelRow]:
        """The funnel of all requests added so far.

        Args:
            truth: the relevant items of all requests.
            is_fitted: bool[items], whether an item had an event before the window.
        """
        total = len(truth.values)
        reachable = int(is_fitted[truth.values].sum())
        share = round(reachable / total, 6) if total else 0.0
        rows = [FunnelRow("relevant", None, total, 0, reachable, total - reachable, share, 0)]
        for (stage, source), counts in self._counts.items():
            found, unique, kept, top = counts.tolist()
            recall = round(kept / total, 6) if total else 0.0
            rows.append(FunnelRow(stage, source, found, unique, kept, found - kept, recall, top))
        return rows

    def _count(
        self,
        stage: str,
        source: str | None,
        found: NDArray[np.bool_],
        alone: NDArray[np.bool_],
        kept: NDArray[np.bool_],
        top: int,
    ) -> None:
        counts = np.array([found.sum(), alone.sum(), kept.sum(), top], np.int64)
        self._counts[stage, source] = self._counts.get((stage, source), 0) + counts


def _hits(found: Candidates, truth: Ragged) -> NDArray[np.bool_]:
    """Whether each relevant item is among the candidates of its request, bool[relevant]."""
    span = np.int64(max(found.item.max(initial=0), truth.values.max(initial=0))) + 1
    keys = rows_of(truth.offsets) * span + truth.values
    return np.isin(keys, found.rows * span + found.item)


def table(rows: list[FunnelRow], k: int) -> list[str]:
    """The funnel as a text table, one line per row."""
    head = f"{'relevant items':<24}{'found':>9}{'unique':>13}{'kept':>9}{'lost':>9}"
    lines = [head + f"{'recall':>9}{f'in top {k}':>11}"]
    for row in rows:
        label = row.stage if row.source is None else f"  {row.source}"
        unique = f"{row.unique:,}" if row.source else ""
        top = f"{row.top:,}" if row.stage != "relevant" else ""
        lines.append(
            f"{label:<24}{row.found:>9,}{unique:>13}{row.kept:>9,}{row.lost:>9,}"
            f"{row.recall:>9.3f}{top:>11}"
        )
    return lines
