"""How the command line speaks: results to stdout, everything else to stderr."""

import codecs
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from tastemaker.printable import printable, printable_remark, printable_text, to_json
from tastemaker.progress import Progress

T = TypeVar("T")

QUIET_SECONDS = 2.0


class ProgressBars(Progress):
    """A bar on stderr with the remaining time, for work that lasts over two seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, emoji=False)

    def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yields every step; draws nothing before two seconds are over."""
        if total is None and isinstance(steps, Sized):
            total = len(steps)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        bars = Bars(*columns, console=self._console, transient=True)
        task = bars.add_task(printable(label), total=total)
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
    console = Console(stderr=True, soft_wrap=True, emoji=False)
    label = _writable(printable(label), sys.stderr)
    begun = time.monotonic()
    if console.is_terminal:
        with console.status(escape(label)):
            yield
    else:
        yield
    done = f"{label} … {time.monotonic() - begun:.1f} s"
    console.print(done, highlight=False, markup=False, style="dim")


def say(text: str) -> None:
    """A remark on stderr."""
    console = Console(stderr=True, soft_wrap=True, emoji=False)
    text = _writable(printable_remark(text), sys.stderr)
    console.print(text, highlight=False, markup=False)


def result(text: str) -> None:
    """The result, on stdout; characters that act on a terminal are written as escapes."""
    _write(printable_text(text.rstrip("\n")) + "\n")


def result_lines(lines: Iterable[str]) -> None:
    """The same, a line for each; line breaks inside a line are written as escapes as well."""
    result("\n".join(map(printable, lines)))


def result_json(value: Any) -> None:
    """The result as one JSON document on stdout, exact; a value that is not a number is null."""
    encoding = codecs.lookup(sys.stdout.encoding or "utf-8").name
    _write(to_json(_finite(value), ascii_only=encoding != "utf-8") + "\n")


def _write(text: str) -> None:
    """Writes at once, so that a reader who has gone is noticed here."""
    sys.stdout.write(_writable(text, sys.stdout))
    sys.stdout.flush()


def _writable(text: str, stream: TextIO) -> str:
    """The text with a question mark for each letter the stream cannot write."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value
