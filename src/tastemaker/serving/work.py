"""Where a server's work is done: never on the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

SCORING_THREADS = 1
"""Scoring holds the interpreter for most of its time: more threads would only take turns."""
STORING_THREADS = 4


class Threads:
    """Where a server's work is done: scoring one after the other, waiting side by side."""

    def __init__(self) -> None:
        self._scoring = ThreadPoolExecutor(SCORING_THREADS, "scoring")
        self._storing = ThreadPoolExecutor(STORING_THREADS, "storing")

    async def scored(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs what computes."""
        return await asyncio.get_running_loop().run_in_executor(self._scoring, work, *arguments)

    async def stored(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs what reads, checks or waits for the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._storing, work, *arguments)

    def close(self) -> None:
        """Ends when what has begun is done."""
        self._scoring.shutdown()
        self._storing.shutdown()
