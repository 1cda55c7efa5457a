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
    """The event type of rows that have none."""


class MaxBadRows(Settings):
    """[data.max_bad_rows]: the share of rows that may be unusable before a run stops."""

    events: float = Field(MAX_BAD_ROWS, ge=0, le=1)
    """Of each event file."""
    items: float = Field(MAX_BAD_ROWS, ge=0, le=1)
    """Of the item table."""
    users: float = Field(MAX_BAD_ROWS, ge=0, le=1)
    """Of the user table."""


class TableFile(Settings):
    """One file of a table: a path, or a table with what is special about the file."""

    file: str
    """CSV, JSON lines or Parquet, also gzipped; relative to the project file."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column = theirs, for this file; the others as in [data.columns]."""
    separator: str | None = Field(None, min_length=1, max_length=8)
    """The delimiter of this file; by default as in [data]."""
    header: tuple[str, ...] = ()
    """The names of the columns, for a text file whose first line is data."""
    encoding: str | None = None
    """How this file encodes its characters; by default as in [data]."""
    time_format: str | None = Field(None, min_length=2)
    """How times of this file are written; by default as in [data]."""


class EventFile(TableFile):
    """One file of events."""

    event_type: str | None = None
    """The event type of rows that have none; by default as in [data.defaults]."""


def _files(value: Any) -> Any:
    """A path alone, or one table, as a list of tables."""
    given = [value] if isinstance(value, str | dict) else value
    if not isinstance(given, list | tuple):
        return value
    return [{"file": one} if isinstance(one, str) else one for one in given]


def _file(value: Any) -> Any:
    """A path alone as a table."""
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
    """Times are moments, or only an order, or nothing."""
    time_unit: TimeUnit = "auto"
    """Epoch s, ms, us, ns; iso; or each time by its own form."""
    time_format: str | None = Field(None, min_length=2)
    """How times are written that are neither ISO 8601 nor numbers, such as "%d/%m/%Y %H:%M"."""
    decimal: Decimal = "auto"
    """The decimal mark of numbers written as text; auto: each number by its own form."""
    separator: str | None = Field(None, min_length=1, max_length=8)
    """The delimiter of text files; by default a comma, or a tab in a .tsv file."""
    encoding: str = "utf-8"
    """How text files encode their characters, such as cp1252."""
    columns: Columns = Columns()
    """What our columns are called in the files."""
    defaults: Defaults = Defaults()
    """What rows that leave something out mean."""
    max_bad_rows: MaxBadRows = MaxBadRows()
    """The share of rows that may be unusable."""
    min_item_users: int | None = Field(None, ge=1)
    """Distinct users that an item needs which no item table and no PUT describes; others are left
    out. By default 2 where the item table describes most of what is in the files, else 1. More
    where a source would not fit into the memory otherwise, unless it is 1."""
    exclude: Exclude = Exclude()
    """Whose events are left out."""


class Roles(Settings):
    """[items] and [users]."""

    roles: dict[str, ColumnRole] = Field(default_factory=dict)
    """Columns to keep, and what they hold."""


