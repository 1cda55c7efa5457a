"""What travels over HTTP: the shapes of questions and answers, as the API's document shows them."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tastemaker.data.requests import HISTORY_CAP
from tastemaker.errors import did_you_mean
from tastemaker.pipeline.pipeline import DEFAULT_N
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.store.incoming import LARGEST_CONTEXT, LAST_POSITION, LONGEST_ID, checked_id

MOST_ITEMS = 1_000
MOST_TOLD = HISTORY_CAP
"""Events of a told history: as many as count."""
MOST_EXCLUDED = 10_000
MOST_EVENTS = 10_000
LARGEST_BODY = 10_000_000
LARGEST_ITEM = 1_000_000
LARGEST_FORM = 65_536
"""Bytes of a form of the console."""
UNKNOWN_FIELD = "unknown_field"
KINDS_OF_TOLD = ("told id", "told event")
ID_TEXT = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_ID,
    "pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$",
    "description": f"At most {LONGEST_ID:,} bytes; not blank, and no float such as 1.0.",
}
ID: dict[str, Any] = {"anyOf": [ID_TEXT, {"type": "integer"}]}
_IDS = {"type": "string", "minLength": 1, "description": "An id, or ids separated by commas."}
Ids = Annotated[str, WithJsonSchema(_IDS)]
Id = Annotated[str, BeforeValidator(lambda value: checked_id(value, "id")), WithJsonSchema(ID)]


class Body(BaseModel):
    """A question; an unknown field is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_field(cls, given: Any) -> Any:
        """Stops at the first unknown field: there may be a million of them."""
        for name in given if isinstance(given, Mapping) else ():
            if name not in cls.model_fields:
                told = f"unknown field '{name[:80]}'{did_you_mean(name, cls.model_fields)}"
                raise PydanticCustomError(UNKNOWN_FIELD, "{told}", {"told": told, "name": name})
        return given


class EventBody(Body):
    """Something a stranger says they did."""

    item_id: Id
    """The item."""
    event_type: str | None = None
    """The kind; by default a like."""
    value: float | None = Field(None, strict=True)
    """A rating, where the kind is one."""
    timestamp: Annotated[Any, WithJsonSchema({"type": ["string", "number", "null"]})] = None
    """ISO 8601 or an epoch number; by default just now."""


Told = Annotated[
    Annotated[Id, Tag(KINDS_OF_TOLD[0])] | Annotated[EventBody, Tag(KINDS_OF_TOLD[1])],
    Discriminator(lambda told: KINDS_OF_TOLD[isinstance(told, Mapping | EventBody)]),
]


class RecommendationBody(Body):
    """Who wants recommendations, and how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "42", "n": 10},
                {"history": ["1", "3114"], "n": 5, "explain": True},
                {"user_id": "visitor-7", "exclude": ["260"], "placement": "home"},
            ]
        }
    )

    user_id: Id | None = None
    """A user, known or not; their stored events are their history."""
    history: list[Told] | None = Field(None, max_length=MOST_TOLD)
    """Items liked, or events, oldest first; instead of what is stored."""
    n: int = Field(DEFAULT_N, ge=1, le=MOST_ITEMS, strict=True)
    """How many items."""
    placement: str | None = None
    """Which list; by default the project's first."""
    exclude: Annotated[list[Id], FailFast()] = Field(default_factory=list, max_length=MOST_EXCLUDED)
    """Items that must not be shown."""
    explain: bool = Field(False, strict=True)
    """Whether the answer says what each stage did, and what spoke for each item."""
    timeout_ms: float | None = Field(None, gt=0, le=60_000, strict=True)
    """Milliseconds in which the answer is wanted; what does not fit is left out and told."""

    def asked(self) -> RecommendationRequest:
        """The question as the service takes it."""
        return RecommendationRequest(
            self.user_id,
            _plain(self.history),
            self.n,
            self.placement,
            self.exclude,
            self.explain,
            self.timeout_ms,
        )


class RankBody(Body):
    """Which items to rank, and for whom."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": "42", "items": ["1", "260", "3114"]}]}
    )

    items: list[Id] = Field(min_length=1, max_length=MOST_ITEMS)
    """The ids of the items."""
    user_id: Id | None = None
    """A user, known or not; their stored events are their history."""
    history: list[Told] | None = Field(None, max_length=MOST_TOLD)
    """Items liked, or events, oldest first; instead of what is stored."""
    placement: str | None = None
    """Whose ranker and sources to use; by default the project's first placement."""
    exclude_seen: bool = Field(False, strict=True)
    """Whether items are left out that a list would not show because of the user's events; by
    default they are ranked."""
    explain: bool = Field(False, strict=True)
    """Whether the answer says what each stage did, and what supports each item."""

    def asked(self) -> RecommendationRequest:
        """Whose request it is, as the service takes it."""
        return RecommendationRequest(
            self.user_id,
            _plain(self.history),
            len(self.items),
            self.placement,
            explain=self.explain,
        )


