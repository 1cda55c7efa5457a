"""How requests are read: strictly, all in one way, and as what they say they are."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from tastemaker.errors import near_miss
from tastemaker.serving.bodies import UNKNOWN_FIELD
from tastemaker.serving.refusals import Refused

MOST_NESTED = 200_000
"""Lists and objects in a body; reading more of them would hold up everybody else for seconds."""
LONGEST_NUMBER = 1_000
"""Digits in a row; thousands of longer numbers would do the same."""
_ZEROES = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))


def read_strictly(app: FastAPI) -> None:
    """Makes an app's routes, those added from now on, read so."""
    app.router.route_class = ApiRoute
    app.router.redirect_slashes = False  # a path is right or wrong


def _read_json(body: bytes) -> Any:
    """A body as JSON; of two fields of one name the later counts."""
    if body.count(b"[") + body.count(b"{") > MOST_NESTED:
        told = f"a body may have {MOST_NESTED:,} lists and objects; send it in parts"
        raise Refused(413, "too_large", told)
    if b"0" * (LONGEST_NUMBER + 1) in body.translate(_ZEROES):
        told = f"a number may have {LONGEST_NUMBER:,} digits"
        raise Refused(422, "malformed_json", told)
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
        if not self.include_in_schema:  # a page, which is asked by forms
            return answered

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

        return handle


def _check_headers(request: Request) -> None:
    """Refuses a body that says it is no plain JSON."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        told = f"'Content-Encoding: {coding[:40]}' is not understood: send the body as it is"
        raise Refused(415, "unsupported_media", told)
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if not (kind.startswith("application/") and kind.endswith(("/json", "+json"))):
        told = (
            f"'Content-Type: {kind[:40]}' is not understood: send JSON with the header "
            "'Content-Type: application/json' (curl: -H 'Content-Type: application/json')"
        )
        raise Refused(415, "unsupported_media", told)


def _check_url(request: Request) -> None:
    """Refuses a URL that is not UTF-8, or asks for what nobody knows."""
    try:
        for part in (request.scope.get("raw_path", b""), request.scope["query_string"]):
            unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise Refused(422, "invalid", "the URL is not UTF-8 behind its percent signs") from None
    parameters = request.scope["route"].dependant.query_params
    known = [parameter.alias for parameter in parameters]
    lists = [parameter.alias for parameter in parameters if "list[" in str(parameter.field_info)]
    for name in request.query_params:
        if name not in known:
            told = f"unknown field '{name}'{near_miss(name, known)}"
            raise Refused(422, UNKNOWN_FIELD, told, name)
        if name not in lists and len(request.query_params.getlist(name)) > 1:
            told = f"'{name}' is given more than once: give one value"
            raise Refused(422, "invalid", told, name)
