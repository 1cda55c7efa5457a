"""How a table was read: rows kept, rows set aside and why, and when there are too many."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tastemaker.data.read import LINE
from tastemaker.disk import replacing
from tastemaker.errors import DataError

QUARANTINE_LIMIT = 0.01
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class ReadReport:
    """How a table was read.

    Attributes:
        source: the file or frame.
        read: rows found.
        kept: rows that became events, items or users.
        duplicates: rows left out because their id stood there before.
        reasons: reason → rows in the quarantine.
        quarantine: the rows set aside (line, reason, row).
    """

    source: str
    read: int
    kept: int
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    quarantine: pl.DataFrame = field(default_factory=pl.DataFrame)

    @property
    def quarantined(self) -> int:
        """Rows in the quarantine."""
        return sum(self.reasons.values())

    def summary(self) -> str:
        """One line: `events.csv: 3 of 120 rows cannot be used (2 missing user_id, 1 …)`."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        return (
            f"{self.source}: {self.quarantined:,} of {self.read:,} rows cannot be used ({reasons})"
        )

    def write_quarantine(self, folder: Path) -> Path | None:
        """Writes the rows set aside to `folder`; removes what an earlier reading left there."""
        path = folder / f"{self.source}.csv"
        if not self.quarantined:
            if path.exists():  # a read-only disk would refuse also what need not be done
                path.unlink()
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            self.quarantine.rename({LINE: "line"}).write_csv(part)
        return path

    def refuse_if_too_many(self, limit: float = QUARANTINE_LIMIT) -> None:
        """Stops at a share of bad rows that no longer looks like accidents.

        Raises:
            DataError: more than `limit` of the rows are in the quarantine.
        """
        if self.quarantined > limit * self.read:
            first = self.quarantine.row(0, named=True)
            row = " ".join(first["row"].split())
            shown = row if len(row) <= _SHOWN else f"{row[:_SHOWN]}…"
            raise DataError(
                f"{self.summary()}; first, line {first[LINE]}: {first['reason']} in {shown}. "
                f"At most {limit:.0%} may be bad: correct the file, or its columns and kinds in "
                "the project file"
            )
