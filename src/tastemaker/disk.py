"""Disks that refuse: files that take their place whole or not at all, and what to do about it."""

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""The rights of all users but the owner, in a mode."""
_DEAD_SECONDS = 3600.0
_ROOM = "make room on the disk (`tastemaker versions prune --keep 3` removes old versions)"
_POLARS = re.compile(r"\(os error ([0-9]+)\)")
_CURES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: "mount the disk for writing; one that turned read-only by itself may be failing",
    errno.EIO: "the disk may be failing: look into the system's log",
}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes whatever the system refuses name what could not be written.

    Raises:
        OSError: with number, reason and file name.
    """
    try:
        yield
    except Exception as problem:
        number = _number(problem)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A file to write beside another: it takes the other's place when all is written, or goes.

    Of several who write the same one at a time, the last to be done counts.

    Args:
        path: whose place it takes.
        mode: who may read and write it from the first byte on, less what the process's mask takes.

    Raises:
        OSError: it cannot be written; it names `path`, where all is as before.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with naming(path):
            _remove_parts_of_the_dead(path)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield part
            flush(part)
            part.replace(path)
            flush(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _remove_parts_of_the_dead(path: Path) -> None:
    """Removes what killed runs left of a file in the making: whatever rests for an hour."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}\.part")
    with suppress(OSError):
        for part in path.parent.iterdir():
            if ours.fullmatch(part.name) and time.time() - part.stat().st_mtime > _DEAD_SECONDS:
                part.unlink()


def flush(path: Path) -> None:
    """Asks the system to put a file, or a folder's entries, on disk.

    Without the folder's, a rename may be forgotten.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private_folder(folder: Path) -> bool:
    """Makes a folder that its owner alone can enter, or takes the rights of others from it.

    Returns:
        Whether a folder that was there has been changed.

    Raises:
        OSError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        with suppress(OSError):
            mode = stat.S_IMODE(folder.stat().st_mode)
            if mode & OTHERS:
                folder.chmod(mode & ~OTHERS)
                return True
        return False
    folder.chmod(0o700)
    return False


def refusal(folder: Path) -> OSError | None:
    """Why nothing can be written to a folder; None where something can. Tries it."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as stream:
            stream.write(bytes(4096))
    except OSError as problem:
        return problem
    return None


def cure(problem: OSError) -> str:
    """What to do, to follow the reason: `; make room on the disk …`; empty where nobody knows."""
    known = _CURES.get(problem.errno or 0)
    return f"; {known}" if known else ""


def _number(problem: Exception) -> int | None:
    """The system's number of a problem, also of what libraries tell in words of their own."""
    if isinstance(problem, OSError) and problem.errno:
        return problem.errno
    told = _POLARS.search(str(problem))
    if told:
        return int(told[1])
    # NumPy on a full disk: "1000 requested and 512 written"
    return errno.ENOSPC if isinstance(problem, OSError) else None
