"""The sections of `tastemaker.toml` and their settings; an unknown key anywhere is an error."""

import builtins
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ByteSize, ConfigDict, Field, field_validator

from tastemaker.component import Component
from tastemaker.config import Settings
from tastemaker.data.schema import (
    MAX_BAD_ROWS,
    Clock,
    ColumnRole,
    Decimal,
    EventKind,
    Exclude,
    TimeUnit,
)
from tastemaker.data.times import parse_duration
from tastemaker.errors import ProjectError
from tastemaker.project.registry import component_class
from tastemaker.split.by_time import RequestMoments

ComponentT = TypeVar("ComponentT", bound=Component)

_OF_TIME = ("gap", "horizon", "requests")
_OF_HOLDOUT = ("min_user", "min_item", "seed")


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
    """The event type of rows without one."""


class MaxBadRows(Settings):
    """[data.max_bad_rows]: the share of rows that may be unusable before a run stops."""

    events: float = Field(MAX_BAD_ROWS, ge=0, le=1)
    """Of each event file."""
    items: float = Field(MAX_BAD_ROWS, ge=0, le=1)
    """Of the item table."""
    users: float = Field(MAX_BAD_ROWS, ge=0, le=1)
    """Of the user table."""


class TableFile(Settings):
    """One file of a table: a path, or a TOML table with settings for this file."""

    file: str
    """CSV, JSON lines or Parquet, also gzipped; relative to the project file."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column = theirs, for this file; other columns follow [data.columns]."""
    separator: str | None = Field(None, min_length=1, max_length=8)
    """The delimiter of this file; by default the one in [data]."""
    header: tuple[str, ...] = ()
    """The column names, for a text file without a header line."""
    encoding: str | None = None
    """The character encoding of this file; by default the one in [data]."""
    time_format: str | None = Field(None, min_length=2)
    """The format of times in this file; by default the one in [data]."""


class EventFile(TableFile):
    """One file of events."""

    event_type: str | None = None
    """The event type of rows without one; by default the one in [data.defaults]."""


def _files(value: Any) -> Any:
    """A single path or table as a list of tables."""
    given = [value] if isinstance(value, str | dict) else value
    if not isinstance(given, list | tuple):
        return value
    return [{"file": one} if isinstance(one, str) else one for one in given]


def _file(value: Any) -> Any:
    """A single path as a table."""
    return {"file": value} if isinstance(value, str) else value


class Data(Settings):
    """[data]: where the tables are and how to read them."""

    events: Annotated[tuple[EventFile, ...], BeforeValidator(_files)] = Field(min_length=1)
    """The event log: a file, or several as [[data.events]]."""
    items: Annotated[TableFile | None, BeforeValidator(_file)] = None
    """The item table."""
    users: Annotated[TableFile | None, BeforeValidator(_file)] = None
    """The user table."""
    clock: Clock = "absolute"
    """What times mean: points in time, only an order, or nothing."""
    time_unit: TimeUnit = "auto"
    """Epoch s, ms, us or ns; iso; or auto, which detects the form of each time."""
    time_format: str | None = Field(None, min_length=2)
    """The format of times that are neither ISO 8601 nor numbers, such as "%d/%m/%Y %H:%M"."""
    decimal: Decimal = "auto"
    """The decimal mark of numbers written as text; auto detects it for each number."""
    separator: str | None = Field(None, min_length=1, max_length=8)
    """The delimiter of text files; by default a comma, or a tab in a .tsv file."""
    encoding: str = "utf-8"
    """The character encoding of text files, such as cp1252."""
    columns: Columns = Columns()
    """The names of our columns in the files."""
    defaults: Defaults = Defaults()
    """Values for rows that omit them."""
    max_bad_rows: MaxBadRows = MaxBadRows()
    """The share of rows that may be unusable."""
    min_item_users: int | None = Field(None, ge=1)
    """Distinct users required for an item that neither the item table nor a PUT describes; items
    with fewer are left out. The default is 2 if the item table describes most items in the files,
    otherwise 1. It is raised if a source would not fit into memory, unless it is set to 1."""
    exclude: Exclude = Exclude()
    """Which users' events are left out."""


class Roles(Settings):
    """[items] and [users]."""

    roles: dict[str, ColumnRole] = Field(default_factory=dict)
    """Columns to keep, and the type of their content."""


