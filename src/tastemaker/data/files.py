"""The files of a data set: their paths, and how each file is read."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import normpath
from pathlib import Path

from tastemaker.data.fingerprint import fingerprint
from tastemaker.data.schema import Schema


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table.

    Attributes:
        path: the path of the file.
        schema: the meaning of its columns; columns, separator and header may differ between files.
        name: the name in messages and reports; by default the name of the file.
    """

    path: Path
    schema: Schema
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.path.name)


def with_distinct_names(files: Mapping[str, Sequence[DataFile]]) -> dict[str, tuple[DataFile, ...]]:
    """The files of all tables, each with a distinct name.

    The name is the file's name, preceded by as many folders as needed to distinguish it, such as
    `2023/events.csv`. A file that occurs again is numbered, such as `events.csv (2)`.
    """
    paths = {file.path: _parts(file.path) for of_table in files.values() for file in of_table}
    given = set[str]()

    def named(file: DataFile) -> DataFile:
        own = paths[file.path]
        others = [parts for parts in paths.values() if parts != own]
        lengths = range(1, len(own) + 1)
        apart = (n for n in lengths if all(parts[-n:] != own[-n:] for parts in others))
        name = whole = "/".join(own[-next(apart, len(own)) :])
        number = 1
        while name in given:
            number += 1
            name = f"{whole} ({number})"
        given.add(name)
        return replace(file, name=name)

    return {table: tuple(map(named, of_table)) for table, of_table in files.items()}


def _parts(path: Path) -> tuple[str, ...]:
    """The folders and the name of a file, without the drive."""
    whole = Path(normpath(path.absolute()))
    return whole.parts[1:] if whole.anchor else whole.parts


def table_fingerprint(table: str, files: Sequence[DataFile]) -> str:
    """The fingerprint of a table's files and read settings, as 64 hexadecimal digits.

    Args:
        table: `events`, `items` or `users`.
        files: its files, in their order.

    Raises:
        DataError: a file cannot be read.

    Cost: one pass of SHA-256 over each file, about a second per gigabyte.
    """
    prints = [fingerprint(file.path, table, file.schema) for file in files]
    return prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()
