"""Whatever goes wrong, in one shape: `{"error": {"code", "message", "field"?}}`."""

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
from tastemaker.serving.bodies import KINDS_OF_TOLD, UNKNOWN_FIELD

_LOG = logging.getLogger(__name__)

LARGEST_ANSWER = 32_000_000
"""Bytes of an answer."""
_LONGEST_MESSAGE = 600
_LONGEST_FIELD = 100


class ApiError(HTTPException):
    """Ends a request with a status and a reason."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(status, message)
        self.code, self.field = code, field


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON; what is no number becomes null.

    Characters that act on a terminal are escaped, as for whoever prints the answer.
    """
    content = to_json(value, inf_nan_mode="null")
    if len(content) > LARGEST_ANSWER and status < 400:
        told = f"the answer would have {len(content):,} bytes, {LARGEST_ANSWER:,} are allowed"
        return refusal(422, "too_large", f"{told}: ask for fewer items, or without 'explain'")
    if not content.isascii() or b"\x7f" in content:
        content = json_escaped(content.decode()).encode()
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


def install(app: FastAPI) -> None:
    """Makes an app answer every failure in the one shape."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, problem: ApiError) -> Response:
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

    @app.exception_handler(StoreFullError)
    async def full(_: Request, problem: StoreFullError) -> Response:
        return refusal(507, "store_full", str(problem))

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
_VALIDATOR = "function-"
"""Begins the name of a function that checks one form of a field."""


def _invalid(error: Any) -> Response:
    """What is wrong with a field, in words."""
    parts = [str(part) for part in error["loc"] if part not in _NOT_FIELDS]
    where = [part for part in parts if not part.startswith(_VALIDATOR)]
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
