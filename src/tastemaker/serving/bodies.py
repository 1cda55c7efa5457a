"""The request and response bodies of the HTTP API, as shown in its OpenAPI document."""

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
MOST_HISTORY = HISTORY_CAP
"""Most entries of a history in a request. More would not be used."""
MOST_EXCLUDED = 10_000
MOST_EVENTS = 10_000
LARGEST_BODY = 10_000_000
LARGEST_ITEM = 1_000_000
LARGEST_FORM = 65_536
"""Most bytes of a console form."""
UNKNOWN_FIELD = "unknown_field"
HISTORY_ENTRY_KINDS = ("history id", "history event")
ID_TEXT = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_ID,
    "pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$",
    "description": f"At most {LONGEST_ID:,} bytes. It must not be blank or a float such as 1.0.",
}
ID: dict[str, Any] = {"anyOf": [ID_TEXT, {"type": "integer"}]}
_IDS = {"type": "string", "minLength": 1, "description": "An id, or ids separated by commas."}
Ids = Annotated[str, WithJsonSchema(_IDS)]
Id = Annotated[str, BeforeValidator(lambda value: checked_id(value, "id")), WithJsonSchema(ID)]


class Body(BaseModel):
    """A request body. Unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_field(cls, value: Any) -> Any:
        """Stops at the first unknown field: there may be a million of them."""
        for name in value if isinstance(value, Mapping) else ():
            if name not in cls.model_fields:
                message = f"unknown field '{name[:80]}'{did_you_mean(name, cls.model_fields)}"
                raise PydanticCustomError(
                    UNKNOWN_FIELD, "{message}", {"message": message, "name": name}
                )
        return value


class EventBody(Body):
    """An event in the history of a request."""

    item_id: Id
    """The item."""
    event_type: str | None = None
    """The event type; by default a like."""
    value: float | None = Field(None, strict=True)
    """The rating, if the event type has one."""
    timestamp: Annotated[Any, WithJsonSchema({"type": ["string", "number", "null"]})] = None
    """ISO 8601 or an epoch number; by default now."""


HistoryEntry = Annotated[
    Annotated[Id, Tag(HISTORY_ENTRY_KINDS[0])] | Annotated[EventBody, Tag(HISTORY_ENTRY_KINDS[1])],
    Discriminator(lambda entry: HISTORY_ENTRY_KINDS[isinstance(entry, Mapping | EventBody)]),
]


class RecommendationBody(Body):
    """A request for recommendations."""

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
    history: list[HistoryEntry] | None = Field(None, max_length=MOST_HISTORY)
    """Items liked, or events, oldest first; instead of what is stored."""
    n: int = Field(DEFAULT_N, ge=1, le=MOST_ITEMS, strict=True)
    """How many items."""
    placement: str | None = None
    """The placement; by default the project's first."""
    exclude: Annotated[list[Id], FailFast()] = Field(default_factory=list, max_length=MOST_EXCLUDED)
    """Items to exclude."""
    explain: bool = Field(False, strict=True)
    """Whether the response includes the trace of each stage and the evidence for each item."""
    timeout_ms: float | None = Field(None, gt=0, le=60_000, strict=True)
    """The time limit in milliseconds. Skipped stages are listed in `degraded`."""

    def to_request(self) -> RecommendationRequest:
        """The body as a `RecommendationRequest`."""
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
    """A request to rank given items for a user or a history."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user_id": "42", "items": ["1", "260", "3114"]}]}
    )

    items: list[Id] = Field(min_length=1, max_length=MOST_ITEMS)
    """The ids of the items."""
    user_id: Id | None = None
    """A user, known or not; their stored events are their history."""
    history: list[HistoryEntry] | None = Field(None, max_length=MOST_HISTORY)
    """Items liked, or events, oldest first; instead of what is stored."""
    placement: str | None = None
    """The placement whose ranker and sources are used; by default the project's first."""
    exclude_seen: bool = Field(False, strict=True)
    """Whether to leave out items that are hidden because of the user's events; by default they are
    ranked."""
    explain: bool = Field(False, strict=True)
    """Whether the response includes the trace of each stage and the evidence for each item."""

    def to_request(self) -> RecommendationRequest:
        """The body as a `RecommendationRequest`, without the items."""
        return RecommendationRequest(
            self.user_id,
            _plain(self.history),
            len(self.items),
            self.placement,
            explain=self.explain,
        )


def _plain(history: list[Any] | None) -> list[Any] | None:
    """A history of ids and events as ids and mappings; None if there is no history."""
    if history is None:
        return None
    return [
        entry.model_dump(exclude_none=True) if isinstance(entry, EventBody) else entry
        for entry in history
    ]


class Reason(BaseModel):
    """Why an item is recommended."""

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


class SkippedStage(BaseModel):
    """A stage that was skipped."""

    stage: str
    reason: str


class RecommendationResponse(BaseModel):
    """Recommendations."""

    recommendation_id: str
    model_version: str
    variant: str
    degraded: list[SkippedStage]
    items: list[Item]
    trace: dict[str, Any] | None = None


class RankResponse(BaseModel):
    """The given items, most relevant first."""

    model_version: str
    degraded: list[SkippedStage]
    items: list[Item]
    trace: dict[str, Any] | None = None


class ItemListResponse(BaseModel):
    """A list that is the same for all users."""

    item_id: str | None = None
    """The item that the listed items are similar to, if the request names one."""
    source: str
    model_version: str
    items: list[Item]


class Rejected(BaseModel):
    """An event that was not stored."""

    index: int
    code: str
    """`invalid`: the event is not valid. `store_full`, `store` or `internal`: the event could not
    be written; fix the cause and send it again."""
    error: str


class EventsResponse(BaseModel):
    """The result for posted events. Each is counted once, and accepted events are on disk."""

    accepted: int
    """The number of new events."""
    duplicates: int
    """The number of events already stored with the same `event_id` and the same content."""
    rejected: list[Rejected]


class PutItemResponse(BaseModel):
    """The result for an item. It can be recommended from now on."""

    item_id: str
    created: bool


class ErrorDetail(BaseModel):
    """An error."""

    code: str
    message: str
    field: str | None = None


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


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
            "description": "Identifies the event. If it is sent again, it is a duplicate if its "
            "content is the same, and is rejected otherwise. By default a new id.",
        },
        "user_id": ID,
        "item_id": ID,
        "event_type": {
            "type": ["string", "integer", "null"],
            "description": "A declared event type.",
        },
        "value": {
            "type": ["number", "boolean", "null"],
            "description": "A rating or an amount. True is 1, false is 0.",
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
            "description": f"At most {LARGEST_CONTEXT:,} characters as JSON.",
        },
    },
}
_INVALID_EVENT = {"description": "Invalid events are rejected individually, by index."}
EVENTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {
        "events": {
            "type": "array",
            "items": {"anyOf": [EVENT_SCHEMA, _INVALID_EVENT]},
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
                    "description": "Column → value, with the columns of the item table.",
                }
            }
        },
    }
}
