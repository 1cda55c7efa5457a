"""Starting a server: in this process, or several workers that share one port and one store."""

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
"""A worker silent for so long is killed, with its connections; on a busy machine 5 s are usual. The
process that watches waits as long for a worker that ends just then."""
_SWITCH_SECONDS = 0.001
"""A short request waits so long for the interpreter while a long one holds it."""


def application() -> ASGIApp:
    """The application of the project named in the environment, for worker processes."""
    log_printable()
    parent = int(os.environ[_PARENT])
    threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    project = load_project(Path(os.environ[_PROJECT]))
    _limit_connections(project)
    sys.setswitchinterval(_SWITCH_SECONDS)
    return create_app(Service(project, on_version=keep_from_collector), allow_slow=True)


def _limit_connections(project: Project) -> None:
    """Limits the connections of this process as the project says, and as the system allows."""
    server = project.file.server
    LimitedHttpProtocol.open_connections = Connections(
        server.connections, server.connections_per_address
    )


def keep_from_collector() -> None:
    """Takes what is there for long out of the rounds of Python's garbage collector.

    With it a full round stops all requests for 100 to 200 ms, every few hundred answers. Costs one
    such round.
    """
    gc.unfreeze()  # the version before this one may be garbage by now
    gc.collect()
    gc.freeze()


def _end_with(parent: int) -> None:
    """Ends this worker when the process is dead that would replace and stop it.

    A worker that stops alone keeps new connections from all of them; here that ends.
    """
    found: list[int] = []
    while os.getppid() == parent:
        sleep(_LOOK_SECONDS)
        found = found or listeners()
        if not DRAINING.begun:
            allow_new_connections(found)
    _LOG.error("the process that started this worker is dead: it ends as well")
    os.kill(os.getpid(), signal.SIGTERM)


def _allow_connections() -> None:
    """Raises the number of open files to what the system allows; each connection takes one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(project: Path, host: str, port: int, workers: int, progress: Progress = Progress()) -> None:
    """Serves until it is interrupted; requests under way are answered first.

    Args:
        project: the project file.
        host: the address to listen at.
        port: the port.
        workers: how many processes.
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
    with suppress(ValueError, OSError):  # where nobody reads what is said
        faulthandler.enable()  # files of a version that are changed in place end the process
    log_printable()
    _allow_connections()
    sys.setswitchinterval(_SWITCH_SECONDS)
    source = EventSource(opened, progress)
    source.open().close()  # a bad file is told here, before anything starts
    for recovered in source.recovered:
        _LOG.warning("%s", recovered)
    if workers == 1:
        # Without a number uvicorn reads WEB_CONCURRENCY, and refuses several for an object.
        _limit_connections(opened)
        service = Service(opened, on_version=keep_from_collector)
        uvicorn.run(create_app(service, host=host), workers=1, **settings)
        return
    os.environ[_PROJECT] = str(project.resolve())
    os.environ[_HOST] = host
    os.environ[_PARENT] = str(os.getpid())
    target = f"{__name__}:application"
    uvicorn.run(target, factory=True, workers=workers, **settings)
