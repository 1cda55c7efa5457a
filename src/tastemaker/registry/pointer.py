"""The pointer file: the version that serves, and the versions that served before.

The first line is the serving version; the next lines are the earlier ones, latest first. The file
is replaced in one rename, so readers see either the old or the new content, even if the writer is
killed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tastemaker.disk import fix_hint, read_bytes, replacing
from tastemaker.errors import ArtifactError
from tastemaker.registry.version import is_version

MAX_VERSIONS = 50

Stamp = tuple[int, int, int]


class Serving(NamedTuple):
    """The content of the pointer file."""

    line: str
    """The unparsed first line; empty if there is none."""
    earlier: list[str]
    """The versions that served before, latest first, without duplicates or invalid lines."""

    @property
    def version(self) -> str | None:
        """The serving version; None if the first line is not a version."""
        return self.line if is_version(self.line) else None


class Pointer:
    """Reads and writes the pointer file. Reading needs no lock; changing it does.

    Args:
        path: the path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Serving | None:
        """The content of the file; None if it does not exist.

        Raises:
            ArtifactError: the file cannot be read.
        """
        try:
            text = read_bytes(self.path).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ArtifactError(
                f"{self.path}: cannot be read ({error.strerror}){fix_hint(error)}"
            ) from None
        first, *rest = [line.strip() for line in text.splitlines()] or [""]
        earlier = dict.fromkeys(line for line in rest if line != first and is_version(line))
        return Serving(first, list(earlier))

    def write(self, versions: Sequence[str]) -> None:
        """Replaces the content of the file; only the first 50 versions are kept.

        Args:
            versions: the serving version, then the earlier ones, latest first.

        Raises:
            OSError: the file cannot be written; its content is unchanged.
        """
        with replacing(self.path) as part:
            content = "".join(f"{version}\n" for version in versions[:MAX_VERSIONS])
            part.write_text(content, encoding="utf-8")

    def stamp(self) -> Stamp | None:
        """A value that changes with every write; None if the file does not exist."""
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
