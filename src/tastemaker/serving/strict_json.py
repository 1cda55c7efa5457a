"""Strict reading of requests: headers, URLs and JSON bodies."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tastemaker.errors import did_you_mean
from tastemaker.serving.bodies import UNKNOWN_FIELD
from tastemaker.serving.errors import ApiError
from tastemaker.serving.json_bodies import read_json
from tastemaker.serving.work_queue import WorkQueue

T = TypeVar("T")

PARSED_AT_ONCE = 4_096
"""Most bytes that are parsed on the event loop: a thousand ids, which take about 3 ms."""


def read_strictly(app: FastAPI, queue: WorkQueue) -> None:
    """Makes an app's routes, if added after this call, read requests strictly.

    Args:
        app: the application.
        queue: the queue that parses and validates large bodies.
    """

    class Route(ApiRoute):
        storing = queue

    app.router.route_class = Route
    app.router.redirect_slashes = False  # only exact paths match


async def checked(queue: WorkQueue, size: int, check: Callable[..., T], *arguments: Any) -> T:
    """The result of a check. A large check does not run on the event loop.

    Args:
        queue: the queue that runs large checks.
        size: the number of bytes to check.
        check: the function to call.
        arguments: its arguments.

    Raises:
        BusyError: the wait in the queue would be too long.
    """
    if size <= PARSED_AT_ONCE:
        return check(*arguments)
    return await queue.run(check, *arguments)


class _Strict(Request):
    """A request whose body is already parsed and validated."""

    parsed: Any = None

    async def json(self) -> Any:
        """The validated body. FastAPI passes such a value through unchanged."""
        return self.parsed


class ApiRoute(APIRoute):
    """A route that checks headers and URL, and reads its body strictly.

    Attributes:
        storing: the queue that parses and validates large bodies.
    """

    storing: WorkQueue

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of a request."""
        handler = super().get_route_handler()
        if not self.include_in_schema:  # a page, which takes forms
            return handler

        async def handle(request: Request) -> Response:
            _check_url(request)
            strict = _Strict(request.scope, request.receive)
            if request.method in ("POST", "PUT"):
                _check_headers(request)
                try:
                    body = await strict.body()  # FastAPI would turn every failure into a 400
                except ClientDisconnect:
                    raise ApiError(400, "cut_off", "the body ended before its length") from None
                strict.parsed = await checked(self.storing, len(body), self._validated, body)
            return await handler(strict)

        return handle

    def _validated(self, body: bytes) -> Any:
        """The body as the route declares it; None if the route reads the body itself.

        Raises:
            ApiError: the body is not JSON.
            RequestValidationError: the body does not match; only the first error is included.
        """
        if self.body_field is None or not body:
            return None
        value, errors = self.body_field.validate(read_json(body), {}, loc=("body",))
        if errors:
            raise RequestValidationError(errors[:1])
        return value


def _check_headers(request: Request) -> None:
    """Rejects a body whose headers do not declare plain JSON."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        message = f"'Content-Encoding: {coding[:40]}' is not supported: send the body uncompressed"
        raise ApiError(415, "unsupported_media", message)
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if not (kind.startswith("application/") and kind.endswith(("/json", "+json"))):
        message = (
            f"'Content-Type: {kind[:40]}' is not supported: send JSON with the header "
            "'Content-Type: application/json' (curl: -H 'Content-Type: application/json')"
        )
        raise ApiError(415, "unsupported_media", message)


def _check_url(request: Request) -> None:
    """Rejects a URL that is not UTF-8, or has unknown or repeated parameters."""
    try:
        for part in (request.scope.get("raw_path", b""), request.scope["query_string"]):
            unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise ApiError(422, "invalid", "the URL is not valid percent-encoded UTF-8") from None
    parameters = request.scope["route"].dependant.query_params
    known = [parameter.alias for parameter in parameters]
    lists = [parameter.alias for parameter in parameters if "list[" in str(parameter.field_info)]
    for name in request.query_params:
        if name not in known:
            message = f"unknown field '{name}'{did_you_mean(name, known)}"
            raise ApiError(422, UNKNOWN_FIELD, message, name)
        if name not in lists and len(request.query_params.getlist(name)) > 1:
            message = f"'{name}' is given more than once: send one value"
            raise ApiError(422, "invalid", message, name)
