"""Checks the port of the server and its API keys."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tastemaker.cli.doctor.finding import Finding
from tastemaker.cli.serve import free_address, url_of
from tastemaker.errors import TastemakerError
from tastemaker.project import Project
from tastemaker.registry import Registry

_TIMEOUT_SECONDS = 2.0
_LISTENS = "0A"
_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Server:
    """A running Tastemaker server: the version it serves, and the problem it reports."""

    version: str | None
    problem: str | None


def _keys(project: Project) -> Iterator[Finding]:
    """Checks whether a server can start on this address with these keys."""
    from tastemaker.serving.keys import KeyFile, check_listening

    keys = KeyFile(project.state)
    check_listening(keys, project.file.server.host)
    warning = keys.warning()
    if warning:
        yield Finding("keys", "note", warning)


def check_port(project: Project) -> Iterator[Finding]:
    """Checks whether `serve` can start or is already running."""
    yield from _keys(project)
    host, port = project.file.server.host, project.file.server.port
    if port == 0:
        free_address(host, 0)
        yield Finding("port", "ok", "a free port is selected at each start")
        return
    ours = _ours(f"{url_of(host, port)}/health/ready")
    if ours is not None:
        yield from _server_findings(ours, Registry(project.state), port)
        return
    try:
        free_address(host, port)
    except TastemakerError as problem:
        holder = _holder(port)
        if holder is None or "is not available" not in str(problem):
            yield Finding("port", "bad", str(problem))
            return
        fix = "stop it, or choose another port under [server] or with --port"
        yield Finding("port", "bad", f"{port} is in use by {holder}", fix)
        return
    yield Finding("port", "ok", f"{port} is free")


def _server_findings(server: _Server, registry: Registry, port: int) -> Iterator[Finding]:
    """Compares what a running server serves with what it should serve."""
    if server.version is None:
        message = f"{port}: a Tastemaker server is running but not ready: {server.problem}"
        yield Finding("port", "note", message)
        return
    if server.version not in {version.name for version in registry.versions()}:
        fix = "stop it, or choose another port under [server] or with --port"
        message = f"{port}: a server of another project is running ({server.version})"
        yield Finding("port", "bad", message, fix)
        return
    if server.problem:
        message = f"{port}: serving {server.version}; it reports: {server.problem}"
        yield Finding("port", "note", message)
    elif server.version != registry.current():
        message = f"{port}: still serving {server.version}, not {registry.current()}"
        yield Finding(
            "port", "note", message, "wait a moment; if this persists, restart the server"
        )
    else:
        yield Finding("port", "ok", f"{port}: serving {server.version}")


def _ours(url: str) -> _Server | None:
    """The Tastemaker server at this URL; None if there is none."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # ignores proxy settings
    try:
        with direct.open(url, timeout=_TIMEOUT_SECONDS) as response:
            payload = json.loads(response.read(_MAX_BYTES))
            return _Server(str(payload["model_version"]), payload.get("problem"))
    except urllib.error.HTTPError as error:
        return _not_ready(error)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HTTPException):
        return None


def _not_ready(response: Any) -> _Server | None:
    try:
        error = json.loads(response.read(_MAX_BYTES))["error"]
        return _Server(None, str(error["message"])) if error["code"] == "not_ready" else None
    except (OSError, ValueError, KeyError, TypeError, HTTPException):
        return None


def _holder(port: int) -> str | None:
    """The process that listens on a port, if /proc shows it."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # not Linux
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in sockets for handle in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"process {process.name} ({name})"
        except OSError:  # exited, or owned by another user
            continue
    return None
