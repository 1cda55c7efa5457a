"""`serve`: runs an HTTP server with a page for a project."""

import errno
import json
import socket
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from contextlib import suppress
from http.client import HTTPException

from tastemaker.cli import show
from tastemaker.cli.keys import warn
from tastemaker.cli.verbs import report_leftovers
from tastemaker.data import times
from tastemaker.data.times import MICROSECONDS, parse_iso
from tastemaker.errors import SettingError, TastemakerError
from tastemaker.project import Project
from tastemaker.project.sections import Now
from tastemaker.registry import Registry

_POLL_SECONDS = 0.2
_MEASURED_FROM: dict[Now, str] = {
    "auto": "there until newer events arrive",
    "log": "the end of the training data",
    "clock": "today",
}


def serve(
    project: Project,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    browser: bool = False,
) -> None:
    """Runs the server until it is interrupted.

    Args:
        project: the project; must be trained.
        host: the address to listen on; by default the project's.
        port: the port; 0 selects a free one; by default the project's.
        workers: the number of worker processes; by default the project's.
        browser: whether to open the page.

    Raises:
        ArtifactError: no version is trained yet.
        SettingError: the address does not belong to this machine, the port is taken, or other
            machines could connect without a key.
        StoreError: the key file is damaged or cannot be read.
    """
    from tastemaker.serving import run  # slow to import, and only this command needs it
    from tastemaker.serving.keys import KeyFile, check_listening, is_loopback

    settings = project.file.server
    address = settings.host if host is None else host
    registry = Registry(project.state)
    registry.current()
    keys = KeyFile(project.state)
    needs_key = check_listening(keys, address)
    report_leftovers(registry)
    free_port = free_address(address, settings.port if port is None else port)
    warn(keys)
    if needs_key:
        show.say(
            "clients must send an API key; in a browser it is the password, with any user name"
        )
    if not is_loopback(address):
        show.say(
            "warning: other machines can connect, and keys are sent unencrypted without a TLS proxy"
        )
    arguments = (url_of(address, free_port), browser, settings.now)
    announcer = threading.Thread(target=_announce, args=arguments, daemon=True)
    announcer.start()
    run(
        project.path,
        address,
        free_port,
        settings.workers if workers is None else workers,
        show.ProgressBars(),
    )


def free_address(host: str, port: int) -> int:
    """Returns a port to listen on: the given one, or any free one if it is 0.

    Raises:
        SettingError: the address does not belong to this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (socket.gaierror, UnicodeError):
            raise SettingError(f"host {host!r} is not an address of this machine") from None
        except OSError as problem:
            if problem.errno == errno.EADDRNOTAVAIL:
                raise SettingError(f"host {host!r} is not an address of this machine") from None
            raise SettingError(
                f"port {port} on {host} is not available ({problem.strerror}): stop the "
                "program that uses it, or choose another port with --port"
            ) from None
        return int(listener.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """Returns the URL of a server for a browser on this machine.

    >>> url_of("0.0.0.0", 8765), url_of("::", 8765), url_of("localhost", 80)
    ('http://127.0.0.1:8765', 'http://[::1]:8765', 'http://localhost:80')
    """
    named = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{named}]' if ':' in named else named}:{port}"


def _announce(url: str, browser: bool, now: Now) -> None:
    """Prints a message when the server is ready, or why it is not ready."""
    last_reason = ""
    # no proxy for this machine
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(f"{url}/health/ready", timeout=5) as response:
                status = json.load(response)
                version = status["model_version"]
            break
        except urllib.error.HTTPError as problem:
            with suppress(OSError, ValueError, KeyError, TypeError):  # another server
                reason = json.load(problem)["error"]["message"]
                if reason != last_reason and "being loaded" not in reason:
                    show.say(f"not ready: {reason}")
                last_reason = reason
        except (OSError, ValueError, KeyError, HTTPException):
            pass  # not listening yet, or another server
        time.sleep(_POLL_SECONDS)
    show.say(f"serving {version} at {url}  (page: {url}/, API: {url}/openapi.json)")
    for warning in ("problem", "note", "warning"):
        if warning in status:
            show.say(f"warning: {status[warning]}")
    if "log_ended" in status:
        show.say(old_log_warning(status["log_ended"], now))
    show.say("Ctrl-C stops")
    if browser:
        webbrowser.open(url)


def old_log_warning(ended: str, now: Now) -> str:
    """Returns the warning about an event log that ended long ago.

    Args:
        ended: the time of the newest event, ISO 8601.
        now: the setting `[server] now`.
    """
    moment = parse_iso(ended)
    days = 0 if moment is None else (times.now() - moment) // MICROSECONDS["d"]
    return (
        f"warning: the newest event is {days:,} days old ({ended[:10]}): popularity and ages are "
        f"measured from {_MEASURED_FROM[now]}; see [server] now"
    )


def free_or_any(host: str, port: int) -> int:
    """The given port if it is free, otherwise any free port."""
    try:
        return free_address(host, port)
    except TastemakerError:
        return free_address(host, 0)
