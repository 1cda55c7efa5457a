"""A project: its file `tastemaker.toml`, the folder around it, and the data it names."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tastemaker.data.dataset import Dataset
from tastemaker.data.files import DataFile
from tastemaker.data.reading_cost import bytes_to_read
from tastemaker.data.schema import Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import ProjectError
from tastemaker.machine import require_memory
from tastemaker.project.checks import check_names
from tastemaker.project.sections import Placement, ProjectFile, TableFile
from tastemaker.split.by_time import Split, by_time

FILE_NAME = "tastemaker.toml"
STATE_FOLDER = ".tastemaker"
_PREFIX = "TASTEMAKER_"
_LONGEST_NUMBER = 20


class Project:
    """A project file and the folder around it.

    Attributes:
        file: the settings.
        path: where they were read from.
    """

    def __init__(self, file: ProjectFile, path: Path) -> None:
        self.file = file
        self.path = path

    @property
    def folder(self) -> Path:
        """Where the file lies; paths in it are relative to here."""
        return self.path.parent

    @property
    def state(self) -> Path:
        """Where artifacts, quarantine and runs live."""
        return self.folder / STATE_FOLDER

    @property
    def schema(self) -> Schema:
        """What the columns and event types mean."""
        data = self.file.data
        return Schema(
            event_columns=data.columns.events,
            kinds=self.file.events,
            default_kind=data.defaults.event_type,
            clock=data.clock,
            time_unit=data.time_unit,
            time_format=data.time_format,
            decimal=data.decimal,
            separator=data.separator,
            encoding=data.encoding,
            item_columns=data.columns.items,
            item_roles=self.file.items.roles,
            user_columns=data.columns.users,
            user_roles=self.file.users.roles,
        )

    def data_files(self) -> dict[str, tuple[DataFile, ...]]:
        """Table (events, items, users) → its files, as far as the project has them."""
        data = self.file.data
        named = {"events": data.events, "items": data.items, "users": data.users}
        tables = {
            table: files if isinstance(files, tuple) else (files,)
            for table, files in named.items()
            if files is not None
        }
        return {
            table: tuple(self._data_file(table, file) for file in files)
            for table, files in tables.items()
        }

    def _data_file(self, table: str, file: TableFile) -> DataFile:
        schema, columns = self.schema, f"{table.removesuffix('s')}_columns"
        changes = {
            columns: {**getattr(schema, columns), **file.columns},
            "separator": file.separator or schema.separator,
            "header": file.header,
            "encoding": file.encoding or schema.encoding,
            "max_bad_rows": getattr(self.file.data.max_bad_rows, table),
            "default_kind": getattr(file, "event_type", None) or schema.default_kind,
        }
        return DataFile(self.folder / file.file, schema.model_copy(update=changes))

    def require_memory(self, needed: int, work: str) -> None:
        """Refuses to take up more data than fits into the budget.

        Raises:
            MemoryBudgetError: `needed` bytes do not.
        """
        cure = "raise [training] memory, or give a shorter stretch of the log"
        require_memory(needed, self.file.training.memory, work, cure)

    def require_memory_to_read(
        self, files: Mapping[str, Sequence[DataFile]], work: str = "reading"
    ) -> None:
        """Refuses to read files that together do not fit into the budget.

        Args:
            files: table → its files.
            work: what the message calls it.

        Raises:
            MemoryBudgetError: they do not.
        """
        roles = {"items": self.file.items.roles, "users": self.file.users.roles}
        needed, names = 0, []
        for table, of_table in files.items():
            for file in of_table:
                needed += bytes_to_read(file.path, roles.get(table))
                names.append(file.path.name)
        self.require_memory(needed, f"{work} {', '.join(names)}")

    def read(self) -> Dataset:
        """Reads and indexes the data; rows that cannot be used go to the quarantine folder.

        Raises:
            DataError: a file cannot be used, or too many of its rows.
            MemoryBudgetError: reading would take more than the budget.
        """
        files = self.data_files()
        self.require_memory_to_read(files)
        return Dataset.from_data_files(files, self.schema, self.state / "quarantine")

    def split(self, data: Dataset, placement: Placement) -> Split:
        """Parts the data as [split] says; the placement's seen policy says what counts as new."""
        section = self.file.split
        return by_time(
            data,
            test=section.test,
            validation=section.validation,
            gap=section.gap,
            horizon=section.horizon,
            requests=section.requests,
            seen=SeenPolicy.of(data.kinds, placement.seen),
        )


def find_project(start: Path) -> Path:
    """The project file in a folder or the nearest of its parents.

    Raises:
        ProjectError: there is none.
    """
    here = start.absolute()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise ProjectError(
        f"no {FILE_NAME} here or in a parent folder: write one with `tastemaker init`"
    )


def load_project(path: Path) -> Project:
    """Reads and checks a project file.

    Raises:
        ProjectError: missing, malformed (with line and column), or wrong; names the near miss.
    """
    if path.exists() and not path.is_file():
        raise ProjectError(f"{path}: is no file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ProjectError(f"{path}: no such file; write one with `tastemaker init`") from None
    except UnicodeDecodeError:
        raise ProjectError(f"{path}: not UTF-8 text") from None
    except OSError as problem:
        raise ProjectError(f"{path}: cannot be read ({problem.strerror})") from None
    except (ValueError, RecursionError) as problem:  # also numbers without end, and depths
        raise ProjectError(f"{path.name}: malformed TOML: {problem}") from None
    file = ProjectFile.checked(_overridden(values), owner=path.name, error=ProjectError)
    check_names(file, path.name)
    return Project(file, path)


def _overridden(values: dict[str, Any]) -> dict[str, Any]:
    """The file's values, with [store] and [server] as TASTEMAKER_SECTION__KEY has them."""
    merged = dict(values)
    for name, value in os.environ.items():
        section, _, key = name.removeprefix(_PREFIX).lower().partition("__")
        if name.startswith(_PREFIX) and section in ("store", "server") and key:
            number = value.isascii() and value.isdigit() and len(value) < _LONGEST_NUMBER
            before = merged.get(section, {})
            if isinstance(before, dict):  # else the file is wrong, which is told as such
                merged[section] = {**before, key: int(value) if number else value}
    return merged
