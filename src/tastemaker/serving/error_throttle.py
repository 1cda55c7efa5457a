"""Delays error responses to a client that receives many of them.

Errors cost the client nothing. A client that ignores `Retry-After` could otherwise keep the event
loop busy.
"""

import asyncio
from collections import OrderedDict
from math import exp
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker.serving.work_queue import CALLER, MOST_CALLERS

STEP_SECONDS = 0.002
"""Delay of an error response for each recent one beyond `ALLOWED`."""
ALLOWED = 50.0
"""Error responses in about a second that are sent without delay."""
LONGEST_SECONDS = 0.1
"""The longest delay for a small request; for a large one, times its weight."""
BYTES = 100_000
"""A body adds the weight of one request for each of this many bytes."""


class ErrorThrottleMiddleware:
    """Delays responses with status 400 or higher to callers that had many of them in a second.

    Args:
        app: the wrapped application. `CALLER` must be set.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._recent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message

        async def delayed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                seconds = self.delay(CALLER.get(), 1 + size / BYTES, monotonic())
                if seconds > 0:
                    await asyncio.sleep(seconds)
            await send(message)

        await self._app(scope, counted, delayed)

    def delay(self, caller: str, weight: float, now: float) -> float:
        """The delay of an error response in seconds. Also counts the error.

        Args:
            caller: the caller that gets the error.
            weight: the weight of the request; 1 for a small one.
            now: the monotonic time in seconds.
        """
        before, at = self._recent.pop(caller, (0.0, now))
        recent = before * exp(at - now) + weight
        self._recent[caller] = (recent, now)
        if len(self._recent) > MOST_CALLERS:
            self._recent.popitem(last=False)
        return min(LONGEST_SECONDS * weight, STEP_SECONDS * max(0.0, recent - ALLOWED))
