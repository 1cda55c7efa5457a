"""A project: its file `tastemaker.toml`, the folder around it, and the data it names."""

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
_SHORTER = "raise [training] memory, or give a shorter stretch of the log"


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
    def quarantine(self) -> Path:
        """Where the rows that cannot be used are written."""
        return self.state / "quarantine"

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
            min_item_users=data.min_item_users,
            exclude=data.exclude,
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
        """Refuses files of the project that cannot be opened, all of them at once.

        Args:
            tables: whose files to look at; by default all.

        Raises:
            DataError: files are missing, are folders, or may not be read.
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
        """Refuses components, or a split, that need times where the data has none; all at once.

        Args:
            to_evaluate: whether the split counts as well.

        Raises:
            ClockError: names each and what to write.
        """
        lines = clock_lines(self.file, to_evaluate=to_evaluate)
        if lines:
            raise ClockError(listed(self.path.name, lines))

    def require_memory(self, needed: int, work: str, fix: str = _SHORTER) -> None:
        """Refuses to take up more data than fits into the budget.

        Raises:
            MemoryBudgetError: `needed` bytes do not.
        """
        require_memory(needed, self.file.training.memory, work, fix)

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
                names.append(file.name)
        self.require_memory(needed, f"{work} {', '.join(names)}")

    def read(self, *, every_item: bool = False) -> Dataset:
        """Reads and indexes the data; rows that cannot be used go to the quarantine folder.

        Args:
            every_item: whether nothing is left out by `[data] min_item_users` and `[data.exclude]`.

        Raises:
            DataError: files cannot be opened or used, or too many rows of one.
            MemoryBudgetError: reading would take more than the budget.
        """
        self.require_files()
        files = self.data_files()
        self.require_memory_to_read(files)
        schema = self.schema
        if every_item:
            schema = schema.model_copy(update={"min_item_users": 1, "exclude": Exclude()})
        return Dataset.from_data_files(files, schema, self.quarantine)

    def split(self, data: Dataset, placement: Placement) -> Split:
        """Divides the data as [split] says.

        Args:
            data: the events.
            placement: its seen policy says what counts as new, in a split by time.

        Raises:
            ClockError: the split is by time, and the data has no times that are moments.
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
    """Why a file cannot be read, with its near miss; empty if it can."""
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
        return f"{path}: is a folder; name a file in it"
    except (OSError, ValueError) as problem:
        return f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem})"


def _neighbor(path: Path) -> str:
    """The hint to a file of a similar name in the same folder."""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent} either"
    close = closest(path.name, [other.name for other in path.parent.iterdir() if other.is_file()])
    return f"; did you mean '{close}'?" if close else ""


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
        ProjectError: missing, malformed (with line and column), or wrong; names everything that
            is wrong, with near misses.
    """
    source = TomlFile.read(path)
    problems = Problems(source)
    Structure(problems).repair()
    file = usable_file(problems)
    Checks(file, problems).check()
    problems.stop()
    return Project(file, path)
