"""A trained version: its name tells when it was trained and what is in it."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tastemaker.artifact import read_manifest
from tastemaker.component.ranker_use import RankerUse
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import ArtifactError

KIND = "recommender"
"""What the artifact of a version holds: what `Recommender.save` writes."""

_NAME = re.compile(r"([0-9]{8}T[0-9]{6})-([0-9a-f]{8})")
_MOMENT = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of a version without opening more than its manifest.

    Attributes:
        name: the moment it was trained and eight digits of its digest.
        trained: that moment in microseconds, UTC; whole seconds.
        bytes: what it takes on disk.
        current: whether it is the one that serves.
        previous: whether a rollback would go to it, as far as the manifests tell.
        problem: why it cannot serve, or None; the files' checksums are not looked at.
        sources: the names of its retrievers.
        rankers: the rankers that learned → whether each is used, and whether it was better.
        data: table → fingerprint of the file it was trained on, as far as it is told.
        left_out: source → why it was not fitted.
        notes: what of the events was left out of training, a sentence each.
    """

    name: str
    trained: int
    bytes: int
    current: bool
    previous: bool
    problem: str | None
    sources: tuple[str, ...]
    rankers: dict[str, RankerUse]
    data: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def version_name(moment: int, digest: str) -> str:
    """The name of a version.

    Args:
        moment: when it was trained, microseconds, UTC.
        digest: the digest in its manifest.

    >>> version_name(0, "5c0ffee5" + "0" * 56)
    '19700101T000000-5c0ffee5'
    """
    trained = datetime.fromtimestamp(moment // MICROSECONDS["s"], UTC)
    return f"{trained:{_MOMENT}}-{digest[:8]}"


def is_version(name: str) -> bool:
    """Whether a name is made like a version's; a folder of that name need not exist."""
    try:
        trained_at(name)
    except ValueError:
        return False
    return True


def trained_at(name: str) -> int:
    """The moment in a version's name, microseconds, UTC.

    Raises:
        ValueError: the name is no version's.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise ValueError(f"'{name}' is no version")
    moment = datetime.strptime(parts[1], _MOMENT).replace(tzinfo=UTC)
    return int(moment.timestamp()) * MICROSECONDS["s"]


def read_version(folder: Path) -> dict[str, Any]:
    """The manifest of a version, which must be the one the folder is named after.

    Raises:
        ArtifactError: the manifest is missing, damaged, foreign or another version's.
    """
    manifest = read_manifest(folder, KIND)
    if not folder.name.endswith(f"-{manifest['digest'][:8]}"):
        raise ArtifactError(
            f"{folder}: holds another version than its name says (…-{manifest['digest'][:8]})"
        )
    return manifest


def describe(folder: Path, *, current: bool, previous: bool) -> Version:
    """Reads a version's manifest; what is wrong with it is told, not raised."""
    problem: str | None = None
    sources: tuple[str, ...] = ()
    rankers: dict[str, RankerUse] = {}
    data: dict[str, str] = {}
    left_out: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    try:
        about = read_version(folder)["about"]
        rankers = {name: RankerUse.of(notes) for name, notes in about["learned"].items()}
        sources = tuple(about["components"])
        data = dict(about.get("data", {}))
        left_out = {name: str(one["reason"]) for name, one in about.get("left_out", {}).items()}
        notes = tuple(map(str, about.get("notes", [])))
    except ArtifactError as refused:
        problem = str(refused)
    except (AttributeError, KeyError, TypeError, ValueError):
        problem = f"{folder}: its manifest does not describe a recommender of this version"
    return Version(
        folder.name,
        trained_at(folder.name),
        folder_bytes(folder),
        current,
        previous,
        problem,
        sources,
        rankers,
        data,
        left_out,
        notes,
    )


def folder_bytes(folder: Path) -> int:
    """What the files in a folder take; those that vanish meanwhile take nothing."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.lstat().st_size
    return size
