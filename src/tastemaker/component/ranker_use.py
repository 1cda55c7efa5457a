"""Whether a fitted ranker is used, whether it was better than what it orders, with figures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RankerUse:
    """What learning to rank came to, for one ranker.

    With `require_improvement = false` a ranker is used although it is not better than the fusion or
    the best single source.

    Attributes:
        used: whether answers are ordered by it.
        better: whether it ordered the training windows better than both.
        ranker: its NDCG@10 there, each window by one that has not learned from it; None where a
            version does not record it.
        fusion: that of the fusion; None where a version does not record it.
        source: that of the best single source; None where a version does not record it.
    """

    used: bool
    better: bool
    ranker: float | None = None
    fusion: float | None = None
    source: float | None = None

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> "RankerUse":
        """What the notes in `Recommender.learned` say of one ranker."""
        used = bool(notes["enabled"])
        figures = [notes.get(name) for name in ("ranked", "merged", "single")]
        return cls(used, bool(notes.get("better", used)), *figures)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)

    def __str__(self) -> str:
        """In words.

        >>> str(RankerUse(True, True, 0.12, 0.11, 0.1))
        'used: NDCG@10 0.1200 in the training windows, the fusion 0.1100, the best source 0.1000'
        >>> str(RankerUse(True, False, 0.11, 0.12)).split(":")[0]
        'used (require_improvement = false), though not better than what it orders'
        """
        words = "used" if self.used else "not used"
        if self.used and not self.better:
            words = "used (require_improvement = false), though not better than what it orders"
        if self.ranker is None or self.fusion is None:
            return words
        words += (
            f": NDCG@10 {self.ranker:.4f} in the training windows, the fusion {self.fusion:.4f}"
        )
        return words if self.source is None else f"{words}, the best source {self.source:.4f}"
