"""Whether a fitted ranker is used, whether it was better than the fusion, and by which figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RankerUse:
    """What learning to rank came to, for one ranker.

    With `must_earn = false` a ranker is used although it is not better than the fusion.

    Attributes:
        used: whether answers are ordered by it.
        better: whether it ordered the latest training window better than the fusion.
        ranker: its NDCG@10 there; None where a version does not record it.
        fusion: the fusion's NDCG@10 there; None where a version does not record it.
    """

    used: bool
    better: bool
    ranker: float | None = None
    fusion: float | None = None

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> "RankerUse":
        """What the notes in `Recommender.learned` say of one ranker."""
        ranker, fusion = notes.get("fresh"), notes.get("merged")
        used = bool(notes["earned"])
        if ranker is None or fusion is None:
            return cls(used, used)
        return cls(used, bool(ranker > fusion), float(ranker), float(fusion))

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            "used": self.used,
            "better": self.better,
            "ranker": self.ranker,
            "fusion": self.fusion,
        }

    def __str__(self) -> str:
        """In words; the figures where they explain why a ranker is used that is not better.

        >>> str(RankerUse(True, True, 0.12, 0.11))
        'used'
        >>> str(RankerUse(True, False, 0.11, 0.12))
        'used (must_earn = false), though below the fusion: 0.1100 against 0.1200'
        >>> str(RankerUse(False, False, 0.11, 0.12))
        'not used'
        """
        if not self.used:
            return "not used"
        if self.better or self.ranker is None or self.fusion is None:
            return "used"
        relation = "below" if self.ranker < self.fusion else "no better than"
        figures = f"{self.ranker:.4f} against {self.fusion:.4f}"
        return f"used (must_earn = false), though {relation} the fusion: {figures}"
