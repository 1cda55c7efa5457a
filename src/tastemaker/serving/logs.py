"""What a server logs: warnings and errors, a safe line each."""

import logging
from asyncio import CancelledError
from typing import Any


class WithoutCancelled(logging.Filter):
    """Leaves out the tracebacks of requests that a stopping server has cancelled.

    One line of uvicorn says how many there were.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        problem = record.exc_info[1] if record.exc_info else None
        return not (problem is not None and _is_cancelled(problem))


def log_settings() -> dict[str, Any]:
    """How uvicorn's loggers write; a worker process gets it as well."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": "tastemaker.printable.LogLines"}},
        "filters": {"running": {"()": f"{__name__}.WithoutCancelled"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "lines",
                "filters": ["running"],
            }
        },
        "loggers": {"uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
    }


def _is_cancelled(problem: BaseException) -> bool:
    """Whether nothing else than a cancellation ended a request."""
    if isinstance(problem, BaseExceptionGroup):
        return all(map(_is_cancelled, problem.exceptions))
    return isinstance(problem, CancelledError)
