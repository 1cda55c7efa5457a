"""The small file that says which version serves, and which ones served before.

Its first line is the version that serves, the lines below those that served before, latest first.
It is replaced in one rename: whoever reads it, or is killed writing it, sees the old or the new.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tastemaker.disk import fix_hint, read_bytes, replacing
from tastemaker.errors import ArtifactError
from tastemaker.registry.version import is_version

REMEMBERED = 50

Stamp = tuple[int, int, int]


class Serving(NamedTuple):
    """What the file says."""

    line: str
    """The first line as it stands; empty if there is none."""
    earlier: list[str]
    """The versions that served before, latest first, each once; other lines are left out."""

    @property
    def version(self) -> str | None:
        """The version that serves; None where the first line names none."""
        return self.line if is_version(self.line) else None


class Pointer:
    """The file; who reads it needs no lock, who reads and writes it does.

    Args:
        path: where it lies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Serving | None:
        """What it says; None where there is no file.

        Raises:
            ArtifactError: it cannot be read.
        """
        try:
            text = read_bytes(self.path).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise ArtifactError(
                f"{self.path}: cannot be read ({problem.strerror}){fix_hint(problem)}"
            ) from None
        first, *rest = [line.strip() for line in text.splitlines()] or [""]
        earlier = dict.fromkeys(line for line in rest if line != first and is_version(line))
        return Serving(first, list(earlier))

    def write(self, versions: Sequence[str]) -> None:
        """Replaces it; at most 50 versions are remembered.

        Args:
            versions: the one that serves, then those that served before, latest first.

        Raises:
            OSError: it cannot be written; it says what it said.
        """
        with replacing(self.path) as fresh:
            told = "".join(f"{version}\n" for version in versions[:REMEMBERED])
            fresh.write_text(told, encoding="utf-8")

    def stamp(self) -> Stamp | None:
        """Differs after every write; None where there is no file."""
        try:
            told = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return told.st_ino, told.st_mtime_ns, told.st_size
