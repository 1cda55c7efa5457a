"""Limits of request bodies: their size, their speed and their number at a time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker.errors import BusyError
from tastemaker.serving.bodies import LARGEST_BODY, LARGEST_FORM, LARGEST_ITEM
from tastemaker.serving.errors import error_response, overloaded
from tastemaker.serving.work_queue import CALLER

SMALL_BODY = 65_536
"""Bytes. A smaller body is always read; a larger one must send this many per `STEP_SECONDS`."""
STEP_SECONDS = 10.0
SLOWEST_SECONDS = 30.0
"""The longest time for a whole body."""
MOST_AT_ONCE = 64_000_000
"""Most bytes received of all larger bodies whose responses have not started."""
MOST_OF_ONE = 0.5
"""The share of `MOST_AT_ONCE` that one caller can use."""
_TOO_SLOW = "Request timeout: the body was not complete after {:g} s"
_STALLED = "Request timeout: the body must send at least {:,} bytes in {:g} s"
_TOO_MANY = "too many large bodies at once: retry later, or send the body in parts"


class LoadSheddingMiddleware:
    """Rejects requests before they are read while the queue is too long.

    Reading them would slow down the accepted requests.

    Args:
        app: the wrapped application.
        path: the path of the requests to check.
        check: raises BusyError while the queue is too long.
    """

    def __init__(self, app: ASGIApp, path: str, check: Callable[[], None]) -> None:
        self._app = app
        self._path = path
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; see ASGI."""
        if scope["type"] == "http" and scope["path"] == self._path:
            try:
                self._check()
            except BusyError as problem:
                await overloaded(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


@dataclass(eq=False)
class _Body:
    """A body that is being received.

    Attributes:
        caller: the sender.
        begun: when it started, by the clock of the event loop.
        moved: when the latest `SMALL_BODY` bytes were complete.
        read: the number of bytes received.
        held: the number of bytes counted against the limits.
        is_whole: whether all of it is received.
        is_rejected: whether it was rejected to make room for others.
        waiting: the timeout of the wait for more bytes.
    """

    caller: str
    begun: float
    moved: float
    read: int = 0
    held: int = 0
    is_whole: bool = False
    is_rejected: bool = False
    waiting: asyncio.Timeout | None = None

    @property
    def deadline(self) -> tuple[float, str]:
        """The deadline for more bytes, and the error message if it passes."""
        end, message = self.begun + SLOWEST_SECONDS, _TOO_SLOW.format(SLOWEST_SECONDS)
        if self.read > SMALL_BODY and self.moved + STEP_SECONDS < end:
            end, message = self.moved + STEP_SECONDS, _STALLED.format(SMALL_BODY, STEP_SECONDS)
        return end, message


class BodyLimitMiddleware:
    """Rejects bodies that are too large or sent too slowly.

    If all bodies together have too many bytes, the body that waited longest for its next
    `SMALL_BODY` bytes is rejected.

    Args:
        app: the wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held: Counter[str] = Counter()
        self._slowest_first: dict[_Body, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        largest, too_large = _largest(scope)
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > largest):
            await error_response(413, "too_large", too_large)(scope, receive, send)
            return
        now = asyncio.get_running_loop().time()
        body = _Body(CALLER.get(), begun=now, moved=now)

        async def counted() -> Message:
            if body.is_whole:  # the caller checks whether the client has disconnected
                return await receive()
            message = await _next(body, receive)
            size = len(message.get("body", b""))
            body.is_whole = not message.get("more_body", False)
            if body.read + size > largest:
                raise HTTPException(413, too_large)
            self._count(body, size)
            return message

        async def released(message: Message) -> None:
            # a client that does not read its response must not block other senders
            self._release(body)
            await send(message)

        try:
            await self._app(scope, counted, released)
        finally:
            self._release(body)

    def _count(self, body: _Body, size: int) -> None:
        """Counts received bytes.

        Raises:
            BusyError: the limit is reached, and no other body can be rejected.
        """
        before, body.read = body.read, body.read + size
        if body.read <= SMALL_BODY:
            return
        self._held[body.caller] += body.read - body.held
        body.held = body.read
        if before // SMALL_BODY < body.read // SMALL_BODY:
            body.moved = asyncio.get_running_loop().time()
            self._slowest_first.pop(body, None)
            self._slowest_first[body] = None
        if body.is_whole:
            self._slowest_first.pop(body, None)
        while self._held[body.caller] > MOST_OF_ONE * MOST_AT_ONCE:
            self._reject_one(each for each in self._slowest_first if each.caller == body.caller)
        while self._held.total() > MOST_AT_ONCE:
            self._reject_one(self._slowest_first)
        if body.is_rejected:
            raise BusyError(_TOO_MANY)

    def _reject_one(self, slowest_first: Iterable[_Body]) -> None:
        """Rejects the first of some bodies to free its bytes.

        Raises:
            BusyError: there are no bodies.
        """
        body = next(iter(slowest_first), None)
        if body is None:
            raise BusyError(_TOO_MANY)
        body.is_rejected = True
        self._release(body)
        if body.waiting is not None and not body.waiting.expired():
            body.waiting.reschedule(asyncio.get_running_loop().time())

    def _release(self, body: _Body) -> None:
        """Removes the bytes of a body from the counts."""
        self._slowest_first.pop(body, None)
        self._held[body.caller] -= body.held
        body.held = 0
        if not self._held[body.caller]:
            del self._held[body.caller]


async def _next(body: _Body, receive: Receive) -> Message:
    """The next message of a body.

    Raises:
        BusyError: the body was rejected to make room for others.
        HTTPException: the body is sent too slowly.
    """
    end, too_slow = (0.0, "") if body.is_rejected else body.deadline
    try:
        async with asyncio.timeout_at(end) as body.waiting:
            message = await receive()
    except TimeoutError:
        if not body.is_rejected:
            raise HTTPException(408, too_slow) from None
    finally:
        body.waiting = None
    if body.is_rejected:
        raise BusyError(_TOO_MANY)
    return message


def _largest(scope: Scope) -> tuple[int, str]:
    """The largest size of a body in bytes, and the error message for a larger one."""
    if scope["method"] == "PUT":
        return LARGEST_ITEM, f"the item is too large: {LARGEST_ITEM:,} bytes are allowed"
    if scope["path"].startswith("/console/"):
        return LARGEST_FORM, f"the form is too large: {LARGEST_FORM:,} bytes are allowed"
    return LARGEST_BODY, f"the body is too large: {LARGEST_BODY:,} bytes are allowed"
