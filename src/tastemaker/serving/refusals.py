"""Whatever goes wrong, in one shape: `{"error": {"code", "message", "field"?}}`."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route

from tastemaker.errors import (
    BusyError,
    InputError,
    NotReadyError,
    StoreError,
    UnknownIdError,
    near_miss,
)
from tastemaker.serving.bodies import KINDS_OF_TOLD, UNKNOWN_FIELD

_LOG = logging.getLogger(__name__)

MOST_NESTED = 200_000
"""Lists and objects in a body; reading more of them would hold up everybody else for seconds."""
_LONGEST_MESSAGE = 600
_LONGEST_FIELD = 100


class Refused(HTTPException):
    """Ends a request with a status and a reason."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(status, message)
        self.code, self.field = code, field


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON; what is no number becomes null."""
    content = to_json(value, inf_nan_mode="null")
    return Response(content, status, headers, media_type="application/json")


def refusal(
    status: int, code: str, message: str, field: str | None = None, retry: int | None = None
) -> Response:
    """An error in the one shape.

    Args:
        status: the HTTP status.
        code: what is wrong, for programs.
        message: what is wrong, for people.
        field: which field, if one is.
        retry: seconds after which asking again may help.
    """
    told = {"code": code, "message": _cut(message, _LONGEST_MESSAGE)}
    if field:
        told["field"] = _cut(field, _LONGEST_FIELD)
    # what a caller sent may not be writable as UTF-8
    error = {name: text.encode(errors="backslashreplace").decode() for name, text in told.items()}
    headers = None if retry is None else {"Retry-After": str(retry)}
    return answer({"error": error}, status, headers)


def overloaded(problem: BusyError) -> Response:
    """What whoever is turned away is told."""
    return refusal(503, "overloaded", str(problem), retry=problem.retry_seconds)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _read_json(body: bytes) -> Any:
    """A body as JSON; of two fields of one name the later counts."""
    if body.count(b"[") + body.count(b"{") > MOST_NESTED:
        told = f"a body may have {MOST_NESTED:,} lists and objects; send it in parts"
        raise Refused(413, "too_large", told)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as problem:
        raise Refused(422, "malformed_json", f"the body is not JSON in UTF-8: {problem}") from None


class _Strict(Request):
    """A request whose body is read more strictly than Python does: no NaN, no UTF-16, no depth."""

    async def json(self) -> Any:
        """The body."""
        return _read_json(await self.body())


class ApiRoute(APIRoute):
    """A route that reads its body strictly, and as what it says it is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answered = super().get_route_handler()

        async def handle(request: Request) -> Response:
            _check_url(request)
            strict = _Strict(request.scope, request.receive)
            if request.method in ("POST", "PUT"):
                _check_headers(request)
                try:
                    await strict.body()  # FastAPI would call every failure a 400
                except ClientDisconnect:
                    raise Refused(400, "cut_off", "the body ended before its length") from None
            return await answered(strict)

        return handle if self.include_in_schema else answered  # the page posts a form


def _check_headers(request: Request) -> None:
    """Refuses a body that says it is no plain JSON."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        told = f"'Content-Encoding: {coding[:40]}' is not understood: send the body as it is"
        raise Refused(415, "unsupported_media", told)
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if not (kind.startswith("application/") and kind.endswith(("/json", "+json"))):
        told = f"'Content-Type: {kind[:40]}' is not understood: send 'application/json'"
        raise Refused(415, "unsupported_media", told)


def _check_url(request: Request) -> None:
    """Refuses a URL that is not UTF-8, or asks for what nobody knows."""
    try:
        for part in (request.scope.get("raw_path", b""), request.scope["query_string"]):
            unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise Refused(422, "invalid", "the URL is not UTF-8 behind its percent signs") from None
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            told = f"unknown field '{name}'{near_miss(name, known)}"
            raise Refused(422, UNKNOWN_FIELD, told, name)


def install(app: FastAPI) -> None:
    """Makes an app read strictly, and answer every failure in the one shape."""
    app.router.route_class = ApiRoute
    app.router.redirect_slashes = False  # a path is right or wrong

    @app.exception_handler(Refused)
    async def refused(_: Request, problem: Refused) -> Response:
        return refusal(problem.status_code, problem.code, problem.detail, problem.field)

    @app.exception_handler(InputError)
    async def wrong(_: Request, problem: InputError) -> Response:
        if isinstance(problem, UnknownIdError):
            return refusal(404, "not_found", str(problem))
        return refusal(422, "invalid", str(problem))

    @app.exception_handler(NotReadyError)
    async def loading(_: Request, problem: NotReadyError) -> Response:
        return refusal(503, "not_ready", str(problem), retry=1)

    @app.exception_handler(BusyError)
    async def busy(_: Request, problem: BusyError) -> Response:
        return overloaded(problem)

    @app.exception_handler(StoreError)
    async def unwritten(_: Request, problem: StoreError) -> Response:
        return refusal(503, "store", str(problem), retry=1)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, problem: RequestValidationError) -> Response:
        return _invalid(problem.errors()[0])

    @app.exception_handler(ValidationError)
    async def unusable(_: Request, problem: ValidationError) -> Response:
        return _invalid(problem.errors()[0])

    @app.exception_handler(HTTPException)
    async def known(request: Request, problem: HTTPException) -> Response:
        if problem.status_code == 404:
            return refusal(404, "not_found", f"there is nothing at '{request.url.path}'")
        if problem.status_code == 405:
            allowed = ", ".join(_methods(app, request))
            told = f"{request.method} is not possible here, only {allowed}"
            response = refusal(405, "method_not_allowed", told)
            response.headers["Allow"] = allowed
            return response
        code = {408: "too_slow", 413: "too_large"}.get(problem.status_code, "refused")
        return refusal(problem.status_code, code, str(problem.detail))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, problem: Exception) -> Response:
        _LOG.error("%s %r failed", request.method, request.url.path, exc_info=problem)
        return refusal(500, "internal", "this request could not be answered; it was logged")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What can be done at a path, over all its routes."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    found = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in found for method in route.methods or ()})


_NOT_FIELDS = ("body", "query", "path", *KINDS_OF_TOLD)


def _invalid(error: Any) -> Response:
    """What is wrong with a field, in words."""
    where = [str(part) for part in error["loc"] if part not in _NOT_FIELDS]
    field, told = ".".join(where), error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == UNKNOWN_FIELD:
        return refusal(422, UNKNOWN_FIELD, told, ".".join([*where, error["ctx"]["name"]]))
    if not where and error["type"] == "missing":
        return refusal(422, "malformed_json", "the body is missing: send a JSON object")
    if error["type"] == "value_error":  # one of ours, which shows the value
        return refusal(422, "invalid", f"'{field}': {error['ctx']['error']}", field)
    message = f"{told}, got {str(error.get('input'))[:80]!r}"
    if not where:
        return refusal(422, "invalid", f"the body: {message}")
    return refusal(422, "invalid", f"'{field}': {message}", field)
