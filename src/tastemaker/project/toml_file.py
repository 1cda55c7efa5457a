"""A parsed TOML file: its values, and the names of places in it for messages."""

import os
import re
import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

from tastemaker.disk import read_text
from tastemaker.errors import ProjectError
from tastemaker.faults import Path as Place
from tastemaker.project.syntax import hint

_PREFIX = "TASTEMAKER_"
_OVERRIDDEN = ("store", "server")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_VALUE = 80
_FILES = ("data", "events")


class TomlFile:
    """A parsed file.

    Attributes:
        name: its name in messages.
        values: its values; TASTEMAKER_SECTION__KEY variables override [store] and [server].
        variables: place → the environment variable that sets its value.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
        except (ValueError, RecursionError) as problem:  # RecursionError: nested too deep
            message = str(problem)
            fix = hint(text, message)
            raise ProjectError(f"{name}: malformed TOML: {message}{fix}") from None
        self._headers = dict(_headers(text, self.values))
        self.variables: dict[Place, str] = {}
        self._override()

    @classmethod
    def read(cls, path: Path) -> "TomlFile":
        """Reads a file.

        Raises:
            ProjectError: it is missing, cannot be read, or is not TOML (with line and column).
        """
        if path.exists() and not path.is_file():
            raise ProjectError(f"{path}: is not a file")
        try:
            text = read_text(path, "utf-8-sig")
        except FileNotFoundError:
            raise ProjectError(f"{path}: no such file; write one with `tastemaker init`") from None
        except UnicodeDecodeError:
            raise ProjectError(f"{path}: not UTF-8 text") from None
        except OSError as problem:
            raise ProjectError(f"{path}: cannot be read ({problem.strerror})") from None
        return cls(path.name, text)

    def _override(self) -> None:
        for variable, value in os.environ.items():
            section, _, key = variable.removeprefix(_PREFIX).lower().partition("__")
            if variable.startswith(_PREFIX) and section in _OVERRIDDEN and key:
                table = self.values.setdefault(section, {})
                if isinstance(table, dict):  # otherwise an error is reported later
                    table[key] = value
                    self.variables[section, key] = variable

    def name_of(self, place: Place) -> str:
        """The name of a place in the file, such as `[events.rating] positive_threshold`."""
        if place[:2] in self.variables:
            return self.variables[place[:2]]
        header = self._header(place)
        words = ""
        for part in place[len(header) :]:
            if isinstance(part, int):
                words += f"{':' if words else ''} {_entry(place)} {part + 1}:"
            else:
                words += f".{_key(part)}" if words and not words.endswith(":") else f" {_key(part)}"
        table = table_name(header, self._headers.get(header, False)) if header else ""
        return f"{table}{words}".strip().removesuffix(":")

    def _header(self, place: Place) -> tuple[str, ...]:
        """The table that contains the place, by its header or else by its path."""
        path: list[str] = []
        for part in place:
            if isinstance(part, int):
                break
            path.append(part)
        for length in range(len(path), 0, -1):
            if tuple(path[:length]) in self._headers:
                return tuple(path[:length])
        is_list = len(path) < len(place)
        return tuple(path if is_list and len(path) > 1 else path[:-1])

    def headers_under(self, *path: str) -> list[tuple[str, ...]]:
        """The table headers in the file that start with `path`."""
        return [header for header in self._headers if header[: len(path)] == path]

    def rename(self, name: str, target: str) -> None:
        """Uses the names of the section `name` for places in the section `target`."""
        for header in self.headers_under(name):
            self._headers.setdefault((target, *header[1:]), self._headers[header])


def _headers(text: str, values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yields every table with a header, and whether it is a list of tables."""
    for line in text.splitlines():
        found = _HEADER.fullmatch(line)
        if found is None:
            continue
        try:
            nested: Any = tomllib.loads(f"{found[2]} = 0")
        except ValueError:
            continue  # a line inside a list
        path: list[str] = []
        at: Any = values
        while isinstance(nested, dict):
            ((name, nested),) = nested.items()
            path.append(name)
            at = at[-1] if isinstance(at, list) and at else at
            at = at.get(name, {}) if isinstance(at, dict) else {}
        yield tuple(path), found[1] == "[["


def table_name(path: tuple[str, ...], is_list: bool = False) -> str:
    """The header of a table, such as `[placements.home]`."""
    inner = ".".join(map(_key, path))
    return f"[[{inner}]]" if is_list else f"[{inner}]"


def shown(value: Any) -> str:
    """A value for a message, shortened, as in TOML except for the quotation marks."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        value = list(value)
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def written(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, str):
        return f"'{value}'" if '"' in value or "\\" in value else f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return shown(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else written(name)


def _entry(place: Place) -> str:
    return "file" if place[:2] == _FILES else "entry"