def _plain(history: list[Any] | None) -> list[Any] | None:
    """A history of ids and events as ids and mappings; None where there is none."""
    if history is None:
        return None
    return [
        entry.model_dump(exclude_none=True) if isinstance(entry, EventBody) else entry
        for entry in history
    ]


class Reason(BaseModel):
    """Why an item is there."""

    model_config = ConfigDict(extra="allow")

    kind: str
    text: str
    source: str | None = None
    item_id: str | None = None
    weight: float | None = None


class Item(BaseModel):
    """An item of a list."""

    item_id: str
    title: str | None = None
    score: float | None
    reasons: list[Reason] = Field(default_factory=list)


class LeftOut(BaseModel):
    """A stage that was left out."""

    stage: str
    reason: str


class Answer(BaseModel):
    """Recommendations."""

    recommendation_id: str
    model_version: str
    variant: str
    degraded: list[LeftOut]
    items: list[Item]
    trace: dict[str, Any] | None = None


class Ranked(BaseModel):
    """Given items, the most relevant first."""

    model_version: str
    degraded: list[LeftOut]
    items: list[Item]
    trace: dict[str, Any] | None = None


class Listed(BaseModel):
    """A list that is the same for everybody."""

    item_id: str | None = None
    """What the items are like, where it is asked."""
    source: str
    model_version: str
    items: list[Item]


class Rejected(BaseModel):
    """An event that was not stored."""

    index: int
    code: str
    """`invalid`: the event cannot be used; `store_full`, `store` or `internal`: it could not be
    written, as the part of the batch before it was; send it again when the cause is gone."""
    error: str


class Accepted(BaseModel):
    """The result for posted events, each counted once; the accepted ones are on disk."""

    accepted: int
    """How many are new."""
    duplicates: int
    """How many were stored before, by the same `event_id` with the same content."""
    rejected: list[Rejected]


class Put(BaseModel):
    """What became of an item; it can be recommended from now on."""

    item_id: str
    created: bool


class Problem(BaseModel):
    """What is wrong."""

    code: str
    message: str
    field: str | None = None


class ErrorBody(BaseModel):
    """Every answer that is no success."""

    error: Problem


EVENT_EXAMPLES = {
    "one": {"value": {"user_id": "visitor-7", "item_id": "260", "event_type": "click"}},
    "many": {
        "value": {
            "events": [
                {
                    "event_id": "c0ffee",
                    "user_id": "visitor-7",
                    "item_id": "260",
                    "event_type": "click",
                    "timestamp": "2026-11-22T12:00:00Z",
                    "recommendation_id": "0f5e6d",
                    "position": 3,
                },
                {"user_id": 42, "item_id": 1, "event_type": "rating", "value": 4.5},
            ]
        }
    },
}
_TEXT = {"type": ["string", "integer", "null"], "maxLength": LONGEST_ID}
EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["user_id", "item_id"],
    "additionalProperties": False,
    "properties": {
        "event_id": {
            **_TEXT,
            "minLength": 1,
            "description": "Identifies the event: sent again with the same content it is a "
            "duplicate, with other content it is rejected. By default a new one.",
        },
        "user_id": ID,
        "item_id": ID,
        "event_type": {"type": ["string", "integer", "null"], "description": "A declared kind."},
        "value": {
            "type": ["number", "boolean", "null"],
            "description": "A rating or an amount; true is 1, false is 0.",
        },
        "timestamp": {
            "type": ["string", "number", "null"],
            "description": "ISO 8601 or an epoch number; by default now.",
        },
        "session": _TEXT,
        "recommendation_id": _TEXT,
        "position": {"type": ["integer", "null"], "minimum": 1, "maximum": LAST_POSITION},
        "context": {
            "type": ["object", "null"],
            "description": f"At most {LARGEST_CONTEXT:,} letters as JSON.",
        },
    },
}
_REJECTED_ALONE = {"description": "Whatever else stands in the list is rejected by its index."}
EVENTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {
        "events": {
            "type": "array",
            "items": {"anyOf": [EVENT_SCHEMA, _REJECTED_ALONE]},
            "maxItems": MOST_EVENTS,
        }
    },
}
EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [EVENT_SCHEMA, EVENTS_SCHEMA]},
                "examples": EVENT_EXAMPLES,
            }
        },
    }
}
ITEM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": True,
                    "description": "Column → value, as the item table has them.",
                }
            }
        },
    }
}
