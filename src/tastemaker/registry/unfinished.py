"""Temporary folders next to the versions, for a version that is being written or removed.

Their names are not version names. One rename turns a folder into a version, or a version into a
folder. A running process holds the lock file in its folder, which contains its process id, so
folders of killed processes can be detected. A folder without a process id is kept for an hour after
its last change.
"""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from tastemaker.disk import flush, make_new_folders_private
from tastemaker.errors import ArtifactError
from tastemaker.lock import is_held, locked

LEFT_BEHIND_SECONDS = 3600.0

_BUILDING = ".building-"
_REMOVED = ".removed-"
_TEMPORARY = re.compile(
    rf"({re.escape(_BUILDING)}|{re.escape(_REMOVED)}).*|\.?[0-9]{{8}}T[0-9]{{12}}(-.*)?"
)
"""The second form is the name of training folders from versions without locks."""


@contextmanager
def building(artifacts: Path) -> Iterator[Path]:
    """A folder to write a version to. Everything that is not renamed is removed on exit."""
    make_new_folders_private(artifacts)
    folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=artifacts))
    try:
        with locked(_lock_of(folder), ArtifactError, patience=0):
            try:
                yield folder / "artifact"
            finally:
                rmtree(folder, ignore_errors=True)  # while the lock is held
    finally:
        rmtree(folder, ignore_errors=True)


def remove(version: Path) -> None:
    """Removes a version. The rename comes first, so that no partial version can remain."""
    # a new name rather than a new folder, which a full disk cannot create
    hidden = version.with_name(f"{_REMOVED}{version.name}-{uuid4().hex[:8]}")
    version.rename(hidden)
    flush(version.parent)
    rmtree(hidden)


def leftover_folders(artifacts: Path) -> list[Path]:
    """The folders of killed processes; those without a process id after an hour."""
    if not artifacts.is_dir():
        return []
    folders = (path for path in sorted(artifacts.iterdir()) if _TEMPORARY.fullmatch(path.name))
    return [path for path in folders if path.is_dir() and _is_dead(path)]


def _is_dead(folder: Path) -> bool:
    lock = _lock_of(folder)
    try:
        if lock.stat().st_size:  # the check takes the lock: it must not run before the owner's
            return not is_held(lock)
    except FileNotFoundError:
        pass
    try:
        latest = max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    except FileNotFoundError:  # its process has just removed it
        return False
    return time.time() - latest > LEFT_BEHIND_SECONDS and not is_held(lock)


def _lock_of(folder: Path) -> Path:
    return folder / "lock"
