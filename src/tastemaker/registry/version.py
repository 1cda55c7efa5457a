"""A trained version; its name contains the time of its training and a digest of its content."""

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
"""The kind of a version's artifact, as written by `Recommender.save`."""

_NAME = re.compile(r"([0-9]{8}T[0-9]{6})-([0-9a-f]{8})")
_MOMENT = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class Version:
    """The metadata of a version, read from its manifest.

    Attributes:
        name: the time of its training and eight digits of its digest.
        trained: the time of its training in microseconds, UTC; whole seconds.
        bytes: its size on disk.
        current: whether it is the serving version.
        previous: whether a rollback would go to it, judged by the manifests.
        problem: why it cannot serve, or None; checksums of files are not verified.
        sources: the names of its retrievers.
        rankers: trained ranker → whether it is used, and whether it was better.
        data: table → fingerprint of the file it was trained on, if recorded.
        left_out: source → why it was not fitted.
        notes: one sentence for each kind of events that was skipped in training.
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
        moment: the time of its training, microseconds, UTC.
        digest: the digest in its manifest.

    >>> version_name(0, "5c0ffee5" + "0" * 56)
    '19700101T000000-5c0ffee5'
    """
    trained = datetime.fromtimestamp(moment // MICROSECONDS["s"], UTC)
    return f"{trained:{_MOMENT}}-{digest[:8]}"


def is_version(name: str) -> bool:
    """Whether a text has the form of a version name; the version does not have to exist."""
    try:
        trained_at(name)
    except ValueError:
        return False
    return True


def trained_at(name: str) -> int:
    """The time of training in a version name, microseconds, UTC.

    Raises:
        ValueError: the text is not a version name.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise ValueError(f"'{name}' is not a version")
    moment = datetime.strptime(parts[1], _MOMENT).replace(tzinfo=UTC)
    return int(moment.timestamp()) * MICROSECONDS["s"]


def read_version(folder: Path) -> dict[str, Any]:
    """The manifest of a version, checked against the name of its folder.

    Raises:
        ArtifactError: the manifest is missing, damaged, of another kind or of another version.
    """
    manifest = read_manifest(folder, KIND)
    if not folder.name.endswith(f"-{manifest['digest'][:8]}"):
        raise ArtifactError(
            f"{folder}: contains another version than its name says (…-{manifest['digest'][:8]})"
        )
    return manifest


def describe(folder: Path, *, current: bool, previous: bool) -> Version:
    """Reads the manifest of a version. Errors are reported in `problem` and not raised."""
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
    except ArtifactError as error:
        problem = str(error)
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
    """The total size of the files in a folder; files that are removed meanwhile are ignored."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.lstat().st_size
    return size
