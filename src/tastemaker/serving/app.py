"""The HTTP interface: thin routes over `Service`; whatever computes runs off the event loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Path, Query, Request
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response
from starlette.types import ASGIApp

from tastemaker.errors import DataError, UnknownIdError
from tastemaker.serving import bodies
from tastemaker.serving.answering import answered
from tastemaker.serving.bodies import (
    MOST_EVENTS,
    MOST_EXCLUDED,
    MOST_ITEMS,
    MOST_TOLD,
    RankBody,
    RecommendationBody,
)
from tastemaker.serving.draining import DRAINING
from tastemaker.serving.error_throttle import ErrorThrottleMiddleware
from tastemaker.serving.errors import ApiError, answer, install, refusal
from tastemaker.serving.guards import ApiKeyMiddleware, SecurityHeadersMiddleware
from tastemaker.serving.json_bodies import prepare, read_batch, read_json
from tastemaker.serving.keys import CurrentKeys, KeyFile, is_loopback
from tastemaker.serving.limits import BodyLimitMiddleware, LoadSheddingMiddleware
from tastemaker.serving.pages import add_pages
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.service import Service, Taken
from tastemaker.serving.strict_json import checked, read_strictly
from tastemaker.serving.user_requests import Prepared
from tastemaker.serving.work_queue import CALLER, Coalescer, WorkQueues
from tastemaker.store.incoming import LONGEST_ID

T = TypeVar("T")

_WRITING_SECONDS = 0.3
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_Absent = SkipJsonSchema[None]  # a URL can leave out, but not say null
_Count = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="How many items.")]
_LIST = (
    "Separated by commas, or the parameter repeated. A value that is the id of an item, commas "
    "included, is that item."
)
_ItemId = Annotated[
    str,
    Path(min_length=1, max_length=LONGEST_ID, description="The item's id; it may hold slashes."),
]
_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": bodies.ErrorBody, "description": "No key, where keys are asked for"},
    403: {"model": bodies.ErrorBody, "description": "Requested from another site's page"},
    422: {"model": bodies.ErrorBody, "description": "The question cannot be answered"},
    503: {
        "model": bodies.ErrorBody,
        "description": "Not now",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
    },
}
_WITH_BODY: dict[int | str, dict[str, Any]] = {
    408: {"model": bodies.ErrorBody, "description": "The body comes too slowly"},
    413: {"model": bodies.ErrorBody, "description": "The body is too large"},
    415: {"model": bodies.ErrorBody, "description": "The body is compressed, or no JSON"},
    **_ERRORS,
}
_STORED: dict[int | str, dict[str, Any]] = {
    507: {"model": bodies.ErrorBody, "description": "The store holds as much as it may"},
    **_WITH_BODY,
}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": bodies.ErrorBody, "description": "There is no such thing"},
    **_ERRORS,
}


def create_app(service: Service, *, host: str | None = None, allow_slow: bool = False) -> ASGIApp:
    """The application for one project.

    Args:
        service: not open yet; the application opens and closes it.
        host: the address it listens at, by default the project's; beyond loopback it asks for a key
            even when there is none.
        allow_slow: whether it takes no request before it can answer, as one of several workers.
    """
    lines = WorkQueues(service.project.file.server.max_queue_wait_ms)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with DRAINING.on_signals(), service:
            await asyncio.to_thread(prepare)
            if allow_slow:
                await asyncio.to_thread(service.wait_until_ready)
            yield
            lines.close()

    app = FastAPI(
        title=f"Tastemaker: {service.project.folder.resolve().name}",
        version=version("tastemaker"),
        description="Recommendations that answer the click, say why, and remember what they said.",
        lifespan=lifespan,
        docs_url=None,  # its page would load its scripts from a network
        redoc_url=None,
        strict_content_type=False,  # a body that does not say what it is is taken for JSON
    )
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(
        LoadSheddingMiddleware, path="/v1/recommendations", check=lines.scoring.check
    )
    install(app)
    read_strictly(app, lines.storing)
    _add_recommendations(app, service, lines)
    _add_lists(app, service, lines)
    _add_intake(app, service, lines)
    _add_health(app, service)
    add_pages(app, service, lines)
    at = service.project.file.server.host if host is None else host
    keys = CurrentKeys(KeyFile(service.project.state), required=not is_loopback(at))
    # around everything: what the framework itself answers is guarded like the rest
    return SecurityHeadersMiddleware(
        ApiKeyMiddleware(ErrorThrottleMiddleware(app), keys, {*LOOPBACK, at})
    )


def _add_recommendations(app: FastAPI, service: Service, lines: WorkQueues) -> None:
    @app.post("/v1/recommendations", response_model=bodies.Answer, responses=_WITH_BODY)
    async def recommend(question: RecommendationBody) -> Response:
        """A list for a user, known or not, or for a told history."""
        return await _recommended(service, lines, question.asked())

    @app.get("/v1/recommendations", response_model=bodies.Answer, responses=_ERRORS)
    async def recommend_by_url(
        request: Request,
        user_id: bodies.Id | _Absent = None,
        history: Annotated[
            list[bodies.Ids] | _Absent,
            Query(max_length=MOST_TOLD, description=f"Ids of liked items, oldest first. {_LIST}"),
        ] = None,
        n: _Count = 20,
        placement: str | _Absent = None,
        exclude: Annotated[
            list[bodies.Ids] | _Absent,
            Query(max_length=MOST_EXCLUDED, description=f"Ids of items not to show. {_LIST}"),
        ] = None,
        explain: bool = False,
    ) -> Response:
        """The same, asked by a URL."""

        def question() -> RecommendationRequest:
            liked = None if history is None else _ids(service, "history", history, MOST_TOLD)
            return RecommendationBody(
                user_id=user_id,
                history=None if liked is None else [*liked],
                n=n,
                placement=placement,
                exclude=_ids(service, "exclude", exclude or (), MOST_EXCLUDED),
                explain=explain,
            ).asked()

        asked = await checked(lines.storing, len(request.scope["query_string"]), question)
        return await _recommended(service, lines, asked)

    @app.get("/v1/recommendations/{recommendation_id}", responses=_MISSING)
    async def decision(
        recommendation_id: Annotated[str, Path(min_length=1, max_length=100)],
    ) -> Response:
        """What was answered, and how it came about: stages, sources, features, propensities."""
        try:
            told = await lines.storing.run(service.decision, recommendation_id)
        except UnknownIdError:  # another worker may just be writing it
            await asyncio.sleep(_WRITING_SECONDS)
            told = await lines.storing.run(service.decision, recommendation_id)
        return answer(told)


async def _recommended(
    service: Service, lines: WorkQueues, asked: RecommendationRequest
) -> Response:
    """A list for a question."""

    def work(prepared: Prepared) -> Response:
        return answer(service.recommend(asked, prepared))

    return await answered(service, lines, asked, work)


def _ids(service: Service, name: str, values: Sequence[str], most: int) -> list[str]:
    """The item ids of a parameter; what is wrong with them names it."""
    try:
        return service.ids_of(name, values, most)
    except DataError as problem:
        raise ApiError(422, "invalid", str(problem), name) from None


def _add_lists(app: FastAPI, service: Service, lines: WorkQueues) -> None:
    @app.post("/v1/rank", response_model=bodies.Ranked, responses={**_MISSING, **_WITH_BODY})
    async def rank(question: RankBody) -> Response:
        """Given items in the order of relevance to a user, known or not, or to a history."""
        asked, away = question.asked(), question.exclude_seen

        def work(prepared: Prepared) -> Response:
            return answer(service.rank(asked, question.items, away, prepared))

        return await answered(service, lines, asked, work)

    @app.get("/v1/items/{item_id:path}/similar", response_model=bodies.Listed, responses=_MISSING)
    async def similar(item_id: _ItemId, n: _Count = 20, source: str | _Absent = None) -> Response:
        """The items most like one."""
        return answer(await lines.scoring.run(service.similar, item_id, n, source))

    @app.get("/v1/trending", response_model=bodies.Listed, responses=_ERRORS)
    async def trending(n: _Count = 20) -> Response:
        """What is liked by many of late."""
        return answer(await lines.scoring.run(service.trending, n))


def _add_intake(app: FastAPI, service: Service, lines: WorkQueues) -> None:
    refreshed = Coalescer(service.refresh, lines.storing.charge)

    @app.post(
        "/v1/events",
        response_model=bodies.Accepted,
        responses=_STORED,
        openapi_extra=bodies.EVENTS_BODY,
    )
    async def events(request: Request) -> Response:
        """Takes in events; answered when the accepted ones are on disk.

        `accepted` counts the new events. An event whose `event_id` is stored already is a duplicate
        if user, item, type, value and time are the same, and is rejected otherwise. An invalid
        event in a batch is rejected alone. A large batch is written in parts. If a part cannot be
        written, its events and those after it are rejected by index; `code` says why.
        """
        taken, is_batch = await lines.storing.run(
            _add_events, service, await request.body(), CALLER.get()
        )
        if not is_batch and taken.rejected:
            raise ApiError(422, "invalid", taken.rejected[0]["error"])
        result = taken.result(await _written(taken.written))
        if not is_batch and result["rejected"]:
            raise ApiError(422, "invalid", result["rejected"][0]["error"], "event_id")
        return answer(result)

    @app.put(
        "/v1/items/{item_id:path}",
        response_model=bodies.Put,
        responses={
            201: {"model": bodies.Put, "description": "It is new"},
            **_MISSING,
            **_STORED,
        },
        openapi_extra=bodies.ITEM_BODY,
    )
    async def put_item(request: Request, item_id: _ItemId) -> Response:
        """Adds an item or replaces its description; it can be recommended when this returns."""
        body = await request.body()
        written = await lines.storing.run(_put_item, service, item_id, body, CALLER.get())
        created = await _written(written)
        await refreshed.done()
        return answer({"item_id": item_id, "created": created}, 201 if created else 200)


def _add_events(service: Service, body: bytes, caller: str) -> tuple[Taken, bool]:
    """Parses, checks and stores what was posted; whether it was a batch.

    Parsed where it is used, so that many events are also freed off the event loop.

    Raises:
        Refused: it is neither an event nor a batch.
    """
    posted = read_batch(body)
    if not isinstance(posted, dict):
        raise ApiError(422, "invalid", 'the body must be an event, or {"events": […]}')
    if "events" not in posted:
        return service.add_events([posted], caller), False
    if len(posted) > 1:
        other = next(name for name in posted if name != "events")
        raise ApiError(422, "unknown_field", f"unknown field '{other}' beside 'events'", other)
    batch = posted["events"]
    if not isinstance(batch, list) or len(batch) > MOST_EVENTS:
        told = f"'events' must be a list of at most {MOST_EVENTS:,}"
        raise ApiError(422, "invalid", told, "events")
    return service.add_events(batch, caller), True


def _put_item(service: Service, item_id: str, body: bytes, caller: str) -> "Future[bool]":
    """Parses, checks and stores the description of an item.

    Raises:
        Refused: it is not an object.
    """
    attributes = read_json(body)
    if not isinstance(attributes, dict):
        raise ApiError(422, "invalid", "the body must be an object: column → value")
    return service.put_item(item_id, attributes, caller)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", responses=_ERRORS)
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "live"}

    @app.get("/health/ready", responses=_ERRORS)
    async def ready() -> Response:
        """Everything is loaded and warm."""
        status = service.status()
        if status["status"] != "ready":
            told = status.get("problem", "the model is being loaded")
            return refusal(503, "not_ready", told, retry=1)
        return answer(status)


async def _written(future: "Future[T]") -> T:
    """Waits for the disk; a caller who goes away does not stop the write."""
    return await asyncio.shield(asyncio.wrap_future(future))
