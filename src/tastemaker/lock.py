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
"""What `open_regular` refuses other things with."""


@contextmanager
def locked(path: Path, error: type[TastemakerError], patience: float = inf) -> Iterator[None]:
    """Holds a lock that one process holds at a time; who waits longer than a second says so.

    Makes the file, and the folder it lies in, where they are missing. The file is never removed:
    the lock is on what is open, not on the name.

    Args:
        path: the lock file; the holder's process number stands in it.
        error: what to raise in vain.
        patience: seconds to wait for another holder; by default until it is done or dead.

    Raises:
        TastemakerError: of the type `error`: another process has held it all that time.
    """
    make_new_folders_private(path.parent)
    try:
        handle = open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    except OSError as problem:
        if problem.errno not in _NOT_A_FILE:
            raise
        raise error(f"{path}: {problem.strerror}; remove it, so that it can be locked") from None
    with os.fdopen(handle, "a+b", buffering=0) as stream:
        _wait(stream.fileno(), path, error, patience)
        try:
            with suppress(OSError):  # nobody's number stands there; on a full disk that will do
                stream.truncate(0)
                stream.write(f"{os.getpid()}\n".encode())
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; of another user's file that is taken for granted.

    A file that is not there is held by nobody.
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
        return False  # none of our processes can hold it


class Presence:
    """A lock that many hold at a time, each as long as it is at work, to know of each other.

    Args:
        path: the lock file; made where it is missing and can be made. Where it cannot be, nobody
            is taken to be alone.

    Attributes:
        first: whether nobody else was there.
    """

    def __init__(self, path: Path) -> None:
        self._stream = _opened(path)
        self.first = self._stream is not None and _taken(self._stream.fileno())
        self.share()

    def excludes(self) -> bool:
        """Whether nobody else is there; from then on others wait until this one shares or goes."""
        if self._stream is None:
            return False
        if _taken(self._stream.fileno()):
            return True
        self.share()  # a lock that cannot be converted is lost
        return False

    def share(self) -> None:
        """Lets others in again, after `excludes`."""
        if self._stream is not None:
            fcntl.flock(self._stream, fcntl.LOCK_SH)

    @contextmanager
    def alone(self, patience: float) -> Iterator[bool]:
        """Keeps others out for a while, and lets them in at the end.

        Args:
            patience: seconds to wait for those who are there to go. This one is not seen
                meanwhile, so that of two that wait for each other one is let through.

        Yields:
            Whether nobody else is there.
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
        """Goes."""
        if self._stream is not None:
            self._stream.close()


def _opened(path: Path) -> TextIO | None:
    # a lock can be held on a disk that cannot be written
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
                f"another process (number {_holder(handle)}) has held {path} for {patience:g} s: "
                "wait until it is done, or end it, and try again"
            )
        if silent and waited >= _SILENT_SECONDS:
            silent = False
            _LOG.warning("waiting for process number %s, which holds %s", _holder(handle), path)
        time.sleep(_PAUSE_SECONDS)


def _holder(handle: int) -> str:
    return os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
