"""Who is at the port that the project wants to serve at, and who may ask there."""

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

_PATIENCE_SECONDS = 2.0
_LISTENS = "0A"
_MOST_TO_READ = 1 << 16


@dataclass(frozen=True, slots=True)
class _Server:
    """One of ours: the version it answers with, and what it says stands in the way."""

    version: str | None
    problem: str | None


def _keys(project: Project) -> Iterator[Finding]:
    """Whether a server would begin at this address with these keys; told of the port if not."""
    from tastemaker.serving.keys import KeyFile, check_listening

    keys = KeyFile(project.state)
    check_listening(keys, project.file.server.host)
    warning = keys.warning()
    if warning:
        yield Finding("keys", "note", warning)


def look_at_port(project: Project) -> Iterator[Finding]:
    """Whether `serve` could begin, or serves already."""
    yield from _keys(project)
    host, port = project.file.server.host, project.file.server.port
    if port == 0:
        free_address(host, 0)
        yield Finding("port", "ok", "a free one is taken at each start")
        return
    ours = _ours(f"{url_of(host, port)}/health/ready")
    if ours is not None:
        yield from _told(ours, Registry(project.state), port)
        return
    try:
        free_address(host, port)
    except TastemakerError as problem:
        holder = _holder(port)
        if holder is None or "cannot be listened at" not in str(problem):
            yield Finding("port", "bad", str(problem))
            return
        fix = "stop it, or choose another port under [server] or with --port"
        yield Finding("port", "bad", f"{port} is held by {holder}", fix)
        return
    yield Finding("port", "ok", f"{port} is free")


def _told(server: _Server, registry: Registry, port: int) -> Iterator[Finding]:
    """What one of our servers does, beside what it should do."""
    if server.version is None:
        told = f"{port}: a server of ours, not ready: {server.problem}"
        yield Finding("port", "note", told)
        return
    if server.version not in {version.name for version in registry.versions()}:
        fix = "stop it, or choose another port under [server] or with --port"
        told = f"{port}: another project is served there ({server.version})"
        yield Finding("port", "bad", told, fix)
        return
    if server.problem:
        told = f"{port}: serving {server.version}, and it says: {server.problem}"
        yield Finding("port", "note", told)
    elif server.version != registry.current():
        told = f"{port}: still serving {server.version}, not {registry.current()}"
        yield Finding("port", "note", told, "wait a moment; if it stays so, start it again")
    else:
        yield Finding("port", "ok", f"{port}: serving {server.version}")


def _ours(url: str) -> _Server | None:
    """What one of our servers says of itself; None where there is none."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever is set
    try:
        with direct.open(url, timeout=_PATIENCE_SECONDS) as answer:
            told = json.loads(answer.read(_MOST_TO_READ))
            return _Server(str(told["model_version"]), told.get("problem"))
    except urllib.error.HTTPError as refused:
        return _not_ready(refused)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HTTPException):
        return None


def _not_ready(refused: Any) -> _Server | None:
    try:
        error = json.loads(refused.read(_MOST_TO_READ))["error"]
        return _Server(None, str(error["message"])) if error["code"] == "not_ready" else None
    except (OSError, ValueError, KeyError, TypeError, HTTPException):
        return None


def _holder(port: int) -> str | None:
    """The process that listens at a port, as far as /proc lets us see it."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # no Linux
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
        except OSError:  # gone, or another user's
            continue
    return None
