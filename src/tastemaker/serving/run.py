"""Starts a server: in this process, or as several workers that share one port and one store."""

import faulthandler
import gc
import inspect
import logging
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from tastemaker.printable import log_printable
from tastemaker.progress import Progress
from tastemaker.project import Project, load_project
from tastemaker.serving.app import create_app
from tastemaker.serving.connections import Connections
from tastemaker.serving.draining import DRAINING, allow_new_connections, listeners
from tastemaker.serving.http_protocol import LimitedHttpProtocol
from tastemaker.serving.logs import log_settings
from tastemaker.serving.service import Service
from tastemaker.store import EventSource

_LOG = logging.getLogger(__name__)

_PROJECT = "TASTEMAKER_PROJECT"
_HOST = "TASTEMAKER_SERVER__HOST"
_PARENT = "TASTEMAKER_PARENT"
_GRACE_SECONDS = 10
_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 60
_HUNG_SECONDS = 15
"""A worker that is silent for this long is killed, with its connections. On a busy machine 5 s are
usual. The supervisor waits this long for a worker that is ending."""
_SWITCH_SECONDS = 0.001
"""How long a short request waits for the interpreter while a long one holds it."""


def application() -> ASGIApp:
    """The ASGI application of the project named in the environment, for worker processes."""
    log_printable()
    parent = int(os.environ[_PARENT])
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    project = load_project(Path(os.environ[_PROJECT]))
    _limit_connections(project)
    sys.setswitchinterval(_SWITCH_SECONDS)
    return create_app(Service(project, on_version=keep_from_collector), allow_slow=True)


def _limit_connections(project: Project) -> None:
    """Limits the connections of this process by the project's settings and the system's limits."""
    server = project.file.server
    LimitedHttpProtocol.open_connections = Connections(
        server.connections, server.connections_per_address
    )


def keep_from_collector() -> None:
    """Excludes long-lived objects from Python's garbage collector.

    Otherwise a full collection stops all requests for 100 to 200 ms, every few hundred requests.
    Costs one such collection.
    """
    gc.unfreeze()  # the previous version can be garbage now
    gc.collect()
    gc.freeze()


def _end_with(parent: int) -> None:
    """Stops this worker when its supervisor process is dead.

    A worker that stops alone blocks new connections for all workers. This thread unblocks them.
    """
    found: list[int] = []
    while os.getppid() == parent:
        sleep(_LOOK_SECONDS)
        found = found or listeners()
        if not DRAINING.begun:
            allow_new_connections(found)
    _LOG.error("the supervisor process is dead: stopping this worker")
    os.kill(os.getpid(), signal.SIGTERM)


def _allow_connections() -> None:
    """Raises the limit of open files to the system's maximum; each connection needs one file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(project: Path, host: str, port: int, workers: int, progress: Progress = Progress()) -> None:
    """Serves a project until it is interrupted. Active requests are answered first.

    Args:
        project: the project file.
        host: the address to listen on.
        port: the port.
        workers: the number of processes.
        progress: reports the import of files.
    """
    opened = load_project(project)
    settings: dict[str, Any] = {
        "host": host,
        "port": port,
        "http": LimitedHttpProtocol,
        "ws": "none",
        "log_config": log_settings(),
        "access_log": False,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
        "server_header": False,
        "timeout_keep_alive": _IDLE_SECONDS,
    }
    if "timeout_worker_healthcheck" in inspect.signature(uvicorn.run).parameters:
        settings["timeout_worker_healthcheck"] = _HUNG_SECONDS
    with suppress(ValueError, OSError):  # fails without a usable stderr
        faulthandler.enable()  # changed files of a version can crash the process
    log_printable()
    _allow_connections()
    sys.setswitchinterval(_SWITCH_SECONDS)
    source = EventSource(opened, progress)
    source.open().close()  # an invalid file is reported before the server starts
    for recovered in source.recovered:
        _LOG.warning("%s", recovered)
    if workers == 1:
        # Without a number uvicorn reads WEB_CONCURRENCY, and rejects several workers for an object.
        _limit_connections(opened)
        service = Service(opened, on_version=keep_from_collector)
        uvicorn.run(create_app(service, host=host), workers=1, **settings)
        return
    os.environ[_PROJECT] = str(project.resolve())
    os.environ[_HOST] = host
    os.environ[_PARENT] = str(os.getpid())
    target = f"{__name__}:application"
    uvicorn.run(target, factory=True, workers=workers, **settings)
