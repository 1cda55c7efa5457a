"""Collects all errors of a project file and raises them together."""

from dataclasses import dataclass, field

from tastemaker.errors import ProjectError
from tastemaker.faults import Path
from tastemaker.project.toml_file import TomlFile


@dataclass(slots=True)
class Problems:
    """The errors of a project file.

    Attributes:
        source: the file.
        lines: one message for each error, in the order found.
        broken: the places with unusable values; errors that follow from them are not reported.
    """

    source: TomlFile
    lines: list[str] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)

    def add(self, place: Path, text: str) -> None:
        """Adds an error, and marks its place as broken.

        Args:
            place: the place of the error.
            text: the message after the place: `must be …`, or a sentence.
        """
        name = self.source.name_of(place)
        separator = " " if text.startswith(("must ", "is missing")) else ": "
        self.lines.append(f"{name}{separator if name else ''}{text}")
        self.broken.add(place)

    def note(self, place: Path, text: str) -> None:
        """Adds an error, but does not mark its place as broken."""
        was_broken = place in self.broken
        self.add(place, text)
        if not was_broken:
            self.broken.discard(place)

    def is_broken(self, *place: str) -> bool:
        """Whether there is an error at this place, inside it, or in a table around it."""
        return any(part[: len(place)] == place[: len(part)] for part in self.broken)

    def names(self, section: str) -> set[str]:
        """The names in a section whose tables cannot be used."""
        return {str(place[1]) for place in self.broken if place[:1] == (section,) and place[1:]}

    def stop(self) -> None:
        """Raises all errors, if there are any.

        Raises:
            ProjectError: there are errors; the message lists all of them.
        """
        if self.lines:
            raise ProjectError(listed(self.source.name, self.lines))


def listed(owner: str, lines: list[str]) -> str:
    """Returns one message: one line for a single error, a list for several.

    Args:
        owner: the name of the file.
        lines: the messages.
    """
    if len(lines) == 1:
        return f"{owner}: {lines[0]}"
    return "\n  ".join([f"{owner}: {len(lines)} errors", *lines])
