"""Restricts the files of a store to their owner, regardless of the umask of the process."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tastemaker.disk import OTHERS

ENDINGS = ("", "-wal", "-shm", "-journal")
"""Suffixes of the files of a database, after the name of the main file."""
MODE = 0o600


def files_of(path: Path) -> Iterator[Path]:
    """The files a database can consist of; they do not have to exist."""
    for ending in ENDINGS:
        yield path.with_name(f"{path.name}{ending}")


def make_private_file(path: Path) -> None:
    """Creates an empty database file if it does not exist; SQLite copies its mode to other files.

    Raises:
        OSError: the file cannot be created.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        return
    try:
        os.fchmod(handle, MODE)  # the umask can have removed more
    finally:
        os.close(handle)


def open_to_others(path: Path) -> list[Path]:
    """The files of a database that other users of the machine can read or write."""
    found = []
    for file in files_of(path):
        with suppress(OSError):
            mode = file.stat().st_mode
            if stat.S_ISREG(mode) and mode & OTHERS:
                found.append(file)
    return found


def restrict_access(path: Path) -> list[Path]:
    """Removes the permissions of other users from the files of a database.

    Returns:
        The changed files. Files of another owner are not changed.
    """
    changed = []
    for file in open_to_others(path):
        with suppress(OSError):
            file.chmod(stat.S_IMODE(file.stat().st_mode) & ~OTHERS)
            changed.append(file)
    return changed
