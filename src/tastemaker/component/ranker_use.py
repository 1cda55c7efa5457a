"""Whether a fitted ranker is used, and its metrics compared with the fusion and the sources."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RankerUse:
    """The results of learning to rank, for one ranker.

    With `require_improvement = false` a ranker is used even if it is not better than the fusion
    and the best single source.

    Attributes:
        used: whether the ranker orders recommendations.
        better: whether it was better than both in the training windows.
        ranker: its NDCG@10 in the training windows, each evaluated by a ranker that has not learned
            from it; None if the version does not record it.
        fusion: the NDCG@10 of the fusion; None if the version does not record it.
        source: the NDCG@10 of the best single source; None if the version does not record it.
    """

    used: bool
    better: bool
    ranker: float | None = None
    fusion: float | None = None
    source: float | None = None

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> "RankerUse":
        """The results in the notes of one ranker in `Recommender.learned`."""
        used = bool(notes["enabled"])
        metrics = [notes.get(name) for name in ("ranked", "merged", "single")]
        return cls(used, bool(notes.get("better", used)), *metrics)

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A summary for people.

        >>> str(RankerUse(True, True, 0.12, 0.11, 0.1))
        'used: NDCG@10 0.1200 in the training windows, the fusion 0.1100, the best source 0.1000'
        >>> str(RankerUse(True, False, 0.11, 0.12)).split(":")[0]
        'used (require_improvement = false), although not better than the fusion and the sources'
        """
        text = "used" if self.used else "not used"
        if self.used and not self.better:
            text += " (require_improvement = false), although not better than the fusion and the "
            text += "sources"
        if self.ranker is None or self.fusion is None:
            return text
        text += f": NDCG@10 {self.ranker:.4f} in the training windows, the fusion {self.fusion:.4f}"
        return text if self.source is None else f"{text}, the best source {self.source:.4f}"
