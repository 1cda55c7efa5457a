"""The HTTP interface: thin routes over `Service`. All computation runs off the event loop."""

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
from tastemaker.serving.answering import score_request
from tastemaker.serving.bodies import (
    MOST_EVENTS,
    MOST_EXCLUDED,
    MOST_HISTORY,
    MOST_ITEMS,
    RankBody,
    RecommendationBody,
)
from tastemaker.serving.draining import DRAINING
from tastemaker.serving.error_throttle import ErrorThrottleMiddleware
from tastemaker.serving.errors import ApiError, answer, error_response, install
from tastemaker.serving.guards import ApiKeyMiddleware, SecurityHeadersMiddleware
from tastemaker.serving.json_bodies import prepare, read_batch, read_json
from tastemaker.serving.keys import CurrentKeys, KeyFile, is_loopback
from tastemaker.serving.limits import BodyLimitMiddleware, LoadSheddingMiddleware
from tastemaker.serving.pages import add_pages
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.service import PostedEvents, Service
from tastemaker.serving.strict_json import checked, read_strictly
from tastemaker.serving.user_requests import Prepared
from tastemaker.serving.work_queue import CALLER, Coalescer, WorkQueues
from tastemaker.store.incoming import LONGEST_ID

T = TypeVar("T")

_WRITING_SECONDS = 0.3
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_Absent = SkipJsonSchema[None]  # a URL can omit a parameter, but cannot contain null
_Count = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="How many items.")]
_LIST = (
    "Separate values with commas, or repeat the parameter. A value that is the id of an item is "
    "not split at its commas."
)
_ItemId = Annotated[
    str,
    Path(min_length=1, max_length=LONGEST_ID, description="The item's id. It can contain slashes."),
]
_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": bodies.ErrorBody, "description": "API key missing or invalid"},
    403: {
        "model": bodies.ErrorBody,
        "description": "Invalid host or origin",
    },
    422: {"model": bodies.ErrorBody, "description": "Validation error"},
    503: {
        "model": bodies.ErrorBody,
        "description": "Service unavailable, retry after the seconds in Retry-After",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
    },
}
_WITH_BODY: dict[int | str, dict[str, Any]] = {
    408: {"model": bodies.ErrorBody, "description": "Request body sent too slowly"},
    413: {"model": bodies.ErrorBody, "description": "Request body too large"},
    415: {
        "model": bodies.ErrorBody,
        "description": "Unsupported media type: the body is compressed or not JSON",
    },
    **_ERRORS,
}
_STORED: dict[int | str, dict[str, Any]] = {
    507: {"model": bodies.ErrorBody, "description": "Insufficient storage: the store is full"},
    **_WITH_BODY,
}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": bodies.ErrorBody, "description": "Not found"},
    **_ERRORS,
}


def create_app(service: Service, *, host: str | None = None, allow_slow: bool = False) -> ASGIApp:
    """The ASGI application for one project.

    Args:
        service: a service that is not open yet. The application opens and closes it.
        host: the address the server listens on, by default the project's. Outside loopback,
            clients must send an API key even if no key exists.
        allow_slow: whether startup waits until a model is loaded. Set for one of several workers.
    """
    queues = WorkQueues(service.project.file.server.max_queue_wait_ms)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with DRAINING.on_signals(), service:
            await asyncio.to_thread(prepare)
            if allow_slow:
                await asyncio.to_thread(service.wait_until_ready)
            yield
            queues.close()

    app = FastAPI(
        title=f"Tastemaker: {service.project.folder.resolve().name}",
        version=version("tastemaker"),
        description="Recommendations that react to each event, with reasons and a decision log.",
        lifespan=lifespan,
        docs_url=None,  # this page loads its scripts from a CDN
        redoc_url=None,
        strict_content_type=False,  # a body without a Content-Type is read as JSON
    )
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(
        LoadSheddingMiddleware, path="/v1/recommendations", check=queues.scoring.check
    )
    install(app)
    read_strictly(app, queues.storing)
    _add_recommendations(app, service, queues)
    _add_lists(app, service, queues)
    _add_intake(app, service, queues)
    _add_health(app, service)
    add_pages(app, service, queues)
    address = service.project.file.server.host if host is None else host
    keys = CurrentKeys(KeyFile(service.project.state), required=not is_loopback(address))
    # outermost, so that responses of the framework itself are covered too
    return SecurityHeadersMiddleware(
        ApiKeyMiddleware(ErrorThrottleMiddleware(app), keys, {*LOOPBACK, address})
    )


