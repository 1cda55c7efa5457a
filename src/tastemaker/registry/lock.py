"""An advisory lock on a file: one process at a time, released by the system if it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tastemaker.errors import ArtifactError

_PAUSE_SECONDS = 0.02


@contextmanager
def locked(path: Path, patience: float) -> Iterator[None]:
    """Holds the lock; makes the file, and the folder it lies in, where they are missing.

    The file is never removed: the lock is on what is open, not on the name.

    Args:
        path: the lock file; the holder's process number stands in it.
        patience: seconds to wait for another holder.

    Raises:
        ArtifactError: another process has held it all that time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        _wait(stream, path, patience)
        try:
            stream.truncate(0)
            stream.write(f"{os.getpid()}\n")
            stream.flush()
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; of another user's file that is taken for granted.

    A file that is not there is held by nobody.
    """
    try:
        with path.open("r+", encoding="utf-8") as stream:
            return not _taken(stream)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def _wait(stream: TextIO, path: Path, patience: float) -> None:
    end = time.monotonic() + patience
    while not _taken(stream):
        if time.monotonic() >= end:
            stream.seek(0)
            holder = stream.read(20).strip() or "unknown"
            raise ArtifactError(
                f"another process (number {holder}) has held {path} for {patience:g} s: wait "
                "until it is done, or end it, and try again"
            )
        time.sleep(_PAUSE_SECONDS)


def _taken(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
