"""How the command line speaks: results to stdout, everything else to stderr."""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from tastemaker.progress import Progress

T = TypeVar("T")

QUIET_SECONDS = 2.0


class ProgressBars(Progress):
    """A bar on stderr with the remaining time, for work that lasts over two seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yields every step; draws nothing before two seconds are over."""
        if total is None and isinstance(steps, Sized):
            total = len(steps)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        bars = Bars(*columns, console=self._console, transient=True)
        task = bars.add_task(label, total=total)
        begun = time.monotonic()
        shown = False
        try:
            for step in steps:
                late = time.monotonic() - begun > QUIET_SECONDS
                if late and not shown and self._console.is_terminal:
                    bars.start()
                    shown = True
                yield step
                bars.advance(task)
        finally:
            if shown:
                bars.stop()


@contextmanager
def step(label: str) -> Iterator[None]:
    """Tells on stderr what is being done, and how long it took."""
    console = Console(stderr=True)
    begun = time.monotonic()
    if console.is_terminal:
        with console.status(label):
            yield
    else:
        yield
    console.print(f"{label} … {time.monotonic() - begun:.1f} s", highlight=False, style="dim")


def say(text: str) -> None:
    """A remark on stderr."""
    Console(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False)


def result(text: str) -> None:
    """The result, on stdout."""
    _write(text.rstrip("\n") + "\n")


def result_json(value: Any) -> None:
    """The result as one JSON document on stdout; what is no number becomes null."""
    _write(json.dumps(_finite(value), ensure_ascii=False, indent=2) + "\n")


def _write(text: str) -> None:
    """Writes at once, so that a reader who has gone is noticed here; never fails for a letter."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value
