"""Read reports: rows kept, rows quarantined and why, and the limit on invalid rows."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tastemaker.data.schema import MAX_BAD_ROWS
from tastemaker.data.spreadsheet import for_spreadsheets
from tastemaker.data.table import LINE
from tastemaker.disk import make_new_folders_private, replacing
from tastemaker.errors import DataError

_SHOWN = 200


def quarantine_file(folder: Path, source: str) -> Path:
    """The file for the invalid rows of a source, `FILE.csv` in the quarantine folder.

    Args:
        folder: the quarantine folder.
        source: the name of the source in reports; `2023/events.csv` gets a subfolder.
    """
    return folder / f"{source}.csv"


@dataclass(frozen=True, slots=True)
class ReadReport:
    """How a file or frame was read.

    Attributes:
        source: the unique name of the file or frame.
        read: rows found.
        kept: rows that became events, items or users.
        duplicates: rows left out because their id (`event_id`, `item_id`, `user_id`) occurred
            before; a row with the id of another event is quarantined instead.
        reasons: reason → number of quarantined rows.
        quarantine: the quarantined rows (line, reason, row).
        table: `events`, `items` or `users`.
        duplicate_rows: rows that repeat an earlier row in every column; they are kept.
        unused: columns of the source that are not used.
        notes: values that were changed or left empty; one sentence each.
    """

    source: str
    read: int
    kept: int
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    quarantine: pl.DataFrame = field(default_factory=pl.DataFrame)
    table: str = "events"
    duplicate_rows: int = 0
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def quarantined(self) -> int:
        """The number of quarantined rows."""
        return sum(self.reasons.values())

    def summary(self) -> str:
        """One line: `events.csv: 3 of 120 rows cannot be used (2 missing user_id, 1 …)`."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        return (
            f"{self.source}: {self.quarantined:,} of {self.read:,} rows cannot be used ({reasons})"
        )

    def write_quarantine(self, folder: Path) -> Path | None:
        """Writes the quarantined rows to `folder`, or removes the file of an earlier run."""
        path = quarantine_file(folder, self.source)
        if not self.quarantined:
            if path.exists():  # on a read-only disk, `unlink` fails even for a missing file
                path.unlink()
            return None
        make_new_folders_private(path.parent)
        with replacing(path) as part:
            for_spreadsheets(self.quarantine.rename({LINE: "line"})).write_csv(part)
        return path

    def refuse_if_too_many(self, limit: float = MAX_BAD_ROWS) -> None:
        """Fails if the share of invalid rows exceeds a limit.

        Args:
            limit: the maximum share of quarantined rows, from 0 to 1.

        Raises:
            DataError: more than `limit` of the rows are quarantined.
        """
        if self.quarantined > limit * self.read:
            first = self.quarantine.row(0, named=True)
            row = " ".join(first["row"].split())
            shown = row if len(row) <= _SHOWN else f"{row[:_SHOWN]}…"
            allowed, share = 100 * limit, 100 * self.quarantined / self.read
            raise DataError(
                f"{self.summary()}; first, line {first[LINE]}: {first['reason']} in {shown}. "
                f"At most {allowed:.3g}% may be bad: correct the file, or its columns and event "
                f"types in the project file, or raise '{self.table}' under [data.max_bad_rows] "
                f"(here {share:.3g}% are bad)"
            )