def _add_recommendations(app: FastAPI, service: Service, queues: WorkQueues) -> None:
    @app.post(
        "/v1/recommendations", response_model=bodies.RecommendationResponse, responses=_WITH_BODY
    )
    async def recommend(body: RecommendationBody) -> Response:
        """Recommendations for a known or unknown user, or for a history in the request."""
        return await _recommend(service, queues, body.to_request())

    @app.get("/v1/recommendations", response_model=bodies.RecommendationResponse, responses=_ERRORS)
    async def recommend_by_url(
        request: Request,
        user_id: bodies.Id | _Absent = None,
        history: Annotated[
            list[bodies.Ids] | _Absent,
            Query(
                max_length=MOST_HISTORY, description=f"Ids of liked items, oldest first. {_LIST}"
            ),
        ] = None,
        n: _Count = 20,
        placement: str | _Absent = None,
        exclude: Annotated[
            list[bodies.Ids] | _Absent,
            Query(max_length=MOST_EXCLUDED, description=f"Ids of items to exclude. {_LIST}"),
        ] = None,
        explain: bool = False,
    ) -> Response:
        """Recommendations for the parameters of a URL. The same as the POST request."""

        def parse() -> RecommendationRequest:
            liked = None if history is None else _ids(service, "history", history, MOST_HISTORY)
            return RecommendationBody(
                user_id=user_id,
                history=None if liked is None else [*liked],
                n=n,
                placement=placement,
                exclude=_ids(service, "exclude", exclude or (), MOST_EXCLUDED),
                explain=explain,
            ).to_request()

        recommendation = await checked(queues.storing, len(request.scope["query_string"]), parse)
        return await _recommend(service, queues, recommendation)

    @app.get("/v1/recommendations/{recommendation_id}", responses=_MISSING)
    async def decision(
        recommendation_id: Annotated[str, Path(min_length=1, max_length=100)],
    ) -> Response:
        """A logged response with its trace: stages, sources, features and propensities."""
        try:
            found = await queues.storing.run(service.decision, recommendation_id)
        except UnknownIdError:  # another worker may be writing it
            await asyncio.sleep(_WRITING_SECONDS)
            found = await queues.storing.run(service.decision, recommendation_id)
        return answer(found)


async def _recommend(
    service: Service, queues: WorkQueues, recommendation: RecommendationRequest
) -> Response:
    """The response to a recommendation request."""

    def work(prepared: Prepared) -> Response:
        return answer(service.recommend(recommendation, prepared))

    return await score_request(service, queues, recommendation, work)


def _ids(service: Service, name: str, values: Sequence[str], most: int) -> list[str]:
    """The item ids in a parameter. An error names the parameter."""
    try:
        return service.ids_of(name, values, most)
    except DataError as problem:
        raise ApiError(422, "invalid", str(problem), name) from None


def _add_lists(app: FastAPI, service: Service, queues: WorkQueues) -> None:
    @app.post("/v1/rank", response_model=bodies.RankResponse, responses={**_MISSING, **_WITH_BODY})
    async def rank(body: RankBody) -> Response:
        """The given items, ordered by relevance to a known or unknown user, or to a history."""
        recommendation, exclude_seen = body.to_request(), body.exclude_seen

        def work(prepared: Prepared) -> Response:
            return answer(service.rank(recommendation, body.items, exclude_seen, prepared))

        return await score_request(service, queues, recommendation, work)

    @app.get(
        "/v1/items/{item_id:path}/similar",
        response_model=bodies.ItemListResponse,
        responses=_MISSING,
    )
    async def similar(item_id: _ItemId, n: _Count = 20, source: str | _Absent = None) -> Response:
        """The items most similar to an item."""
        return answer(await queues.scoring.run(service.similar, item_id, n, source))

    @app.get("/v1/trending", response_model=bodies.ItemListResponse, responses=_ERRORS)
    async def trending(n: _Count = 20) -> Response:
        """The most popular items of recent events."""
        return answer(await queues.scoring.run(service.trending, n))


