"""Disks that refuse: files that take their place whole or not at all, and what to do about it.

Whatever is read is a regular file: a named pipe or a device could keep its reader waiting forever.
"""

import errno
import io
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import TextIO
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


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class TemporaryFolderError(OSError):
    """The folder for temporary files takes no more.

    Args:
        problem: what the system refused.
        work: what needed the room, such as `unpacking events.csv.gz`.
        fix: what else to do than to choose another folder.
        variable: of the environment, by which another folder is chosen.
        folder: the folder; by default that of `tempfile`.
    """

    def __init__(
        self,
        problem: OSError,
        work: str,
        fix: str,
        variable: str = "TMPDIR",
        folder: Path | None = None,
    ) -> None:
        number = problem.errno or errno.ENOSPC
        place = folder or _temporary_folder()
        told = f"{os.strerror(number)} in the folder for temporary files, {place},"
        super().__init__(number, f"{told} while {work}")
        self.fix = f"set {variable} to a folder with more room, or {fix}"


def require_regular(path: Path) -> None:
    """Refuses what is not a regular file, or a link to one, before anything opens it.

    Raises:
        OSError: with number, reason and file name; also where there is nothing.
    """
    _require_regular(path.stat(), path)


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Opens a regular file, or a link to one, and never waits for anybody.

    Args:
        path: the file.
        flags: as `os.open` takes them; by default to read.
        mode: of a file that is made.

    Returns:
        The file descriptor.

    Raises:
        OSError: it is something else, or cannot be opened; with number, reason and file name.
    """
    with suppress(FileNotFoundError):
        require_regular(path)  # opening a device may already do something
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, mode)
    try:
        _require_regular(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def reading(path: Path) -> BufferedReader:
    """A regular file, open to read its bytes.

    Raises:
        OSError: it is something else, or cannot be read; with number, reason and file name.
    """
    return os.fdopen(open_regular(path), "rb")


def reading_text(
    path: Path, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
) -> TextIO:
    """A regular file, open to read its text.

    Args:
        path: the file.
        encoding: as `open` takes it.
        errors: as `open` takes it.
        newline: as `open` takes it.

    Raises:
        LookupError: there is no such encoding.
        OSError: it is something else, or cannot be read; with number, reason and file name.
    """
    return io.TextIOWrapper(reading(path), encoding, errors, newline)


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: as `reading`.
    """
    with reading(path) as stream:
        return stream.read()


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a regular file, with line feeds as line ends.

    Raises:
        OSError: as `reading`.
        UnicodeDecodeError: it is not text of this encoding.
    """
    text = read_bytes(path).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _require_regular(about: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(about.st_mode):
        kind = _KINDS.get(stat.S_IFMT(about.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


@contextmanager
def temporary_folder(work: str, fix: str) -> Iterator[Path]:
    """A folder for temporary files, removed at the end.

    Args:
        work: what needs the room, for the message.
        fix: what else to do than to choose another folder.

    Raises:
        TemporaryFolderError: none can be made.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="tastemaker-", ignore_cleanup_errors=True)
    except OSError as problem:
        raise TemporaryFolderError(problem, work, fix) from None
    with made as folder:
        yield Path(folder)


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # no folder takes anything
        return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - where it would have been


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
    make_new_folders_private(folder)
    with suppress(OSError):  # another owner's
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & OTHERS:
            folder.chmod(mode & ~OTHERS)
            return True
    return False


def make_new_folders_private(folder: Path) -> None:
    """Makes a folder, and those around it, where they are missing, for their owner alone.

    Those that are there stay as they are.

    Raises:
        OSError: one cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(mode=0o700)
    folder.mkdir(exist_ok=True)


def refusal(folder: Path) -> OSError | None:
    """Why nothing can be written to a folder; None where something can. Tries it."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as stream:
            stream.write(bytes(4096))
    except OSError as problem:
        return problem
    return None


def fix_hint(problem: OSError) -> str:
    """What to do, to follow the reason: `; make room on the disk …`; empty where nobody knows."""
    if isinstance(problem, TemporaryFolderError):
        return f"; {problem.fix}"
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
