"""`tastemaker.toml`: what the data is, which components there are, what each placement shows."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ByteSize, ConfigDict, Field, field_validator

from tastemaker.component import WANTED, Component, Ranker, Reranker, Retriever
from tastemaker.config import Settings
from tastemaker.data.dataset import Dataset
from tastemaker.data.read import bytes_to_read
from tastemaker.data.schema import Clock, ColumnRole, EventKind, Schema, TimeUnit
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import parse_duration
from tastemaker.errors import ProjectError, near_miss
from tastemaker.machine import require_memory
from tastemaker.project.registry import component_class
from tastemaker.split.by_time import RequestMoments, Split, by_time

FILE_NAME = "tastemaker.toml"
STATE_FOLDER = ".tastemaker"
RESERVED = ("merged", "ranked", "pipeline")
"""What an evaluation calls all sources together: before the ranker, after it, and in the end."""
_PREFIX = "TASTEMAKER_"
_LONGEST_NUMBER = 20
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")

ComponentT = TypeVar("ComponentT", bound=Component)


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


class ComponentSection(Settings):
    """[retrievers.NAME], [rankers.NAME], [rerankers.NAME]: `use` names the component."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    use: str
    """The registered component; the other keys are its settings."""

    def build(self, name: str, part: type[ComponentT]) -> ComponentT:
        """The component with these settings.

        Args:
            name: what the project calls it.
            part: `Retriever`, `Ranker` or `Reranker`.

        Raises:
            ProjectError: there is no such component, or a setting is unknown or wrong.
        """
        settings = self.model_extra or {}
        owner = f"[{part.__name__.lower()}s.{name}]"
        try:
            component = component_class(self.use, part)
        except ProjectError as problem:
            raise ProjectError(f"{owner}: {problem}") from None
        component.config_class().checked(settings, owner=owner, error=ProjectError)
        return component(**settings)


class Budget(Settings):
    """[placements.NAME.budget]: milliseconds; what does not fit gives way to something simpler."""

    total: float | None = Field(None, gt=0)
    """For the whole answer."""
    retrieve: float | None = Field(None, gt=0)
    """For all the sources together."""
    rank: float | None = Field(None, gt=0)
    """For features and ranker."""
    rerank: float | None = Field(None, gt=0)
    """For all the rerankers together."""


class Placement(Settings):
    """[placements.NAME]: what one place on the page shows."""

    retrievers: dict[str, int]
    """Source → how many candidates it may give, and its weight in the fusion."""
    ranker: str | None = None
    """Who orders the candidates; by default the fusion of the sources."""
    value: dict[str, float] = Field(default_factory=dict)
    """What each objective of the ranker is worth; by default its first alone counts."""
    rerankers: tuple[str, ...] = ()
    """Who makes a list of the order, one after the other."""
    seen: dict[str, str] = Field(default_factory=dict)
    """Kind → exclude, allow, or exclude for 30d; a kind not named: exclude."""
    budget: Budget = Budget()
    """How many milliseconds the stages may take when an answer is wanted by a deadline."""


class Training(Settings):
    """[training]: how rankers learn, by travelling back in time."""

    slices: int = Field(3, ge=2, le=50)
    """Windows at the end of the data; the last is kept for stopping early and calibration."""
    window: str | float = 0.05
    """The length of each: a duration, or a share of the events."""
    requests: int = Field(10_000, ge=1)
    """About so many past requests are learned from, of a fifth as many users drawn evenly from the
    windows."""
    negatives: int = Field(50, ge=1)
    """At most so many candidates that were not wanted are kept of each request, by lot; each
    then counts for those left out."""
    must_earn: bool = True
    """Whether a ranker is left out that orders the latest window no better than the fusion."""
    memory: ByteSize | None = Field(None, ge=1 << 20)
    """What the process may hold, such as 8GiB; by default three quarters of what there is. Work
    that would need more is refused before it starts."""

    @field_validator("window")
    @classmethod
    def _is_duration_or_share(cls, value: str | float) -> str | float:
        wrong = ValueError(f"must be a duration or a share between 0 and 1, got {value!r}")
        if not isinstance(value, str):
            if not 0 < value < 1:
                raise wrong
            return value
        try:
            parse_duration(value, "window")
        except ValueError:
            raise wrong from None
        return value


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


class StoreSection(Settings):
    """[store]: where events, items and decisions are kept once a server has run."""

    url: str = "sqlite"
    """`sqlite`, which is .tastemaker/store.db, or `sqlite:///FILE`."""


