import asyncio
import io
import logging
import logging.config
from collections.abc import Iterator

import pytest

from tastemaker.serving.logs import log_settings


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """The output of the server's loggers."""
    said, settings = io.StringIO(), log_settings()
    loggers = [logging.getLogger(name) for name in settings["loggers"]]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    settings["handlers"]["stderr"]["stream"] = said
    logging.config.dictConfig(settings)
    yield said
    for logger, (handlers, level, propagates) in zip(loggers, before):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagates


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The elapsed seconds."""
    seconds = [0.0]
    monkeypatch.setattr("tastemaker.serving.logs.monotonic", lambda: seconds[0])
    return seconds


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


@pytest.mark.parametrize("name", ["uvicorn.error", "tastemaker.serving.service", "asyncio"])
def test_a_few_of_a_thousand_lines_are_logged(
    logged: io.StringIO, clock: list[float], name: str
) -> None:
    def refuse(n: int) -> None:
        logging.getLogger(name).warning("the answer %s is not logged", n)

    for n in range(1_000):
        refuse(n)
    lines = logged.getvalue().splitlines()
    assert lines == [f"the answer {n} is not logged" for n in range(5)]
    logging.getLogger(name).warning("the answer %s is late", 1)  # of another kind
    clock[0] += 60
    refuse(7)
    assert logged.getvalue().splitlines()[5:] == [
        "the answer 1 is late",
        "the answer 7 is not logged … and 995 more of the same in 60 s",
    ]
    clock[0] += 60
    refuse(8)
    assert logged.getvalue().splitlines()[7:] == ["the answer 8 is not logged"]


def test_a_traceback_is_logged_once_a_minute(logged: io.StringIO, clock: list[float]) -> None:
    def fail(kind: type[Exception]) -> None:
        try:
            raise kind("broken")
        except Exception:
            logging.getLogger("tastemaker.serving.errors").exception("it failed")

    for _ in range(100):
        fail(ValueError)
        fail(KeyError)
    assert logged.getvalue().count("Traceback") == 2
    clock[0] += 90
    fail(KeyError)
    assert logged.getvalue().count("Traceback") == 3
    assert "it failed … and 99 more of the same in 90 s" in logged.getvalue()
