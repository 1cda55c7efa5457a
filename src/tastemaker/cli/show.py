"""Output of the command line: results go to stdout, everything else to stderr."""

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
    """A progress bar on stderr with the remaining time, for work of over two seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, emoji=False)

    def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yields every step; shows no bar in the first two seconds."""
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
        start = time.monotonic()
        shown = False
        try:
            for step in steps:
                late = time.monotonic() - start > QUIET_SECONDS
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
    """Prints a step of the work on stderr, and how long it took."""
    console = Console(stderr=True, soft_wrap=True, emoji=False)
    label = _writable(printable(label), sys.stderr)
    start = time.monotonic()
    if console.is_terminal:
        with console.status(escape(label)):
            yield
    else:
        yield
    done = f"{label} … {time.monotonic() - start:.1f} s"
    console.print(done, highlight=False, markup=False, style="dim")


def say(text: str) -> None:
    """Prints a message on stderr."""
    console = Console(stderr=True, soft_wrap=True, emoji=False)
    text = _writable(printable_remark(text), sys.stderr)
    console.print(text, highlight=False, markup=False)


def result(text: str) -> None:
    """Prints the result on stdout; escapes characters that control a terminal."""
    _write(printable_text(text.rstrip("\n")) + "\n")


def result_lines(lines: Iterable[str]) -> None:
    """Prints the result line by line on stdout; also escapes line breaks inside a line."""
    result("\n".join(map(printable, lines)))


def result_json(value: Any) -> None:
    """Prints the result as one exact JSON document on stdout; NaN and infinity become null."""
    encoding = codecs.lookup(sys.stdout.encoding or "utf-8").name
    _write(to_json(_finite(value), ascii_only=encoding != "utf-8") + "\n")


def _write(text: str) -> None:
    """Writes and flushes, so that a closed pipe raises an error here."""
    sys.stdout.write(_writable(text, sys.stdout))
    sys.stdout.flush()


def _writable(text: str, stream: TextIO) -> str:
    """The text, with a question mark for each character that the stream cannot encode."""
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