class ComponentSection(Settings):
    """[retrievers.NAME], [rankers.NAME], [rerankers.NAME]: `type` names the component."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    type: str
    """The registered component; the other keys are its settings."""

    def build(self, name: str, part: builtins.type[ComponentT]) -> ComponentT:
        """Returns the component with these settings.

        Args:
            name: the name of the component in the project.
            part: `Retriever`, `Ranker` or `Reranker`.

        Raises:
            ProjectError: there is no such component, or a setting is unknown or invalid.
        """
        settings = self.model_extra or {}
        owner = f"[{part.__name__.lower()}s.{name}]"
        try:
            component = component_class(self.type, part)
        except ProjectError as problem:
            raise ProjectError(f"{owner}: {problem}") from None
        component.config_class().checked(settings, owner=owner, error=ProjectError)
        return component(**settings)


class Budget(Settings):
    """[placements.NAME.budget]: time limits in ms; work that exceeds them is cut or skipped."""

    total: float | None = Field(None, gt=0)
    """For the whole request."""
    retrieve: float | None = Field(None, gt=0)
    """For all sources together."""
    rank: float | None = Field(None, gt=0)
    """For the features and the ranker."""
    rerank: float | None = Field(None, gt=0)
    """For all rerankers together."""


class Placement(Settings):
    """[placements.NAME]: the recommendation list of one place on the page."""

    retrievers: dict[str, int] | tuple[str, ...]
    """The sources: a list of names, whose quotas are learned from past events; or a table of
    source → quota (number of candidates)."""
    candidates: int = Field(500, ge=1, le=30_000)
    """The number of candidates from all sources together, if `retrievers` is a list."""
    weights: dict[str, float] | None = None
    """Source → its weight in the order before ranking. By default, weights are learned from past
    events for a list of sources, and proportional to the quotas for a table of quotas."""
    ranker: str | None = None
    """The ranker that orders the candidates; by default the fusion of the sources."""
    objective_weights: dict[str, float] = Field(default_factory=dict)
    """The weight of each objective of the ranker; by default only the first one counts."""
    rerankers: tuple[str, ...] = ()
    """The rerankers, applied in this order."""
    seen: dict[str, str] = Field(default_factory=dict)
    """Event type → exclude, allow, or exclude for 30d; by default exclude."""
    budget: Budget = Budget()
    """Time limits of the stages, in milliseconds."""

    @property
    def sources(self) -> dict[str, int | None]:
        """Source → its quota of candidates; None if the quota is learned."""
        if isinstance(self.retrievers, dict):
            return dict(self.retrievers)
        return dict.fromkeys(self.retrievers)

    @property
    def learns_fusion(self) -> bool:
        """Whether quotas or weights have to be learned."""
        return len(self.retrievers) > 1 and not isinstance(self.retrievers, dict)


class Training(Settings):
    """[training]: how rankers are trained, on point-in-time training data."""

    slices: int = Field(3, ge=2, le=50)
    """Windows at the end of the data. Each evaluates a ranker trained on the others."""
    window: str | float = 0.05
    """The length of each window: a duration, or a share of the events."""
    requests: int = Field(10_000, ge=1)
    """Approximate number of past requests to train on. They come from a fifth as many users, who
    are sampled evenly from the windows."""
    negatives: int = Field(50, ge=1)
    """Maximum number of negative candidates per request. They are sampled at random and weighted to
    represent the ones left out."""
    require_improvement: bool = True
    """Whether to leave out a ranker that orders the windows no better than the fusion and the best
    single source."""
    memory: ByteSize | None = Field(None, ge=1 << 20)
    """Memory limit of the process, such as 8GiB; by default three quarters of the available memory.
    Work that needs more is refused before it starts."""

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
    """[split]: how the data is divided for evaluation."""

    type: Literal["by_time", "holdout"] = "by_time"
    """by_time splits at a point in time. holdout holds out a random share of each user's items."""
    test: str | float = 0.2
    """by_time: the last window, a duration or a share of the events. holdout: a share of each
    user's liked items."""
    validation: str | float | None = None
    """The window before test, or the share for tuning; by default the same length as test."""
    gap: str | None = None
    """by_time: a duration left out before each window."""
    horizon: str | None = None
    """by_time: how far ahead of a request events count as relevant."""
    requests: RequestMoments = "sampled"
    """by_time: the points in time within the window at which requests are made."""
    min_user: int = Field(0, ge=0)
    """holdout: minimum number of liked items per user."""
    min_item: int = Field(0, ge=0)
    """holdout: minimum number of users who liked an item."""
    seed: int = Field(0, ge=0)
    """holdout: the random seed."""

    def of_other_type(self) -> dict[str, str]:
        """Settings that belong to the other type of split → error message."""
        owner = {**dict.fromkeys(_OF_TIME, "by_time"), **dict.fromkeys(_OF_HOLDOUT, "holdout")}
        return {
            name: f"'{name}' belongs to type \"{owner[name]}\", but this split has type "
            f'"{self.type}": remove it, or write type = "{owner[name]}"'
            for name in type(self).model_fields
            if name in self.model_fields_set and owner.get(name, self.type) != self.type
        }