class ComponentSection(Settings):
    """[retrievers.NAME], [rankers.NAME], [rerankers.NAME]: `type` names the component."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    type: str
    """The registered component; the other keys are its settings."""

    def build(self, name: str, part: builtins.type[ComponentT]) -> ComponentT:
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
            component = component_class(self.type, part)
        except ProjectError as problem:
            raise ProjectError(f"{owner}: {problem}") from None
        component.config_class().checked(settings, owner=owner, error=ProjectError)
        return component(**settings)


class Budget(Settings):
    """[placements.NAME.budget]: milliseconds; work that does not fit is shortened or left out."""

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

    retrievers: dict[str, int] | tuple[str, ...]
    """The sources: a list of names, and how many candidates each gives is learned from the past;
    or source → how many."""
    candidates: int = Field(500, ge=1, le=30_000)
    """How many candidates all sources give together, where a list names them."""
    weights: dict[str, float] | None = None
    """Source → its weight in the order before ranking. By default learned from the past for a list
    of sources, and in proportion to how many candidates each gives where that is stated."""
    ranker: str | None = None
    """The ranker that orders the candidates; by default the fusion of the sources."""
    objective_weights: dict[str, float] = Field(default_factory=dict)
    """What each objective of the ranker is worth; by default its first alone counts."""
    rerankers: tuple[str, ...] = ()
    """The rerankers that turn the order into a list, one after the other."""
    seen: dict[str, str] = Field(default_factory=dict)
    """Kind → exclude, allow, or exclude for 30d; a kind not named: exclude."""
    budget: Budget = Budget()
    """How many milliseconds the stages may take when an answer is wanted by a deadline."""

    @property
    def sources(self) -> dict[str, int | None]:
        """Source → how many candidates it gives; None where that is learned."""
        if isinstance(self.retrievers, dict):
            return dict(self.retrievers)
        return dict.fromkeys(self.retrievers)

    @property
    def learns_fusion(self) -> bool:
        """Whether quotas or weights are left to be learned."""
        return len(self.retrievers) > 1 and not isinstance(self.retrievers, dict)


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
    """At most so many candidates that were not relevant are kept of each request, at random; each
    then counts for those left out."""
    require_improvement: bool = True
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
    """[split]: how the data is divided for evaluation."""

    type: Literal["by_time", "holdout"] = "by_time"
    """At a moment, which needs times; or a random share of each user's items, which does not."""
    test: str | float = 0.2
    """by_time: the last window, a duration or a share of the events. holdout: a share of each
    user's liked items."""
    validation: str | float | None = None
    """The window before it, or the share for tuning; by default as long as test."""
    gap: str | None = None
    """by_time: a duration left out before each window."""
    horizon: str | None = None
    """by_time: how far ahead the truth reaches."""
    requests: RequestMoments = "sampled"
    """by_time: at which moments of the window requests are made."""
    min_user: int = Field(0, ge=0)
    """holdout: only users who liked at least so many items."""
    min_item: int = Field(0, ge=0)
    """holdout: only items that at least so many users liked."""
    seed: int = Field(0, ge=0)
    """holdout: of the random draw."""

    def of_other_type(self) -> dict[str, str]:
        """The settings that this type of split does not have → what is wrong."""
        owner = {**dict.fromkeys(_OF_TIME, "by_time"), **dict.fromkeys(_OF_HOLDOUT, "holdout")}
        return {
            name: f"'{name}' belongs to type \"{owner[name]}\" and this split is "
            f'"{self.type}": remove it, or write type = "{owner[name]}"'
            for name in type(self).model_fields
            if name in self.model_fields_set and owner.get(name, self.type) != self.type
        }


class StoreSection(Settings):
    """[store]: where events, items and decisions are kept once a server has run."""

    url: str = "sqlite"
    """`sqlite`, which is .tastemaker/store.db, or `sqlite:///FILE`."""
    keep_decisions: str = "30d"
    """How long a decision is kept: a duration."""
    max_decisions: ByteSize = Field(ByteSize(2 << 30), ge=0)
    """What decisions may take up together, such as 2GiB; the oldest go first."""
    full_decisions: float = Field(0.01, ge=0, le=1)
    """The share of decisions that are kept with all candidates; the others keep what was shown."""
    reserve: ByteSize = Field(ByteSize(512 << 20), ge=0)
    """Free disk that decisions leave to events, at most a tenth of the disk: with less, answers are
    given but not logged. With less than a quarter of it, events and items are refused with status
    507, so that training and removing still have room."""
    max_size: ByteSize = Field(ByteSize(64 << 30), ge=1 << 20)
    """What the store may take up; beyond it events and items are refused with status 507."""
    max_events: int = Field(100_000_000, ge=1)
    """How many events taken in over HTTP the store holds at most; more are refused."""
    max_items: int = Field(5_000_000, ge=1)
    """How many items the store describes at most, and how many further item ids only events name;
    new ones that come over HTTP are refused beyond that."""

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
    """The address to listen at."""
    port: int = Field(8765, ge=0, le=65_535)
    """The port; 0 takes a free one."""
    workers: int = Field(1, ge=1, le=64)
    """How many processes answer."""
    max_queue_wait_ms: float = Field(250.0, gt=0, le=60_000)
    """Milliseconds a question may wait for its turn; where it would be more, it is refused."""
    connections: int = Field(4_096, ge=1)
    """How many connections each process keeps open; fewer where the system allows fewer open
    files. Beyond that the one that has been idle longest is closed."""
    connections_per_address: int = Field(1_024, ge=1)
    """How many of them may be of one address; never more than half of them."""
    longest_title: int = Field(1_000, ge=1, le=100_000)
    """Characters that a title or a label of an item may have that is put over HTTP. Answers show
    the first 1,000 of a title, reasons the first 200."""
    most_labels: int = Field(1_000, ge=1, le=100_000)
    """How many labels an item may have, over all its columns, that is put over HTTP."""
    history_events: int = Field(2_000, ge=1, le=1_000_000)
    """How many of a user's newest events an answer reads; exposures do not count. A history has at
    most 1,000 of them. What a user has seen is known from all events, however many."""
    now: Now = "auto"
    """The moment of a request, here and for `recommend`. auto: just after the newest event known;
    once events are served, the clock, at most a day after the newest of them. log: just after the
    newest event that the version was trained on. clock: always the clock of the machine."""


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
    """The steps that turn an order into a list."""
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
