"""Whatever goes wrong, in one shape: `{"error": {"code", "message", "field"?}}`."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tastemaker.errors import (
    BusyError,
    InputError,
    NotReadyError,
    StoreError,
    UnknownIdError,
    near_miss,
)
from tastemaker.serving.bodies import Question

_LOG = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """Ends a request with a status and a reason."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.field = status, code, field


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
    told = {"code": code, "message": message, **({"field": field} if field else {})}
    # what a caller sent may not be writable as UTF-8
    error = {name: text.encode(errors="backslashreplace").decode() for name, text in told.items()}
    headers = None if retry is None else {"Retry-After": str(retry)}
    return answer({"error": error}, status, headers)


def overloaded(problem: BusyError) -> Response:
    """What whoever is turned away is told."""
    return refusal(503, "overloaded", str(problem), retry=problem.retry_seconds)


def read_json(body: bytes) -> Any:
    """A body as JSON.

    Raises:
        Refused: it is none, too deep, or not UTF-8.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as problem:
        raise Refused(422, "malformed_json", f"the body is not JSON: {problem}") from None


def install(app: FastAPI) -> None:
    """Makes an app answer every failure in the one shape."""

    @app.exception_handler(Refused)
    async def refused(_: Request, problem: Refused) -> Response:
        return refusal(problem.status, problem.code, str(problem), problem.field)

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
    async def known(_: Request, problem: HTTPException) -> Response:
        codes = {
            404: "not_found",
            405: "method_not_allowed",
            408: "too_slow",
            413: "too_large",
        }
        code = codes.get(problem.status_code, "refused")
        response = refusal(problem.status_code, code, str(problem.detail))
        response.headers.update(problem.headers or {})
        return response

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, problem: Exception) -> Response:
        _LOG.error("%s %s failed", request.method, request.url.path, exc_info=problem)
        return refusal(500, "internal", "this request could not be answered; it was logged")


def _invalid(error: Any) -> Response:
    """What is wrong with a field, in words; an unknown one with its near miss."""
    where = [str(part) for part in error["loc"] if part not in ("body", "query", "path")]
    field = ".".join(where)
    if error["type"] == "json_invalid":
        told = error.get("ctx", {}).get("error", "unreadable")
        return refusal(422, "malformed_json", f"the body is not JSON: {told}")
    if error["type"] == "extra_forbidden":
        hint = near_miss(where[-1], Question.model_fields) if len(where) == 1 else ""
        return refusal(422, "unknown_field", f"unknown field '{field}'{hint}", field)
    given = str(error.get("input"))[:80]
    message = f"'{field}': {error['msg'][0].lower()}{error['msg'][1:]}, got {given!r}"
    return refusal(422, "invalid", message if field else error["msg"], field or None)
