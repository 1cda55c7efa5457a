"""`tastemaker.toml`: what the data is, which components there are, what each placement shows."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from tastemaker.component import Retriever
from tastemaker.config import Settings
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import Clock, ColumnRole, EventKind, Schema, TimeUnit
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import ProjectError, near_miss
from tastemaker.project.registry import component_class
from tastemaker.split.by_time import RequestMoments, Split, by_time

FILE_NAME = "tastemaker.toml"
STATE_FOLDER = ".tastemaker"
RESERVED = "pipeline"
"""What an evaluation calls all sources together."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class Columns(Settings):
    """[data.columns]: ours = theirs, by table."""

    events: dict[str, str] = Field(default_factory=dict)
    """Columns of the event log."""
    items: dict[str, str] = Field(default_factory=dict)
    """Columns of the item table."""
    users: dict[str, str] = Field(default_factory=dict)
    """Columns of the user table."""


class Defaults(Settings):
    """[data.defaults]."""

    event_type: str | None = None
    """The kind of rows that bring none."""


class Data(Settings):
    """[data]: where the tables are and how to read them."""

    events: str
    """The event log: CSV, gzipped CSV or Parquet, relative to the project file."""
    items: str | None = None
    """The item table."""
    users: str | None = None
    """The user table."""
    clock: Clock = "absolute"
    """Times are moments, or only an order, or nothing."""
    time_unit: TimeUnit = "auto"
    """Epoch s, ms, us; iso; or by the size of the numbers."""
    separator: str | None = Field(None, min_length=1, max_length=1)
    """The delimiter of CSV files."""
    columns: Columns = Columns()
    """What our columns are called in the files."""
    defaults: Defaults = Defaults()
    """What rows that leave something out mean."""


class Roles(Settings):
    """[items] and [users]."""

    roles: dict[str, ColumnRole] = Field(default_factory=dict)
    """Columns to keep, and what they hold."""


class RetrieverSection(Settings):
    """[retrievers.NAME]: `use` names the component, the rest are its settings."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    use: str
    """The registered component."""

    def build(self, name: str) -> Retriever:
        """The component with these settings."""
        component = component_class(self.use, Retriever)
        settings = self.model_extra or {}
        owner = f"[retrievers.{name}]"
        component.config_class().checked(settings, owner=owner, error=ProjectError)
        return component(**settings)


class Placement(Settings):
    """[placements.NAME]: what one place on the page shows."""

    retrievers: dict[str, int]
    """Source → how many candidates it may give, and its weight in the fusion."""
    seen: dict[str, str] = Field(default_factory=dict)
    """Kind → exclude, allow, or exclude for 30d; a kind not named: exclude."""


class SplitSection(Settings):
    """[split]: how the data is parted for evaluation."""

    test: str | float = 0.2
    """The last window: a duration, or a share of the events."""
    validation: str | float | None = None
    """The window before it; by default as long as test."""
    gap: str | None = None
    """A duration left out before each window."""
    horizon: str | None = None
    """How far ahead the truth reaches."""
    requests: RequestMoments = "sampled"
    """Where in the window the requests stand."""


class ProjectFile(Settings):
    """The whole file; an unknown key anywhere is an error."""

    data: Data
    """Where the tables are."""
    events: dict[str, EventKind]
    """The kinds of event."""
    items: Roles = Roles()
    """The item table's columns."""
    users: Roles = Roles()
    """The user table's columns."""
    retrievers: dict[str, RetrieverSection]
    """The sources."""
    placements: dict[str, Placement]
    """The places that show a list; the first is the default."""
    split: SplitSection = SplitSection()
    """How to evaluate."""


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
        """What the columns and kinds mean."""
        data = self.file.data
        return Schema(
            event_columns=data.columns.events,
            kinds=self.file.events,
            default_kind=data.defaults.event_type,
            clock=data.clock,
            time_unit=data.time_unit,
            separator=data.separator,
            item_columns=data.columns.items,
            item_roles=self.file.items.roles,
            user_columns=data.columns.users,
            user_roles=self.file.users.roles,
        )

    def data_files(self) -> dict[str, Path]:
        """events, items and users, as far as the project has them."""
        data = self.file.data
        named = {"events": data.events, "items": data.items, "users": data.users}
        return {table: self.folder / name for table, name in named.items() if name is not None}

    def read(self) -> Dataset:
        """Reads and indexes the data; rows that cannot be used go to the quarantine folder.

        Raises:
            DataError: a file cannot be used, or more than 1 % of its rows.
        """
        files = self.data_files()
        return Dataset.from_files(
            files["events"],
            items=files.get("items"),
            users=files.get("users"),
            schema=self.schema,
            quarantine=self.state / "quarantine",
        )

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
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ProjectError(f"{path}: no such file; write one with `tastemaker init`") from None
    except UnicodeDecodeError:
        raise ProjectError(f"{path}: not UTF-8 text") from None
    except OSError as problem:
        raise ProjectError(f"{path}: cannot be read ({problem.strerror})") from None
    except tomllib.TOMLDecodeError as problem:
        raise ProjectError(f"{path.name}: malformed TOML: {problem}") from None
    file = ProjectFile.checked(values, owner=path.name, error=ProjectError)
    _check_names(file, path.name)
    return Project(file, path)


def _check_names(file: ProjectFile, owner: str) -> None:
    """Every name used is declared; every number makes sense beside the others."""
    _require_some(file, owner)
    default = file.data.defaults.event_type
    if default is not None and default not in file.events:
        raise ProjectError(
            f"{owner}: [data.defaults] event_type '{default}' is no declared kind"
            f"{near_miss(default, file.events)}"
        )
    for name, section in file.retrievers.items():
        if not _PLAIN.fullmatch(name) or name == RESERVED:
            raise ProjectError(
                f"{owner}: [retrievers.{name}]: a name is made of letters, digits, _ and -, and "
                f"is not '{RESERVED}'"
            )
        section.build(name)
    for name, placement in file.placements.items():
        where = f"{owner}: [placements.{name}]"
        if not placement.retrievers:
            raise ProjectError(f"{where} names no retriever")
        for source, quota in placement.retrievers.items():
            if source not in file.retrievers:
                hint = near_miss(source, file.retrievers)
                raise ProjectError(f"{where} names an unknown retriever '{source}'{hint}")
            if quota < 1:
                raise ProjectError(f"{where} {source} must be at least 1, got {quota}")
        try:
            SeenPolicy.of(file.events, placement.seen)
        except ValueError as problem:
            raise ProjectError(f"{where} {problem}") from None


def _require_some(file: ProjectFile, owner: str) -> None:
    parts: dict[str, Any] = {
        "events": file.events,
        "retrievers": file.retrievers,
        "placements": file.placements,
    }
    for part, declared in parts.items():
        if not declared:
            raise ProjectError(f"{owner}: declare at least one [{part}.NAME]")