class StoreSection(Settings):
    """[store]: where a server stores events, items and decisions."""

    url: str = "sqlite"
    """`sqlite`, which is .tastemaker/store.db, or `sqlite:///FILE`."""
    keep_decisions: str = "30d"
    """How long decisions are kept: a duration."""
    max_decisions: ByteSize = Field(ByteSize(2 << 30), ge=0)
    """Maximum size of all decisions, such as 2GiB; the oldest are removed first."""
    full_decisions: float = Field(0.01, ge=0, le=1)
    """Share of decisions stored with all candidates; the others store only the items shown."""
    reserve: ByteSize = Field(ByteSize(512 << 20), ge=0)
    """Free disk space reserved for events, at most a tenth of the disk. With less free space,
    decisions are no longer logged. With less than a quarter of it, events and items are refused
    with status 507, which leaves space for training and removals."""
    max_size: ByteSize = Field(ByteSize(64 << 30), ge=1 << 20)
    """Maximum size of the store; beyond it events and items are refused with status 507."""
    max_events: int = Field(100_000_000, ge=1)
    """Maximum number of events received over HTTP; further events are refused."""
    max_items: int = Field(5_000_000, ge=1)
    """Maximum number of described items, and of further item ids that occur only in events. Beyond
    it, new items sent over HTTP are refused."""

    @field_validator("keep_decisions")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        try:
            parse_duration(value, "keep_decisions")
        except ValueError:
            raise ValueError(f"must be a duration such as 30d, got {value!r}") from None
        return value


Now = Literal["auto", "log", "clock"]


class ServerSection(Settings):
    """[server]."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(8765, ge=0, le=65_535)
    """The port; 0 selects a free one."""
    workers: int = Field(1, ge=1, le=64)
    """Number of worker processes."""
    max_queue_wait_ms: float = Field(250.0, gt=0, le=60_000)
    """Maximum time in ms that a request may wait in the queue; beyond it, it is refused."""
    connections: int = Field(4_096, ge=1)
    """Maximum number of open connections per process; fewer if the system limits open files.
    Beyond it, the connection that has been idle longest is closed."""
    connections_per_address: int = Field(1_024, ge=1)
    """Maximum number of connections from one address; at most half of all connections."""
    longest_title: int = Field(1_000, ge=1, le=100_000)
    """Maximum number of characters in a title or label of an item sent over HTTP. Responses show
    the first 1,000 characters of a title, reasons the first 200."""
    most_labels: int = Field(1_000, ge=1, le=100_000)
    """Maximum number of labels, over all columns, of an item sent over HTTP."""
    history_events: int = Field(2_000, ge=1, le=1_000_000)
    """How many of a user's newest events a request reads, not counting exposures. A history has at
    most 1,000 of them. Seen items are determined from all events of the user."""
    now: Now = "auto"
    """The time of a request, here and for `recommend`. auto: just after the newest known event;
    once events arrive over HTTP, the clock, but at most a day after the newest of them. log: just
    after the newest event that the version was trained on. clock: always the system clock."""


class ProjectFile(Settings):
    """The whole file; an unknown key anywhere is an error."""

    data: Data
    """Where the tables are."""
    events: dict[str, EventKind] = Field(max_length=127)
    """The event types."""
    items: Roles = Roles()
    """The item table's columns."""
    users: Roles = Roles()
    """The user table's columns."""
    retrievers: dict[str, ComponentSection]
    """The sources."""
    rankers: dict[str, ComponentSection] = Field(default_factory=dict)
    """The models that score candidates by their features."""
    rerankers: dict[str, ComponentSection] = Field(default_factory=dict)
    """The steps that adjust the ranked list."""
    training: Training = Training()
    """How rankers are trained."""
    placements: dict[str, Placement]
    """The places that show a list; the first is the default."""
    split: SplitSection = SplitSection()
    """How to evaluate."""
    store: StoreSection = StoreSection()
    """Where a server stores its data."""
    server: ServerSection = ServerSection()
    """Where to listen."""
