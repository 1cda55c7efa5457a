"""A project: its file `tastemaker.toml`, its folder and its data files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tastemaker.data.dataset import Dataset
from tastemaker.data.files import DataFile, with_distinct_names
from tastemaker.data.reading_cost import bytes_to_read
from tastemaker.data.schema import Exclude, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.disk import reading
from tastemaker.errors import ClockError, DataError, ProjectError, closest
from tastemaker.machine import require_memory
from tastemaker.project.checks import Checks
from tastemaker.project.clock import clock_lines
from tastemaker.project.problems import Problems, listed
from tastemaker.project.sections import Placement, ProjectFile, TableFile
from tastemaker.project.structure import Structure
from tastemaker.project.toml_file import TomlFile
from tastemaker.project.values import usable_file
from tastemaker.split import Split, by_time, holdout

FILE_NAME = "tastemaker.toml"
STATE_FOLDER = ".tastemaker"
_SHORTER = "raise [training] memory, or use a shorter period of the event log"


class Project:
    """A project file and its folder.

    Attributes:
        file: the settings.
        path: the file that they were read from.
    """

    def __init__(self, file: ProjectFile, path: Path) -> None:
        self.file = file
        self.path = path

    @property
    def folder(self) -> Path:
        """The folder of the file; paths in the file are relative to it."""
        return self.path.parent

    @property
    def state(self) -> Path:
        """The folder with artifacts, quarantined rows and runs."""
        return self.folder / STATE_FOLDER

    @property
    def quarantine(self) -> Path:
        """The folder for rows that cannot be used."""
        return self.state / "quarantine"

    @property
    def schema(self) -> Schema:
        """The meaning of the columns and event types."""
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
            min_item_users=data.min_item_users,
            exclude=data.exclude,
        )

    def data_files(self) -> dict[str, tuple[DataFile, ...]]:
        """Table (events, items, users) → its files; tables without files are left out."""
        data = self.file.data
        named = {"events": data.events, "items": data.items, "users": data.users}
        tables = {
            table: files if isinstance(files, tuple) else (files,)
            for table, files in named.items()
            if files is not None
        }
        return with_distinct_names(
            {
                table: [self._data_file(table, file) for file in files]
                for table, files in tables.items()
            }
        )

    def _data_file(self, table: str, file: TableFile) -> DataFile:
        schema, columns = self.schema, f"{table.removesuffix('s')}_columns"
        changes = {
            columns: {**getattr(schema, columns), **file.columns},
            "separator": file.separator or schema.separator,
            "header": file.header,
            "encoding": file.encoding or schema.encoding,
            "time_format": file.time_format or schema.time_format,
            "max_bad_rows": getattr(self.file.data.max_bad_rows, table),
            "default_kind": getattr(file, "event_type", None) or schema.default_kind,
        }
        return DataFile(self.folder / file.file, schema.model_copy(update=changes))

    def require_files(self, tables: Iterable[str] | None = None) -> None:
        """Raises an error that lists all files of the project that cannot be opened.

        Args:
            tables: the tables to check; by default all.

        Raises:
            DataError: files are missing, are folders, or cannot be read.
        """
        lines = []
        for table, files in self.data_files().items():
            for number, file in enumerate(files if tables is None or table in tables else ()):
                if problem := _unreadable(file.path):
                    several = f" file {number + 1}:" if len(files) > 1 else ""
                    lines.append(f"[data] {table}:{several} {problem}")
        if lines:
            raise DataError(listed(self.path.name, lines))

    def require_clock(self, *, to_evaluate: bool = False) -> None:
        """Raises an error that lists all parts of the project that need times the data lacks.

        Args:
            to_evaluate: whether to check the split as well.

        Raises:
            ClockError: a component or the split needs times; the message names each, with the fix.
        """
        lines = clock_lines(self.file, to_evaluate=to_evaluate)
        if lines:
            raise ClockError(listed(self.path.name, lines))

    def require_memory(self, needed: int, work: str, fix: str = _SHORTER) -> None:
        """Raises an error if work needs more memory than the budget.

        Raises:
            MemoryBudgetError: `needed` bytes exceed the budget.
        """
        require_memory(needed, self.file.training.memory, work, fix)

    def require_memory_to_read(
        self, files: Mapping[str, Sequence[DataFile]], work: str = "reading"
    ) -> None:
        """Raises an error if reading the files needs more memory than the budget.

        Args:
            files: table → its files.
            work: the name of the work in the message.

        Raises:
            MemoryBudgetError: the files do not fit.
        """
        roles = {"items": self.file.items.roles, "users": self.file.users.roles}
        needed, names = 0, []
        for table, of_table in files.items():
            for file in of_table:
                needed += bytes_to_read(file.path, roles.get(table))
                names.append(file.name)
        self.require_memory(needed, f"{work} {', '.join(names)}")

    def read(self, *, every_item: bool = False) -> Dataset:
        """Reads and indexes the data; rows that cannot be used go to the quarantine folder.

        Args:
            every_item: whether to ignore `[data] min_item_users` and `[data.exclude]`.

        Raises:
            DataError: a file cannot be opened or used, or has too many unusable rows.
            MemoryBudgetError: reading needs more memory than the budget.
        """
        self.require_files()
        files = self.data_files()
        self.require_memory_to_read(files)
        schema = self.schema
        if every_item:
            schema = schema.model_copy(update={"min_item_users": 1, "exclude": Exclude()})
        return Dataset.from_data_files(files, schema, self.quarantine)

    def split(self, data: Dataset, placement: Placement) -> Split:
        """Splits the data by the settings in [split].

        Args:
            data: the events.
            placement: in a split by time, its seen policy defines which items count as new.

        Raises:
            ClockError: the split is by time, but the data has no absolute times.
            DataError: a window or the training data would be empty.
        """
        section = self.file.split
        validation = section.validation
        if section.type == "holdout":
            return holdout(
                data,
                test=float(section.test),
                validation=None if validation is None else float(validation),
                min_user=section.min_user,
                min_item=section.min_item,
                seed=section.seed,
            )
        return by_time(
            data,
            test=section.test,
            validation=validation,
            gap=section.gap,
            horizon=section.horizon,
            requests=section.requests,
            seen=SeenPolicy.of(data.kinds, placement.seen),
        )


def _unreadable(path: Path) -> str:
    """The reason why a file cannot be read, with a suggestion; empty if it can."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return f"{path}: is not a file"
    try:
        with reading(path):
            return ""
    except FileNotFoundError:
        if any(letter < " " for letter in str(path)):
            return (
                f'{str(path)!r}: no such file; \\ begins an escape between " and ": write / instead'
            )
        return f"{path}: no such file{_neighbor(path)}"
    except IsADirectoryError:
        return f"{path}: is a folder; specify a file in it"
    except (OSError, ValueError) as problem:
        return f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem})"


def _neighbor(path: Path) -> str:
    """A suggestion of a file with a similar name in the same folder."""
    if not path.parent.is_dir():
        return f"; its folder {path.parent} does not exist either"
    close = closest(path.name, [other.name for other in path.parent.iterdir() if other.is_file()])
    return f"; did you mean '{close}'?" if close else ""


def find_project(start: Path) -> Path:
    """Returns the project file in a folder or its nearest parent.

    Raises:
        ProjectError: there is no project file.
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
        ProjectError: the file is missing, malformed (with line and column), or invalid; the
            message lists all errors, with suggestions.
    """
    source = TomlFile.read(path)
    problems = Problems(source)
    Structure(problems).repair()
    file = usable_file(problems)
    Checks(file, problems).check()
    problems.stop()
    return Project(file, path)
