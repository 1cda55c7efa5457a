"""Folders beside the versions in which something is being written or removed.

They have names that are no version's, and become or leave a version in one rename. What a killed
process left of them can be told from what a living one needs: the living hold the lock inside, in
which their number stands. Where no number stands, whatever was touched within the hour is left
alone.
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
_OURS = re.compile(
    rf"({re.escape(_BUILDING)}|{re.escape(_REMOVED)}).*|\.?[0-9]{{8}}T[0-9]{{12}}(-.*)?"
)
"""The second form is what trainings wrote into before there were locks."""


@contextmanager
def building(artifacts: Path) -> Iterator[Path]:
    """A place to write a version to; what is not renamed away from it is removed at the end."""
    make_new_folders_private(artifacts)
    folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=artifacts))
    try:
        with locked(_lock_of(folder), ArtifactError, patience=0):
            try:
                yield folder / "artifact"
            finally:
                rmtree(folder, ignore_errors=True)  # while nobody can take it for a dead one's
    finally:
        rmtree(folder, ignore_errors=True)


def remove(version: Path) -> None:
    """Takes a version away in one rename, then its files: a kill leaves no half of it."""
    # a new name rather than a new folder, for which a full disk may have no room
    hidden = version.with_name(f"{_REMOVED}{version.name}-{uuid4().hex[:8]}")
    version.rename(hidden)
    flush(version.parent)
    rmtree(hidden)


def left_behind(artifacts: Path) -> list[Path]:
    """The folders whose process is dead; of those nobody wrote a number in, after an hour."""
    if not artifacts.is_dir():
        return []
    ours = (path for path in sorted(artifacts.iterdir()) if _OURS.fullmatch(path.name))
    return [path for path in ours if path.is_dir() and _is_dead(path)]


def _is_dead(folder: Path) -> bool:
    lock = _lock_of(folder)
    try:
        if lock.stat().st_size:  # asking takes the lock: never before its owner has
            return not is_held(lock)
    except FileNotFoundError:
        pass
    try:
        latest = max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    except FileNotFoundError:  # its process is just done with it
        return False
    return time.time() - latest > LEFT_BEHIND_SECONDS and not is_held(lock)


def _lock_of(folder: Path) -> Path:
    return folder / "lock"
