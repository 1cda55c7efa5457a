"""What a server logs: warnings and errors, a safe line each, and few of one kind."""

import logging
from asyncio import CancelledError
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any

MOST_ALIKE = 5
"""Lines of one kind in a minute; a traceback is logged once."""
_WINDOW_SECONDS = 60.0
_MOST_KINDS = 10_000


class WithoutCancelled(logging.Filter):
    """Leaves out the tracebacks of requests that a stopping server has cancelled.

    One line of uvicorn says how many there were.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        problem = record.exc_info[1] if record.exc_info else None
        return not (problem is not None and _is_cancelled(problem))


@dataclass
class _Kind:
    """What was logged of one kind.

    Attributes:
        since: when that was logged first.
        logged: how often.
        left_out: how often it was not logged.
    """

    since: float
    logged: int = 0
    left_out: int = 0


class LimitRepeats(logging.Filter):
    """Leaves out what a client can repeat at will; the next line of its kind says how many.

    Of one kind is what the same line of code logs; tracebacks, if their errors are also of one
    class and begin at one line.
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
            said = record.getMessage().rstrip("\n")
            record.msg = f"{said} … and {before.left_out:,} more of the same in {seconds:,.0f} s"
            record.args = None
        return True


def log_settings() -> dict[str, Any]:
    """How a server's loggers write; a worker process gets it as well."""
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
    """What records of one kind have in common."""
    kind: tuple[object, ...] = (record.pathname, record.lineno)
    if record.exc_info and record.exc_info[1] is not None:
        problem, trace = record.exc_info[1], record.exc_info[2]
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        line = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ()
        kind = (*kind, type(problem), *line)
    return kind


def _is_cancelled(problem: BaseException) -> bool:
    """Whether nothing else than a cancellation ended a request."""
    if isinstance(problem, BaseExceptionGroup):
        return all(map(_is_cancelled, problem.exceptions))
    return isinstance(problem, CancelledError)
