"""The errors of a project file: all of them, each at its place, raised together."""

from dataclasses import dataclass, field

from tastemaker.errors import ProjectError
from tastemaker.faults import Path
from tastemaker.project.toml_file import TomlFile


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with a file.

    Attributes:
        source: the file.
        lines: one for each error, in the order found.
        broken: the places whose values cannot be used; what follows from them is not an error.
    """

    source: TomlFile
    lines: list[str] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)

    def add(self, place: Path, text: str) -> None:
        """Adds an error, and marks its place as broken.

        Args:
            place: where it is.
            text: what is wrong, to follow the place: `must be …`, or a sentence.
        """
        name = self.source.name_of(place)
        joined = " " if text.startswith(("must ", "is missing")) else ": "
        self.lines.append(f"{name}{joined if name else ''}{text}")
        self.broken.add(place)

    def note(self, place: Path, text: str) -> None:
        """Adds an error after which what lies at the place can still be judged."""
        was_broken = place in self.broken
        self.add(place, text)
        if not was_broken:
            self.broken.discard(place)

    def is_broken(self, *place: str) -> bool:
        """Whether an error lies at this place, inside it, or around it."""
        return any(part[: len(place)] == place[: len(part)] for part in self.broken)

    def names(self, section: str) -> set[str]:
        """The names declared in a section whose tables cannot be used."""
        return {str(place[1]) for place in self.broken if place[:1] == (section,) and place[1:]}

    def stop(self) -> None:
        """Ends here if there is anything wrong.

        Raises:
            ProjectError: with all errors.
        """
        if self.lines:
            raise ProjectError(listed(self.source.name, self.lines))


def listed(owner: str, lines: list[str]) -> str:
    """One message of several: a single one in one line, several below their number.

    Args:
        owner: the file they are about.
        lines: the messages.
    """
    if len(lines) == 1:
        return f"{owner}: {lines[0]}"
    return "\n  ".join([f"{owner}: {len(lines)} errors", *lines])
