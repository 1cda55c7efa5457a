"""File access: atomic writes, regular files only, and hints for disk errors.

Only regular files are read: a named pipe or a device could block its reader indefinitely.
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
"""The permission bits of all users except the owner."""
_STALE_SECONDS = 3600.0
_ROOM = "make room on the disk (`tastemaker versions prune --keep 3` removes old versions)"
_POLARS = re.compile(r"\(os error ([0-9]+)\)")
_FIXES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: "mount the disk for writing; a disk that became read-only may be failing",
    errno.EIO: "the disk may be failing: check the system log",
}
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class TemporaryFolderError(OSError):
    """The folder for temporary files is full or cannot be written.

    Args:
        problem: the system's error.
        work: what needed the space, such as `unpacking events.csv.gz`.
        fix: an alternative to choosing another folder.
        variable: the environment variable that selects another folder.
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
        reason = f"{os.strerror(number)} in the folder for temporary files, {place},"
        super().__init__(number, f"{reason} while {work}")
        self.fix = f"set {variable} to a folder with more room, or {fix}"


def require_regular(path: Path) -> None:
    """Rejects a path that is not a regular file, or a link to one, without opening it.

    Raises:
        OSError: it is not a regular file or does not exist; with number, reason and file name.
    """
    _require_regular(path.stat(), path)


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Opens a regular file, or a link to one, without ever blocking.

    Args:
        path: the file.
        flags: flags for `os.open`; by default to read.
        mode: the mode of a file that is created.

    Returns:
        The file descriptor.

    Raises:
        OSError: it is not a regular file, or cannot be opened; with number, reason and file name.
    """
    with suppress(FileNotFoundError):
        require_regular(path)  # opening a device can have side effects
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, mode)
    try:
        _require_regular(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


def reading(path: Path) -> BufferedReader:
    """A regular file, opened to read bytes.

    Raises:
        OSError: it is not a regular file, or cannot be read; with number, reason and file name.
    """
    return os.fdopen(open_regular(path), "rb")


def reading_text(
    path: Path, encoding: str = "utf-8", errors: str = "strict", newline: str | None = None
) -> TextIO:
    """A regular file, opened to read text.

    Args:
        path: the file.
        encoding: as for `open`.
        errors: as for `open`.
        newline: as for `open`.

    Raises:
        LookupError: the encoding does not exist.
        OSError: it is not a regular file, or cannot be read; with number, reason and file name.
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
        UnicodeDecodeError: the file is not text in this encoding.
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
        work: what needs the space, for the message.
        fix: an alternative to choosing another folder.

    Raises:
        TemporaryFolderError: the folder cannot be created.
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
    except OSError:  # no folder is writable
        return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - only named in a message


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path to system errors that are raised inside the block.

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
    """A temporary file that atomically replaces `path` on success and is removed on failure.

    If several processes replace the same file at once, the last to finish wins.

    Args:
        path: the file to replace.
        mode: the permissions of the new file from the start, limited by the process's umask.

    Raises:
        OSError: the file cannot be written; the error names `path`, which is unchanged.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with naming(path):
            _remove_stale_parts(path)
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield part
            flush(part)
            part.replace(path)
            flush(path.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _remove_stale_parts(path: Path) -> None:
    """Removes partial files that killed processes left, once unchanged for an hour."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}\.part")
    with suppress(OSError):
        for part in path.parent.iterdir():
            if ours.fullmatch(part.name) and time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()


def flush(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk.

    A rename is durable only after its folder has been flushed.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private_folder(folder: Path) -> bool:
    """Creates a folder for its owner only, or removes the permissions of others from it.

    Returns:
        Whether the permissions of an existing folder were changed.

    Raises:
        OSError: the folder cannot be created.
    """
    make_new_folders_private(folder)
    with suppress(OSError):  # owned by another user
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & OTHERS:
            folder.chmod(mode & ~OTHERS)
            return True
    return False


def make_new_folders_private(folder: Path) -> None:
    """Creates a folder and its missing parents, for their owner only.

    Existing folders are not changed.

    Raises:
        OSError: a folder cannot be created.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(mode=0o700)
    folder.mkdir(exist_ok=True)


def refusal(folder: Path) -> OSError | None:
    """The error of writing a test file to a folder; None if it can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as stream:
            stream.write(bytes(4096))
    except OSError as problem:
        return problem
    return None


def fix_hint(problem: OSError) -> str:
    """A fix to append to the reason, `; make room on the disk …`; empty if none is known."""
    if isinstance(problem, TemporaryFolderError):
        return f"; {problem.fix}"
    known = _FIXES.get(problem.errno or 0)
    return f"; {known}" if known else ""


def _number(problem: Exception) -> int | None:
    """The system error number of a problem, also if a library reports it as text."""
    if isinstance(problem, OSError) and problem.errno:
        return problem.errno
    match = _POLARS.search(str(problem))
    if match:
        return int(match[1])
    # NumPy on a full disk: "1000 requested and 512 written"
    return errno.ENOSPC if isinstance(problem, OSError) else None
