import asyncio
import io
import logging
import logging.config
from collections.abc import Iterator

import pytest

from tastemaker.serving.logs import log_settings


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the server's logger writes."""
    said, logger = io.StringIO(), logging.getLogger("uvicorn")
    before = (logger.handlers[:], logger.level, logger.propagate)
    settings = log_settings()
    settings["handlers"]["stderr"]["stream"] = said
    logging.config.dictConfig(settings)
    yield said
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_logged_header_cannot_forge_a_line(logged: io.StringIO) -> None:
    agent = "curl\r\nERROR forged\x1b[2J\u202e"
    logging.getLogger("uvicorn.error").error("refused %s", agent)
    assert logged.getvalue() == "refused curl\\r\\nERROR forged\\x1b[2J\\u202e\n"


@pytest.mark.parametrize("grouped", [False, True])
def test_a_cancelled_request_leaves_no_traceback(logged: io.StringIO, grouped: bool) -> None:
    problem: BaseException = asyncio.CancelledError("stopped")
    if grouped:
        problem = BaseExceptionGroup("tasks", [problem])
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=problem)
    assert logged.getvalue() == ""


def test_any_other_failure_is_logged_with_its_traceback(logged: io.StringIO) -> None:
    group = BaseExceptionGroup("tasks", [asyncio.CancelledError(), ValueError("broken\nERROR x")])
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=group)
    first, *rest = logged.getvalue().splitlines()
    assert first == "Exception in ASGI application"
    assert any("broken" in line for line in rest)
    assert all(line.startswith("  ") for line in rest)
