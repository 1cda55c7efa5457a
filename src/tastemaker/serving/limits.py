"""What a server takes in: no body too large, too slow, or one too many at a time."""

import asyncio
from collections import Counter
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker.errors import BusyError
from tastemaker.serving.refusals import overloaded, refusal
from tastemaker.serving.work import CALLER

LARGEST_BODY = 10_000_000
MOST_AT_ONCE = 64_000_000
"""Bytes of all bodies together that are being read, or whose answers are being made."""
MOST_OF_ONE = 0.5
"""The share of it that one caller may take."""
SLOWEST_SECONDS = 30.0
_TOO_LARGE = f"a body may have {LARGEST_BODY:,} bytes"
_TOO_SLOW = f"the body was not there after {SLOWEST_SECONDS:g} s"
_TOO_MANY = "too many large bodies at once: try again shortly"


class TurnAway:
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


class LimitBodies:
    """Refuses bodies over 10 MB before they are read, or as soon as they grow over it; those that
    come too slowly; and more of them than the memory is meant to hold.

    Args:
        app: what is guarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held = 0
        self._of_caller: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        size = int(announced) if announced.isdigit() and len(announced) < 20 else 0
        if size > LARGEST_BODY:
            await refusal(413, "too_large", _TOO_LARGE)(scope, receive, send)
            return
        caller = CALLER.get()
        if self._is_too_much(caller, size):
            await overloaded(BusyError(_TOO_MANY))(scope, receive, send)
            return
        read, whole = 0, False
        end = asyncio.get_running_loop().time() + SLOWEST_SECONDS

        async def counted() -> Message:
            nonlocal read, whole
            if whole:  # whoever asks again wants to know whether the caller has gone
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, _TOO_SLOW) from None
            size = len(message.get("body", b""))
            whole = not message.get("more_body", False)
            read += size
            self._hold(caller, size)
            if read > LARGEST_BODY:
                raise HTTPException(413, _TOO_LARGE)
            if self._is_too_much(caller):
                raise BusyError(_TOO_MANY)
            return message

        async def released(message: Message) -> None:
            # what the client does not read must not keep others from sending
            nonlocal read
            self._hold(caller, -read)
            read = 0
            await send(message)

        try:
            await self._app(scope, counted, released)
        finally:
            self._hold(caller, -read)

    def _hold(self, caller: str, size: int) -> None:
        """Counts bytes that are held for a caller, or held no longer."""
        self._held += size
        self._of_caller[caller] += size
        if not self._of_caller[caller]:
            del self._of_caller[caller]

    def _is_too_much(self, caller: str, more: int = 0) -> bool:
        """Whether all callers, or this one, hold too many bytes."""
        of_one = self._of_caller[caller] + more
        return self._held + more > MOST_AT_ONCE or of_one > MOST_OF_ONE * MOST_AT_ONCE