def _add_intake(app: FastAPI, service: Service, queues: WorkQueues) -> None:
    refresher = Coalescer(service.refresh, queues.storing.charge)

    @app.post(
        "/v1/events",
        response_model=bodies.EventsResponse,
        responses=_STORED,
        openapi_extra=bodies.EVENTS_BODY,
    )
    async def events(request: Request) -> Response:
        """Stores events. The response is sent when the accepted events are on disk.

        `accepted` counts the new events. An event whose `event_id` is already stored is a duplicate
        if user, item, type, value and time are the same. Otherwise it is rejected. Invalid events
        in a batch are rejected individually, by index. A large batch is written in parts. If a part
        cannot be written, its events and all later events are rejected by index, and `code` states
        the reason.
        """
        posted_events, is_batch = await queues.storing.run(
            _add_events, service, await request.body(), CALLER.get()
        )
        if not is_batch and posted_events.rejected:
            raise ApiError(422, "invalid", posted_events.rejected[0]["error"])
        result = posted_events.result(await _wait_for_write(posted_events.written))
        if not is_batch and result["rejected"]:
            raise ApiError(422, "invalid", result["rejected"][0]["error"], "event_id")
        return answer(result)

    @app.put(
        "/v1/items/{item_id:path}",
        response_model=bodies.PutItemResponse,
        responses={
            201: {"model": bodies.PutItemResponse, "description": "The item is new"},
            **_MISSING,
            **_STORED,
        },
        openapi_extra=bodies.ITEM_BODY,
    )
    async def put_item(request: Request, item_id: _ItemId) -> Response:
        """Adds an item or replaces its columns. The item can be recommended after the response."""
        body = await request.body()
        written = await queues.storing.run(_put_item, service, item_id, body, CALLER.get())
        created = await _wait_for_write(written)
        await refresher.done()
        return answer({"item_id": item_id, "created": created}, 201 if created else 200)


def _add_events(service: Service, body: bytes, caller: str) -> tuple[PostedEvents, bool]:
    """The posted events after parsing, validation and writing, and whether they were a batch.

    The body is parsed here, so that its events are also freed off the event loop.

    Raises:
        ApiError: the body is neither an event nor a batch.
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
        message = f"'events' must be a list of at most {MOST_EVENTS:,} events"
        raise ApiError(422, "invalid", message, "events")
    return service.add_events(batch, caller), True


def _put_item(service: Service, item_id: str, body: bytes, caller: str) -> "Future[bool]":
    """Parses, validates and stores the columns of an item.

    Raises:
        ApiError: the body is not an object.
    """
    attributes = read_json(body)
    if not isinstance(attributes, dict):
        raise ApiError(422, "invalid", "the body must be a JSON object: column → value")
    return service.put_item(item_id, attributes, caller)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", responses=_ERRORS)
    async def live() -> dict[str, str]:
        """The process is running."""
        return {"status": "live"}

    @app.get("/health/ready", responses=_ERRORS)
    async def ready() -> Response:
        """The model is loaded and warmed up."""
        status = service.status()
        if status["status"] != "ready":
            message = status.get("problem", "the model is being loaded")
            return error_response(503, "not_ready", message, retry=1)
        return answer(status)


async def _wait_for_write(future: "Future[T]") -> T:
    """Waits for a write. A client that disconnects does not stop the write."""
    return await asyncio.shield(asyncio.wrap_future(future))
