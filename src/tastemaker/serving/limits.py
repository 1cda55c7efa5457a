"""What a server takes in: no body too large, too slow, or one too many at a time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker.errors import BusyError
from tastemaker.serving.bodies import LARGEST_BODY, LARGEST_FORM, LARGEST_ITEM
from tastemaker.serving.errors import overloaded, refusal
from tastemaker.serving.work_queue import CALLER

SMALL_BODY = 65_536
"""Bytes. A smaller body is always read; a larger one must send so many more in `STEP_SECONDS`."""
STEP_SECONDS = 10.0
SLOWEST_SECONDS = 30.0
"""The longest time for a whole body."""
MOST_AT_ONCE = 64_000_000
"""Bytes that were received of all larger bodies and whose answers have not begun to be sent."""
MOST_OF_ONE = 0.5
"""The share of it that one caller may take."""
_TOO_SLOW = "the body came too slowly: it was not there after {:g} s"
_STALLED = "the body came too slowly: {:,} bytes in {:g} s are the least"
_TOO_MANY = "too many large bodies at once: try again shortly, or send it in parts"


class LoadSheddingMiddleware:
    """Refuses questions at the door while too many wait: reading them would take the time of those
    who were let in.

    Args:
        app: what is guarded.
        path: where questions are asked.
        check: raises BusyError while too many wait.
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
        caller: who sends it.
        begun: when it began, by the clock of the event loop.
        moved: when the latest `SMALL_BODY` bytes were there.
        read: bytes received.
        held: those that are counted.
        is_whole: whether all of it was received.
        is_ended: whether it makes room for others.
        waiting: ends the wait for more of it.
    """

    caller: str
    begun: float
    moved: float
    read: int = 0
    held: int = 0
    is_whole: bool = False
    is_ended: bool = False
    waiting: asyncio.Timeout | None = None

    @property
    def deadline(self) -> tuple[float, str]:
        """When more of it must have come, and what is wrong if it has not."""
        end, told = self.begun + SLOWEST_SECONDS, _TOO_SLOW.format(SLOWEST_SECONDS)
        if self.read > SMALL_BODY and self.moved + STEP_SECONDS < end:
            end, told = self.moved + STEP_SECONDS, _STALLED.format(SMALL_BODY, STEP_SECONDS)
        return end, told


class BodyLimitMiddleware:
    """Refuses bodies that are too large, before they are read or as soon as they are, and those
    that come too slowly.

    Of more bytes than the memory is meant to hold, the body ends that has waited longest for its
    next `SMALL_BODY` bytes.

    Args:
        app: what is guarded.
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
            await refusal(413, "too_large", too_large)(scope, receive, send)
            return
        now = asyncio.get_running_loop().time()
        body = _Body(CALLER.get(), begun=now, moved=now)

        async def counted() -> Message:
            if body.is_whole:  # whoever asks again wants to know whether the client has gone
                return await receive()
            message = await _next(body, receive)
            size = len(message.get("body", b""))
            body.is_whole = not message.get("more_body", False)
            if body.read + size > largest:
                raise HTTPException(413, too_large)
            self._count(body, size)
            return message

        async def released(message: Message) -> None:
            # what the client does not read must not keep others from sending
            self._release(body)
            await send(message)

        try:
            await self._app(scope, counted, released)
        finally:
            self._release(body)

    def _count(self, body: _Body, size: int) -> None:
        """Counts bytes that were received.

        Raises:
            BusyError: there is no room, and none can be made.
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
            self._end_one(each for each in self._slowest_first if each.caller == body.caller)
        while self._held.total() > MOST_AT_ONCE:
            self._end_one(self._slowest_first)
        if body.is_ended:
            raise BusyError(_TOO_MANY)

    def _end_one(self, slowest_first: Iterable[_Body]) -> None:
        """Ends the first of some bodies, so that its bytes are free.

        Raises:
            BusyError: there is none.
        """
        body = next(iter(slowest_first), None)
        if body is None:
            raise BusyError(_TOO_MANY)
        body.is_ended = True
        self._release(body)
        if body.waiting is not None and not body.waiting.expired():
            body.waiting.reschedule(asyncio.get_running_loop().time())

    def _release(self, body: _Body) -> None:
        """Counts the bytes of a body no longer."""
        self._slowest_first.pop(body, None)
        self._held[body.caller] -= body.held
        body.held = 0
        if not self._held[body.caller]:
            del self._held[body.caller]


async def _next(body: _Body, receive: Receive) -> Message:
    """The next message of a body.

    Raises:
        BusyError: the body has made room for others.
        HTTPException: it comes too slowly.
    """
    end, too_slow = (0.0, "") if body.is_ended else body.deadline
    try:
        async with asyncio.timeout_at(end) as body.waiting:
            message = await receive()
    except TimeoutError:
        if not body.is_ended:
            raise HTTPException(408, too_slow) from None
    finally:
        body.waiting = None
    if body.is_ended:
        raise BusyError(_TOO_MANY)
    return message


def _largest(scope: Scope) -> tuple[int, str]:
    """How many bytes a body may have, and what is wrong with a larger one."""
    if scope["method"] == "PUT":
        return LARGEST_ITEM, f"an item may have {LARGEST_ITEM:,} bytes"
    if scope["path"].startswith("/console/"):
        return LARGEST_FORM, f"a form may have {LARGEST_FORM:,} bytes"
    return LARGEST_BODY, f"a body may have {LARGEST_BODY:,} bytes"
