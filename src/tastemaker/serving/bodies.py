"""What travels over HTTP: the shapes of questions and answers, as the API's document shows them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tastemaker.pipeline.pipeline import DEFAULT_N
from tastemaker.serving.asked import Asked

MOST_ITEMS = 1_000
MOST_TOLD = 10_000
MOST_EVENTS = 10_000
Id = (
    Annotated[str, Field(min_length=1, max_length=1_000)]
    | Annotated[int, Field(strict=True, ge=-(10**18), le=10**18)]
)


class Body(BaseModel):
    """A question; an unknown field is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ToldEvent(Body):
    """Something a stranger says they did."""

    item_id: Id
    """The item."""
    event_type: str | None = None
    """The kind; by default a like."""
    value: float | None = None
    """A rating, where the kind is one."""
    timestamp: str | int | float | None = None
    """ISO 8601 or an epoch number; by default just now."""


class Question(Body):
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
    history: list[Id | ToldEvent] | None = Field(None, max_length=MOST_TOLD)
    """Items liked, or events, oldest first; instead of what is stored."""
    n: int = Field(DEFAULT_N, ge=1, le=MOST_ITEMS, strict=True)
    """How many items."""
    placement: str | None = None
    """Which list; by default the project's first."""
    exclude: list[Id] = Field(default_factory=list, max_length=MOST_TOLD)
    """Items that must not be shown."""
    explain: bool = False
    """Whether the answer says what each stage did, and what spoke for each item."""
    within: float | None = Field(None, gt=0, le=60_000)
    """Milliseconds in which the answer is wanted; what does not fit is left out and told."""

    def asked(self) -> Asked:
        """The question as the service takes it."""
        told = None
        if self.history is not None:
            told = [
                entry.model_dump(exclude_none=True) if isinstance(entry, ToldEvent) else entry
                for entry in self.history
            ]
        return Asked(
            None if self.user_id is None else str(self.user_id),
            told,
            self.n,
            self.placement,
            self.exclude,
            self.explain,
            self.within,
        )


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


class Listed(BaseModel):
    """A list that is the same for everybody."""

    source: str
    model_version: str
    items: list[Item]


class Rejected(BaseModel):
    """An event that cannot be used."""

    index: int
    error: str


class Accepted(BaseModel):
    """What became of posted events; the accepted ones are on disk."""

    accepted: int
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
EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["user_id", "item_id"],
    "additionalProperties": False,
    "properties": {
        "event_id": {"type": ["string", "integer"]},
        "user_id": {"type": ["string", "integer"]},
        "item_id": {"type": ["string", "integer"]},
        "event_type": {"type": "string"},
        "value": {"type": "number"},
        "timestamp": {"type": ["string", "number"]},
        "session": {"type": ["string", "integer"]},
        "recommendation_id": {"type": ["string", "integer"]},
        "position": {"type": "integer", "minimum": 1, "maximum": 100_000},
        "context": {"type": "object"},
    },
}
EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        EVENT_SCHEMA,
                        {
                            "type": "object",
                            "required": ["events"],
                            "additionalProperties": False,
                            "properties": {
                                "events": {
                                    "type": "array",
                                    "items": EVENT_SCHEMA,
                                    "maxItems": MOST_EVENTS,
                                }
                            },
                        },
                    ]
                },
                "examples": EVENT_EXAMPLES,
            }
        },
    }
}
