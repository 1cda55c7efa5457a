"""`serve`: the project over HTTP, with its page."""

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
from tastemaker.cli.verbs import tell_leftovers
from tastemaker.data import times
from tastemaker.data.times import MICROSECONDS, parse_iso
from tastemaker.errors import SettingError, TastemakerError
from tastemaker.project import Project
from tastemaker.project.sections import Now
from tastemaker.registry import Registry

_LOOK_SECONDS = 0.2
_MEASURED_FROM: dict[Now, str] = {
    "auto": "there until newer events are served",
    "log": "the end of what was trained on",
    "clock": "today",
}


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
        host: the address to listen at; by default the project's.
        port: 0 takes a free one; by default the project's.
        workers: how many processes answer; by default the project's.
        browser: whether to open the page.

    Raises:
        ArtifactError: nothing is trained yet.
        SettingError: the address is none of this machine's own, the port is taken, or other
            machines could connect without a key.
        StoreError: the file of keys is damaged or cannot be read.
    """
    from tastemaker.serving import run  # costs what only this verb needs
    from tastemaker.serving.keys import KeyFile, check_listening, is_loopback

    settings = project.file.server
    chosen = settings.host if host is None else host
    registry = Registry(project.state)
    registry.current()
    keys = KeyFile(project.state)
    asked_for = check_listening(keys, chosen)
    tell_leftovers(registry)
    address = free_address(chosen, settings.port if port is None else port)
    warn(keys)
    if asked_for:
        show.say("whoever asks needs a key; in a browser it is the password, with any user name")
    if not is_loopback(chosen):
        show.say(
            "warning: other machines can connect, and keys travel in the clear unless TLS is put "
            "in front"
        )
    reached = (url_of(chosen, address), browser, settings.now)
    told = threading.Thread(target=_announce, args=reached, daemon=True)
    told.start()
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
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (socket.gaierror, UnicodeError):
            raise SettingError(f"host {host!r} is no address of this machine") from None
        except OSError as problem:
            if problem.errno == errno.EADDRNOTAVAIL:
                raise SettingError(f"host {host!r} is no address of this machine") from None
            raise SettingError(
                f"port {port} on {host} cannot be listened at ({problem.strerror}): stop the "
                "program that holds it, or choose another with --port"
            ) from None
        return int(listener.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """What a person on this machine opens to reach a server that listens there.

    >>> url_of("0.0.0.0", 8765), url_of("::", 8765), url_of("localhost", 80)
    ('http://127.0.0.1:8765', 'http://[::1]:8765', 'http://localhost:80')
    """
    named = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{named}]' if ':' in named else named}:{port}"


def _announce(url: str, browser: bool, now: Now) -> None:
    """Says when the server answers, or what stands in the way."""
    told = ""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine itself
    while True:
        try:
            with opener.open(f"{url}/health/ready", timeout=5) as answer:
                status = json.load(answer)
                version = status["model_version"]
            break
        except urllib.error.HTTPError as problem:
            with suppress(OSError, ValueError, KeyError, TypeError):  # somebody else's answer
                reason = json.load(problem)["error"]["message"]
                if reason != told and "being loaded" not in reason:
                    show.say(f"not ready: {reason}")
                told = reason
        except (OSError, ValueError, KeyError, HTTPException):
            pass  # not listening yet, or somebody else's answer
        time.sleep(_LOOK_SECONDS)
    show.say(f"serving {version} at {url}  (the page: {url}/, the interface: {url}/openapi.json)")
    for warning in ("problem", "note", "warning"):
        if warning in status:
            show.say(f"warning: {status[warning]}")
    if "log_ended" in status:
        show.say(old_log_warning(status["log_ended"], now))
    show.say("Ctrl-C stops")
    if browser:
        webbrowser.open(url)


def old_log_warning(ended: str, now: Now) -> str:
    """The line about a log that ended long ago.

    Args:
        ended: when, ISO 8601.
        now: `[server] now`.
    """
    moment = parse_iso(ended)
    days = 0 if moment is None else (times.now() - moment) // MICROSECONDS["d"]
    return (
        f"warning: the newest event is {days:,} days old ({ended[:10]}): popularity and ages are "
        f"measured from {_MEASURED_FROM[now]}; see [server] now"
    )


def free_or_any(host: str, port: int) -> int:
    """The given port if it is free, else any."""
    try:
        return free_address(host, port)
    except TastemakerError:
        return free_address(host, 0)
