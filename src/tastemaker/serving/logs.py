"""The log of a server: warnings and errors, one safe line each, with repeats limited."""

import logging
from asyncio import CancelledError
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any

MOST_ALIKE = 5
"""Most lines of one kind per minute; a traceback is logged once."""
_WINDOW_SECONDS = 60.0
_MOST_KINDS = 10_000


class WithoutCancelled(logging.Filter):
    """Drops the tracebacks of requests that a stopping server cancels.

    One line of uvicorn reports their number.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        problem = record.exc_info[1] if record.exc_info else None
        return not (problem is not None and _is_cancelled(problem))


@dataclass
class _Kind:
    """The counts of one kind of record.

    Attributes:
        since: when the first record was logged.
        logged: how many records were logged.
        left_out: how many records were dropped.
    """

    since: float
    logged: int = 0
    left_out: int = 0


class LimitRepeats(logging.Filter):
    """Limits repeated records. The next record of the same kind reports how many were dropped.

    Records are of the same kind if the same line of code logs them. For tracebacks, the class of
    the error and the line that raised it must also be the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[object, ...], _Kind] = {}
        self._lock = Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        name, now = _kind_of(record), monotonic()
        most = 1 if record.exc_info else MOST_ALIKE
        with self._lock:
            before = self._kinds.setdefault(name, _Kind(now))
            kind, seconds = before, now - before.since
            if seconds >= _WINDOW_SECONDS:
                kind = self._kinds[name] = _Kind(now)
            if len(self._kinds) > _MOST_KINDS:
                self._kinds = {name: kind}
            if kind.logged >= most:
                kind.left_out += 1
                return False
            kind.logged += 1
        if kind is not before and before.left_out:
            message = record.getMessage().rstrip("\n")
            record.msg = f"{message} … and {before.left_out:,} more of the same in {seconds:,.0f} s"
            record.args = None
        return True


def log_settings() -> dict[str, Any]:
    """The logging configuration of a server, also used by worker processes."""
    logger = {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": "tastemaker.printable.LogLines"}},
        "filters": {
            "running": {"()": f"{__name__}.WithoutCancelled"},
            "repeats": {"()": f"{__name__}.LimitRepeats"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "lines",
                "filters": ["running", "repeats"],
            }
        },
        "loggers": {name: dict(logger) for name in ("uvicorn", "asyncio", "tastemaker")},
    }


def _kind_of(record: logging.LogRecord) -> tuple[object, ...]:
    """The kind of a record; the same for repeats of it."""
    kind: tuple[object, ...] = (record.pathname, record.lineno)
    if record.exc_info and record.exc_info[1] is not None:
        problem, trace = record.exc_info[1], record.exc_info[2]
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        line = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ()
        kind = (*kind, type(problem), *line)
    return kind


def _is_cancelled(problem: BaseException) -> bool:
    """Whether only a cancellation ended a request."""
    if isinstance(problem, BaseExceptionGroup):
        return all(map(_is_cancelled, problem.exceptions))
    return isinstance(problem, CancelledError)
