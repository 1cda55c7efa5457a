"""`serve`: the project over HTTP, with its page."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from http.client import HTTPException
from ipaddress import ip_address

from tastemaker.cli import show
from tastemaker.errors import SettingError, TastemakerError
from tastemaker.project import Project
from tastemaker.registry import Registry

_LOOK_SECONDS = 0.2


def serve(
    project: Project,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    browser: bool = False,
) -> None:
    """Serves until it is interrupted.

    Args:
        project: what to serve; must be trained.
        host: a loopback address; by default the project's.
        port: 0 takes a free one; by default the project's.
        workers: how many processes answer; by default the project's.
        browser: whether to open the page.

    Raises:
        ArtifactError: nothing is trained yet.
        SettingError: the address is none of this machine's own, or the port is taken.
    """
    settings = project.file.server
    chosen = settings.host if host is None else host
    Registry(project.state).current()
    address = free_address(chosen, settings.port if port is None else port)
    url = f"http://{f'[{chosen}]' if ':' in chosen else chosen}:{address}"
    threading.Thread(target=_announce, args=(url, browser), daemon=True).start()
    from tastemaker.serving import run  # costs what only this verb needs

    run(
        project.path,
        chosen,
        address,
        settings.workers if workers is None else workers,
        show.ProgressBars(),
    )


def free_address(host: str, port: int) -> int:
    """A port that can be listened at: the given one, or any where it is 0.

    Raises:
        SettingError: the address is none of this machine's own, or the port is taken.
    """
    if host != "localhost" and not _is_loopback(host):
        raise SettingError(
            f"host must be a loopback address such as 127.0.0.1, got {host!r}: this version has no "
            "keys to let others in by; put a server that has them in front"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as problem:
            raise SettingError(
                f"port {port} on {host} cannot be listened at ({problem.strerror}): stop the "
                "program that holds it, or choose another with --port"
            ) from None
        return int(listener.getsockname()[1])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _announce(url: str, browser: bool) -> None:
    """Says when the server answers, or what stands in the way."""
    told = ""
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:  # noqa: S310
                version = json.load(answer)["model_version"]
            break
        except urllib.error.HTTPError as problem:
            reason = json.load(problem)["error"]["message"]
            if reason != told and "being loaded" not in reason:
                show.say(f"not ready: {reason}")
            told = reason
        except (OSError, ValueError, KeyError, HTTPException):
            pass  # not listening yet, or somebody else's answer
        time.sleep(_LOOK_SECONDS)
    show.say(f"serving {version} at {url}  (the page: {url}/, the interface: {url}/openapi.json)")
    show.say("Ctrl-C stops")
    if browser:
        webbrowser.open(url)


def free_or_any(host: str, port: int) -> int:
    """The given port if it is free, else any."""
    try:
        return free_address(host, port)
    except TastemakerError:
        return free_address(host, 0)
