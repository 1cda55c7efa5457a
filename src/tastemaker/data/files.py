"""The files of a data set: where each table's rows lie, and how each file is read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tastemaker.data.fingerprint import fingerprint
from tastemaker.data.schema import Schema


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table.

    Attributes:
        path: where it is.
        schema: what its columns mean; its columns, separator and header may be its own.
    """

    path: Path
    schema: Schema


def table_fingerprint(table: str, files: Sequence[DataFile]) -> str:
    """What the files of a table and the way they are read come to, as 64 hexadecimal digits.

    Args:
        table: `events`, `items` or `users`.
        files: its files, in their order.

    Raises:
        DataError: a file cannot be read.

    Cost: one pass of SHA-256 over each file, about a second per gigabyte.
    """
    prints = [fingerprint(file.path, table, file.schema) for file in files]
    return prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()
