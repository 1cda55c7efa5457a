"""Who can read a store: its owner alone, whatever the process's mask."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tastemaker.disk import OTHERS

ENDINGS = ("", "-wal", "-shm", "-journal")
"""What the names of a database's files end with, after the name of the first."""
MODE = 0o600


def files_of(path: Path) -> Iterator[Path]:
    """The files that a database may consist of; they need not exist."""
    for ending in ENDINGS:
        yield path.with_name(f"{path.name}{ending}")


def make_private_file(path: Path) -> None:
    """Makes an empty file for a database where there is none; SQLite gives the others its mode.

    Raises:
        OSError: it cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        return
    try:
        os.fchmod(handle, MODE)  # the process's mask may have taken more
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


def tighten(path: Path) -> list[Path]:
    """Takes the rights of others from a database's files.

    Returns:
        The files whose rights were changed; those of another owner stay as they are.
    """
    changed = []
    for file in open_to_others(path):
        with suppress(OSError):
            file.chmod(stat.S_IMODE(file.stat().st_mode) & ~OTHERS)
            changed.append(file)
    return changed
