"""The declared meaning of a data set's columns and event types.

`Schema` represents `[data]`, `[events.*]` and `[items.roles]` of a project file.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from tastemaker.config import Settings
from tastemaker.errors import did_you_mean

Clock = Literal["absolute", "ordinal", "none"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns", "iso"]
Decimal = Literal["auto", ".", ","]
Role = Literal["positive", "negative", "neutral", "exposure"]
Strength = Literal["log", "linear"]

MAX_BAD_ROWS = 0.01
EVENT_COLUMNS = ("user_id", "item_id", "event_type", "value", "timestamp", "event_id")


class EventKind(Settings):
    """The meaning of one event type for the user's preferences."""

    role: Role = "positive"
    """Liked, disliked, neither (such as an unlike), or only shown; signs are never mixed."""
    weight: float = Field(1.0, gt=0)
    """How much one event of this type counts."""
    positive_threshold: float | None = None
    """For ratings: liked at this value or above."""
    negative_threshold: float | None = None
    """For ratings: disliked at this value or below; neutral in between."""
    unrated: tuple[float, ...] = ()
    """For ratings: the codes that mean "not rated", which are neutral."""
    strength: Strength | None = None
    """For amounts (a count, hours, a quantity): the weight is multiplied by log2(1 + amount) or by
    the amount. An event of amount 0 is neutral. A negative amount is a return: it is neutral, and
    once the amounts of the user, item and type add up to 0 or less, the earlier events no longer
    count. A partial return does not change the earlier events."""
    replaces: tuple[str, ...] = ()
    """Event types whose earlier events of the same user and item no longer count after this one. A
    rating always replaces earlier ratings. Two types that replace each other, such as thumbs up and
    thumbs down, must both declare it."""
    hide_item: bool = False
    """Never show the item to this user again."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if self.negative_threshold is not None and self.positive_threshold is None:
            raise ValueError("'negative_threshold' requires 'positive_threshold'")
        if self.unrated and self.positive_threshold is None:
            raise ValueError("'unrated' requires 'positive_threshold'")
        high, low = self.positive_threshold, self.negative_threshold
        if high is not None and low is not None and low >= high:
            raise ValueError(
                f"'negative_threshold' ({low}) must be below 'positive_threshold' ({high})"
            )
        if high is not None and self.role != "positive":
            raise ValueError(
                f"'positive_threshold' requires a positive event type, this one is {self.role}"
            )
        if self.strength is not None and high is not None:
            raise ValueError(
                "a value is either a rating ('positive_threshold') or an amount ('strength')"
            )
        if self.strength is not None and self.role not in ("positive", "negative"):
            raise ValueError(f"'strength' has no effect on an event type that is {self.role}")
        return self

    @property
    def uses_value(self) -> bool:
        """Whether the value of an event changes its meaning."""
        return self.positive_threshold is not None or self.strength is not None

    def replaced(self, name: str) -> tuple[str, ...]:
        """The event types that this type replaces, including its own name for ratings."""
        own = (name,) if self.positive_threshold is not None and name not in self.replaces else ()
        return (*self.replaces, *own)


class ColumnRole(Settings):
    """The content of a column of the item or user table."""

    role: Literal["text", "tags", "category", "number", "time", "vector"]
    """Free text, several labels, one label, a number, a moment, or a vector of numbers."""
    separator: str | None = Field(None, min_length=1)
    """The separator of the tags in one cell; with a comma, cells such as `["a", "b"]` are lists.
    For vectors written as text, the separator of the numbers; by default commas or blanks."""
    format: str | None = Field(None, min_length=2)
    """A `strptime` pattern for times that are neither ISO 8601 nor numbers."""

    @model_validator(mode="after")
    def _separator_for_tags(self) -> Self:
        if self.role == "tags" and self.separator is None:
            raise ValueError("role 'tags' requires a 'separator'")
        if self.role not in ("tags", "vector") and self.separator is not None:
            raise ValueError("'separator' requires role 'tags' or 'vector'")
        if self.format is not None and self.role != "time":
            raise ValueError("'format' requires role 'time'")
        return self


class Exclude(Settings):
    """[data.exclude]: users and items whose events are not read, such as bots."""

    users: tuple[str, ...] = ()
    """Ids of users whose events are left out."""
    items: tuple[str, ...] = ()
    """Ids of items whose events are left out."""
    max_events_per_day: int | None = Field(None, ge=1)
    """Users with more events than this on any day (UTC) are left out with all their events."""


class Schema(Settings):
    """The meaning of three tables: events, items, users.

    `event_columns`, `item_columns` and `user_columns` map Tastemaker's column names to those of the
    source.
    """

    event_columns: dict[str, str] = Field(default_factory=dict)
    """Tastemaker's column → the source's column; a column that is not listed keeps its name."""
    kinds: dict[str, EventKind] = Field(default_factory=dict, max_length=127)
    """The kinds of event; rows of any other kind are quarantined."""
    default_kind: str | None = None
    """The event type of rows that have none."""
    clock: Clock = "absolute"
    """Whether times are moments (absolute), only an order of rows (ordinal), or unknown (none)."""
    time_unit: TimeUnit = "auto"
    """Epoch seconds, milliseconds, microseconds, nanoseconds; ISO 8601; or detected per value."""
    time_format: str | None = Field(None, min_length=2)
    """A `strptime` pattern for times that are neither ISO 8601 nor numbers."""
    decimal: Decimal = "auto"
    """The decimal mark of numbers written as text; auto: detected per value."""
    separator: str | None = Field(None, min_length=1, max_length=8)
    """The delimiter of text files; by default a comma, or a tab in a .tsv file."""
    header: tuple[str, ...] = ()
    """The column names of a text file whose first line is data."""
    encoding: str = "utf-8"
    """The character encoding of a text file."""
    max_bad_rows: float = Field(MAX_BAD_ROWS, ge=0, le=1)
    """The maximum share of invalid rows; above it, reading fails."""
    item_columns: dict[str, str] = Field(default_factory=dict)
    """Tastemaker's column → the item table's column (only `item_id` can be renamed)."""
    item_roles: dict[str, ColumnRole] = Field(default_factory=dict)
    """Columns of the item table to keep, and their content."""
    user_columns: dict[str, str] = Field(default_factory=dict)
    """Tastemaker's column → the user table's column (only `user_id` can be renamed)."""
    user_roles: dict[str, ColumnRole] = Field(default_factory=dict)
    """Columns of the user table to keep, and their content."""
    min_item_users: int | None = Field(1, ge=1)
    """Distinct users that an item without a row in the item table needs; None: see `leave_out`."""
    exclude: Exclude = Exclude()
    """Users and items whose events are left out."""

    @model_validator(mode="after")
    def _default_kind_is_declared(self) -> Self:
        if self.default_kind is not None and self.default_kind not in self.kinds:
            hint = did_you_mean(self.default_kind, self.kinds)
            raise ValueError(f"the default kind '{self.default_kind}' is not declared{hint}")
        return self

    @model_validator(mode="after")
    def _replaced_kinds_are_declared(self) -> Self:
        for name, kind in self.kinds.items():
            for other in kind.replaces:
                if other not in self.kinds:
                    hint = did_you_mean(other, self.kinds)
                    raise ValueError(f"'{name}' replaces '{other}', which is not declared{hint}")
        return self

    @property
    def kind_names(self) -> tuple[str, ...]:
        """The names of the kinds in order; an event's kind is a position in it."""
        return tuple(self.kinds)