class ServerSection(Settings):
    """[server]."""

    host: str = "127.0.0.1"
    """The address to listen at."""
    port: int = Field(8765, ge=0, le=65_535)
    """The port; 0 takes a free one."""
    workers: int = Field(1, ge=1, le=64)
    """How many processes answer."""
    longest_wait: float = Field(250.0, gt=0, le=60_000)
    """Milliseconds a question may wait for its turn; where it would be more, it is refused."""


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
    retrievers: dict[str, ComponentSection]
    """The sources."""
    rankers: dict[str, ComponentSection] = Field(default_factory=dict)
    """Who scores candidates by their features."""
    rerankers: dict[str, ComponentSection] = Field(default_factory=dict)
    """Who makes lists."""
    training: Training = Training()
    """How rankers learn."""
    placements: dict[str, Placement]
    """The places that show a list; the first is the default."""
    split: SplitSection = SplitSection()
    """How to evaluate."""
    store: StoreSection = StoreSection()
    """Where what is served is kept."""
    server: ServerSection = ServerSection()
    """Where to listen."""


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

    def require_memory(self, needed: int, work: str) -> None:
        """Refuses to take up more data than fits into the budget.

        Raises:
            MemoryBudgetError: `needed` bytes do not.
        """
        cure = "raise [training] memory, or give a shorter stretch of the log"
        require_memory(needed, self.file.training.memory, work, cure)

    def require_memory_to_read(self, files: Mapping[str, Path], work: str = "reading") -> None:
        """Refuses to read files that together do not fit into the budget.

        Args:
            files: table → file.
            work: what the message calls it.

        Raises:
            MemoryBudgetError: they do not.
        """
        roles = {"items": self.file.items.roles, "users": self.file.users.roles}
        needed = sum(bytes_to_read(path, roles.get(table)) for table, path in files.items())
        names = ", ".join(path.name for path in files.values())
        self.require_memory(needed, f"{work} {names}")

    def read(self) -> Dataset:
        """Reads and indexes the data; rows that cannot be used go to the quarantine folder.

        Raises:
            DataError: a file cannot be used, or more than 1 % of its rows.
            MemoryBudgetError: reading would take more than the budget.
        """
        files = self.data_files()
        self.require_memory_to_read(files)
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
    _check_names(file, path.name)
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


def _check_names(file: ProjectFile, owner: str) -> None:
    """Every name used is declared; every number makes sense beside the others."""
    _require_some(file, owner)
    default = file.data.defaults.event_type
    if default is not None and default not in file.events:
        raise ProjectError(
            f"{owner}: [data.defaults] event_type '{default}' is no declared kind"
            f"{near_miss(default, file.events)}"
        )
    parts: dict[type[Component], dict[str, ComponentSection]] = {
        Retriever: file.retrievers,
        Ranker: file.rankers,
        Reranker: file.rerankers,
    }
    for part, sections in parts.items():
        for name, section in sections.items():
            if not _PLAIN.fullmatch(name) or name in RESERVED:
                raise ProjectError(
                    f"{owner}: [{part.__name__.lower()}s.{name}]: a name is made of letters, "
                    f"digits, _ and -, and is none of {', '.join(RESERVED)}"
                )
            section.build(name, part)
    _check_objectives(file, owner)
    for name, placement in file.placements.items():
        where = f"{owner}: [placements.{name}]"
        _check_placement(placement, file, where)
        try:
            SeenPolicy.of(file.events, placement.seen)
        except ValueError as problem:
            raise ProjectError(f"{where} {problem}") from None
    _check_own_rankers(file, owner)


def _check_placement(placement: Placement, file: ProjectFile, where: str) -> None:
    if not placement.retrievers:
        raise ProjectError(f"{where} names no retriever")
    named: list[tuple[str, str, dict[str, ComponentSection]]] = [
        *(("retriever", source, file.retrievers) for source in placement.retrievers),
        *(("reranker", name, file.rerankers) for name in placement.rerankers),
        *([("ranker", placement.ranker, file.rankers)] if placement.ranker else []),
    ]
    for kind, name, declared in named:
        if name not in declared:
            raise ProjectError(
                f"{where} names an unknown {kind} '{name}'{near_miss(name, declared)}"
            )
    for source, quota in placement.retrievers.items():
        if quota < 1:
            raise ProjectError(f"{where} {source} must be at least 1, got {quota}")
    if placement.ranker is None:
        if placement.value:
            raise ProjectError(f"{where} has a value but no ranker to predict its objectives")
        return
    ranker = file.rankers[placement.ranker].build(placement.ranker, Ranker)
    predicted = ranker.objectives or (WANTED,)
    for name in placement.value:
        if name not in predicted:
            raise ProjectError(
                f"{where} value: the ranker '{placement.ranker}' predicts no '{name}'"
                f"{near_miss(name, predicted)}"
            )


def _check_objectives(file: ProjectFile, owner: str) -> None:
    """Rankers predict declared kinds of event."""
    wanted = [name for name, kind in file.events.items() if kind.role == "positive"]
    for name, section in file.rankers.items():
        for objective in section.build(name, Ranker).objectives:
            if objective not in wanted:
                raise ProjectError(
                    f"{owner}: [rankers.{name}] objectives: '{objective}' is no kind of event "
                    f"that can be wanted{near_miss(objective, wanted)}"
                )


def _check_own_rankers(file: ProjectFile, owner: str) -> None:
    """Each ranker serves one placement alone."""
    served: dict[str, str] = {}
    for name, placement in file.placements.items():
        if placement.ranker is None:
            continue
        if placement.ranker in served:
            raise ProjectError(
                f"{owner}: [placements.{served[placement.ranker]}] and [placements.{name}] share "
                f"the ranker '{placement.ranker}'; declare one for each, since it learns over one "
                "placement's sources"
            )
        served[placement.ranker] = name


def _require_some(file: ProjectFile, owner: str) -> None:
    parts: dict[str, Any] = {
        "events": file.events,
        "retrievers": file.retrievers,
        "placements": file.placements,
    }
    for part, declared in parts.items():
        if not declared:
            raise ProjectError(f"{owner}: declare at least one [{part}.NAME]")
