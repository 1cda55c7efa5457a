"""How requests are read: strictly, all in one way, and as what they say they are."""

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
"""Bytes that are parsed and validated on the event loop: a thousand ids, which take 3 ms or so."""


def read_strictly(app: FastAPI, line: WorkQueue) -> None:
    """Makes an app's routes, those added from now on, read so.

    Args:
        app: whose routes.
        line: where large bodies are parsed and validated.
    """

    class Route(ApiRoute):
        storing = line

    app.router.route_class = Route
    app.router.redirect_slashes = False  # a path is right or wrong


async def checked(line: WorkQueue, size: int, check: Callable[..., T], *arguments: Any) -> T:
    """What a check gives; where there is much to check, not on the event loop.

    Args:
        line: where that is done, when it is the client's turn.
        size: bytes to check.
        check: what to call.
        arguments: its arguments.

    Raises:
        BusyError: the wait for the turn would be too long.
    """
    if size <= PARSED_AT_ONCE:
        return check(*arguments)
    return await line.run(check, *arguments)


class _Strict(Request):
    """A request whose body has been parsed and validated already."""

    parsed: Any = None

    async def json(self) -> Any:
        """The body as the route takes it; FastAPI lets such a value through as it is."""
        return self.parsed


class ApiRoute(APIRoute):
    """A route that reads its body strictly, and as what it says it is.

    Attributes:
        storing: where large bodies are parsed and validated, each at its client's turn.
    """

    storing: WorkQueue

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answered = super().get_route_handler()
        if not self.include_in_schema:  # a page, which is asked by forms
            return answered

        async def handle(request: Request) -> Response:
            _check_url(request)
            strict = _Strict(request.scope, request.receive)
            if request.method in ("POST", "PUT"):
                _check_headers(request)
                try:
                    body = await strict.body()  # FastAPI would call every failure a 400
                except ClientDisconnect:
                    raise ApiError(400, "cut_off", "the body ended before its length") from None
                strict.parsed = await checked(self.storing, len(body), self._validated, body)
            return await answered(strict)

        return handle

    def _validated(self, body: bytes) -> Any:
        """The body as the route declares it; None where the route reads it itself.

        Raises:
            ApiError: it is not JSON.
            RequestValidationError: it is not what is declared; with the first reason alone.
        """
        if self.body_field is None or not body:
            return None
        value, errors = self.body_field.validate(read_json(body), {}, loc=("body",))
        if errors:
            raise RequestValidationError(errors[:1])
        return value


def _check_headers(request: Request) -> None:
    """Refuses a body that says it is no plain JSON."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        told = f"'Content-Encoding: {coding[:40]}' is not understood: send the body as it is"
        raise ApiError(415, "unsupported_media", told)
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if not (kind.startswith("application/") and kind.endswith(("/json", "+json"))):
        told = (
            f"'Content-Type: {kind[:40]}' is not understood: send JSON with the header "
            "'Content-Type: application/json' (curl: -H 'Content-Type: application/json')"
        )
        raise ApiError(415, "unsupported_media", told)


def _check_url(request: Request) -> None:
    """Refuses a URL that is not UTF-8, or asks for what nobody knows."""
    try:
        for part in (request.scope.get("raw_path", b""), request.scope["query_string"]):
            unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise ApiError(422, "invalid", "the URL is not UTF-8 behind its percent signs") from None
    parameters = request.scope["route"].dependant.query_params
    known = [parameter.alias for parameter in parameters]
    lists = [parameter.alias for parameter in parameters if "list[" in str(parameter.field_info)]
    for name in request.query_params:
        if name not in known:
            told = f"unknown field '{name}'{did_you_mean(name, known)}"
            raise ApiError(422, UNKNOWN_FIELD, told, name)
        if name not in lists and len(request.query_params.getlist(name)) > 1:
            told = f"'{name}' is given more than once: give one value"
            raise ApiError(422, "invalid", told, name)
