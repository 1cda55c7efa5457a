"""Error responses, all in one format: `{"error": {"code", "message", "field"?}}`."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from tastemaker.errors import (
    BusyError,
    InputError,
    NotReadyError,
    StoreError,
    StoreFullError,
    UnknownIdError,
)
from tastemaker.printable import json_escaped
from tastemaker.serving.bodies import HISTORY_ENTRY_KINDS, UNKNOWN_FIELD

_LOG = logging.getLogger(__name__)

LARGEST_ANSWER = 32_000_000
"""Most bytes of a response."""
_LONGEST_MESSAGE = 600
_LONGEST_FIELD = 100


class ApiError(HTTPException):
    """Ends a request with an HTTP status, an error code and a message."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(status, message)
        self.code, self.field = code, field


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response. NaN and infinity become null.

    Terminal control characters are escaped, since clients may print the response.
    """
    content = to_json(value, inf_nan_mode="null")
    if len(content) > LARGEST_ANSWER and status < 400:
        size = f"the response would have {len(content):,} bytes, {LARGEST_ANSWER:,} are allowed"
        return error_response(422, "too_large", f"{size}: request fewer items, or omit 'explain'")
    if not content.isascii() or b"\x7f" in content:
        content = json_escaped(content.decode()).encode()
    return Response(content, status, headers, media_type="application/json")


def error_response(
    status: int, code: str, message: str, field: str | None = None, retry: int | None = None
) -> Response:
    """An error response.

    Args:
        status: the HTTP status.
        code: the error code, for programs.
        message: the error message, for people.
        field: the invalid field, if there is one.
        retry: seconds after which the client should retry.
    """
    texts = {"code": code, "message": _cut(message, _LONGEST_MESSAGE)}
    if field:
        texts["field"] = _cut(field, _LONGEST_FIELD)
    # text sent by a client may not be valid UTF-8
    error = {name: text.encode(errors="backslashreplace").decode() for name, text in texts.items()}
    headers = None if retry is None else {"Retry-After": str(retry)}
    return answer({"error": error}, status, headers)


def overloaded(problem: BusyError) -> Response:
    """The response for a request that is rejected because of load."""
    return error_response(503, "overloaded", str(problem), retry=problem.retry_seconds)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def install(app: FastAPI) -> None:
    """Installs handlers that turn every failure of an app into an error response."""

    @app.exception_handler(ApiError)
    async def handle_api_error(_: Request, problem: ApiError) -> Response:
        return error_response(problem.status_code, problem.code, problem.detail, problem.field)

    @app.exception_handler(InputError)
    async def handle_input_error(_: Request, problem: InputError) -> Response:
        if isinstance(problem, UnknownIdError):
            return error_response(404, "not_found", str(problem))
        return error_response(422, "invalid", str(problem))

    @app.exception_handler(NotReadyError)
    async def handle_not_ready(_: Request, problem: NotReadyError) -> Response:
        return error_response(503, "not_ready", str(problem), retry=1)

    @app.exception_handler(BusyError)
    async def handle_busy(_: Request, problem: BusyError) -> Response:
        return overloaded(problem)

    @app.exception_handler(StoreFullError)
    async def handle_store_full(_: Request, problem: StoreFullError) -> Response:
        return error_response(507, "store_full", str(problem))

    @app.exception_handler(StoreError)
    async def handle_store_error(_: Request, problem: StoreError) -> Response:
        return error_response(503, "store", str(problem), retry=1)

    @app.exception_handler(RequestValidationError)
    async def handle_request_validation(_: Request, problem: RequestValidationError) -> Response:
        return _validation_response(problem.errors()[0])

    @app.exception_handler(ValidationError)
    async def handle_validation(_: Request, problem: ValidationError) -> Response:
        return _validation_response(problem.errors()[0])

    @app.exception_handler(HTTPException)
    async def handle_http_error(request: Request, problem: HTTPException) -> Response:
        if problem.status_code == 404:
            return error_response(404, "not_found", f"Not found: '{request.url.path}'")
        if problem.status_code == 405:
            allowed = ", ".join(_methods(app, request))
            message = f"{request.method} is not allowed here, use {allowed}"
            response = error_response(405, "method_not_allowed", message)
            response.headers["Allow"] = allowed
            return response
        code = {408: "too_slow", 413: "too_large"}.get(problem.status_code, "refused")
        return error_response(problem.status_code, code, str(problem.detail))

    @app.exception_handler(Exception)
    async def handle_unexpected(request: Request, problem: Exception) -> Response:
        _LOG.error("%s %r failed", request.method, request.url.path, exc_info=problem)
        return error_response(500, "internal", "internal server error; it was logged")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """The methods of a path, over all its routes."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    found = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in found for method in route.methods or ()})


_NOT_FIELDS = ("body", "query", "path", *HISTORY_ENTRY_KINDS)
_VALIDATOR = "function-"
"""Prefix of pydantic's location name for a validator function."""


def _validation_response(error: Any) -> Response:
    """The response for a validation error."""
    parts = [str(part) for part in error["loc"] if part not in _NOT_FIELDS]
    where = [part for part in parts if not part.startswith(_VALIDATOR)]
    field, reason = ".".join(where), error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == UNKNOWN_FIELD:
        return error_response(422, UNKNOWN_FIELD, reason, ".".join([*where, error["ctx"]["name"]]))
    if not where and error["type"] == "missing":
        return error_response(422, "malformed_json", "the body is missing: send a JSON object")
    if error["type"] == "value_error":  # raised by our validators, whose message includes the value
        return error_response(422, "invalid", f"'{field}': {error['ctx']['error']}", field)
    message = f"{reason}, got {str(error.get('input'))[:80]!r}"
    if not where:
        return error_response(422, "invalid", f"the body: {message}")
    return error_response(422, "invalid", f"'{field}': {message}", field)
