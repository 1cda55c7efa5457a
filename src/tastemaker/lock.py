"""Advisory locks on files, released by the system when their process dies."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TextIO, cast

from tastemaker.disk import make_new_folders_private, open_regular, reading
from tastemaker.errors import TastemakerError

_LOG = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.02
_SILENT_SECONDS = 1.0
_NOT_A_FILE = (errno.EINVAL, errno.EISDIR)
"""The errors of `open_regular` for anything but a regular file."""


@contextmanager
def locked(path: Path, error: type[TastemakerError], patience: float = inf) -> Iterator[None]:
    """Holds an exclusive lock inside the block; logs a warning if it waits longer than a second.

    Creates the file and its folder if they are missing. The file is never removed: the lock
    belongs to the open file, not to its name.

    Args:
        path: the lock file; it contains the holder's process id.
        error: the error to raise on timeout.
        patience: seconds to wait for another holder; by default without limit.

    Raises:
        TastemakerError: of type `error`: another process held the lock for the whole time.
    """
    make_new_folders_private(path.parent)
    try:
        handle = open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    except OSError as problem:
        if problem.errno not in _NOT_A_FILE:
            raise
        raise error(f"{path}: {problem.strerror}; remove it so that it can be locked") from None
    with os.fdopen(handle, "a+b", buffering=0) as stream:
        _wait(stream.fileno(), path, error, patience)
        try:
            with suppress(OSError):  # on a full disk, the file stays empty
                stream.truncate(0)
                stream.write(f"{os.getpid()}\n".encode())
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Whether a live process holds the lock.

    True for a file that cannot be read because it belongs to another user; False if the file does
    not exist.
    """
    try:
        with reading(path) as stream:
            return not _taken(stream.fileno())
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    except OSError as problem:
        if problem.errno not in _NOT_A_FILE:
            raise
        return False  # no Tastemaker process can hold it


class Presence:
    """A shared lock by which running processes detect each other.

    Args:
        path: the lock file; created if missing. If it cannot be created, no process is considered
            to be alone.

    Attributes:
        first: whether no other process held the lock at the start.
    """

    def __init__(self, path: Path) -> None:
        self._stream = _opened(path)
        self.first = self._stream is not None and _taken(self._stream.fileno())
        self.share()

    def excludes(self) -> bool:
        """Tries to lock exclusively; True if no other process holds the lock.

        Other processes then wait until this one calls `share` or `close`.
        """
        if self._stream is None:
            return False
        if _taken(self._stream.fileno()):
            return True
        self.share()  # a lock that cannot be converted is lost
        return False

    def share(self) -> None:
        """Returns to the shared lock after `excludes`."""
        if self._stream is not None:
            fcntl.flock(self._stream, fcntl.LOCK_SH)

    @contextmanager
    def alone(self, patience: float) -> Iterator[bool]:
        """Holds the lock exclusively inside the block, if it can.

        Args:
            patience: seconds to wait for other holders to close. While it waits, this process
                releases its own lock, so that two waiting processes cannot deadlock.

        Yields:
            Whether no other process holds the lock.
        """
        end = time.monotonic() + patience
        try:
            while not (alone := self._stream is not None and _taken(self._stream.fileno())):
                if self._stream is None or time.monotonic() >= end:
                    break
                time.sleep(_PAUSE_SECONDS)
            yield alone
        finally:
            self.share()

    def close(self) -> None:
        """Releases the lock."""
        if self._stream is not None:
            self._stream.close()


def _opened(path: Path) -> TextIO | None:
    # a lock works on a read-only disk too
    for flags, mode in ((os.O_WRONLY | os.O_APPEND | os.O_CREAT, "a"), (os.O_RDONLY, "r")):
        with suppress(OSError):
            return cast(TextIO, os.fdopen(open_regular(path, flags), mode))
    return None


def _wait(handle: int, path: Path, error: type[TastemakerError], patience: float) -> None:
    begun, silent = time.monotonic(), True
    while not _taken(handle):
        waited = time.monotonic() - begun
        if waited >= patience:
            raise error(
                f"another process (id {_holder(handle)}) has held {path} for {patience:g} s: "
                "wait until it finishes, or stop it, and try again"
            )
        if silent and waited >= _SILENT_SECONDS:
            silent = False
            _LOG.warning("waiting for process %s, which holds %s", _holder(handle), path)
        time.sleep(_PAUSE_SECONDS)


def _holder(handle: int) -> str:
    return os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
