"""Middleware for every route: API keys, host and origin checks, and security headers."""

import base64
import hmac
from collections.abc import Collection
from ipaddress import IPv6Address, ip_network
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker.serving.errors import error_response
from tastemaker.serving.keys import CurrentKeys, digest
from tastemaker.serving.work_queue import CALLER

WITHOUT_KEY = frozenset({"/health/live", "/health/ready"})
"""Paths that need no API key, for health checks."""
_CHALLENGES = ("Bearer", 'Basic realm="tastemaker", charset="UTF-8"')

_HEADERS = {
    b"content-security-policy": (
        b"default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class SecurityHeadersMiddleware:
    """Adds security headers to every response. Headers that a response already has are kept.

    Args:
        app: the wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; see ASGI."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS.items() if name not in present]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, with_headers)


class ApiKeyMiddleware:
    """Requires an API key; without any keys, requires one of the server's host names.

    Requests from pages of other sites are always rejected. Only headers are read. With API keys any
    host name is allowed: DNS rebinding does not give a page the key.

    Args:
        app: the wrapped application.
        keys: the current API keys.
        hosts: the host names of this server.
    """

    def __init__(self, app: ASGIApp, keys: CurrentKeys, hosts: Collection[str]) -> None:
        self._app = app
        self._keys = keys
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; see ASGI."""
        refused = self._refusal(scope) if scope["type"] == "http" else None
        if refused is None and scope["type"] == "http":
            CALLER.set(_caller(scope, self._keys.digests() is not None))
        await (refused or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        digests = self._keys.digests()
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if digests is None:
            host_name = _parts(f"//{host}")[1]
            if host_name not in self._hosts:
                return error_response(
                    403,
                    "foreign_host",
                    f"Invalid host: {host_name[:80]!r} is not a name of this server",
                )
        elif scope["path"] not in WITHOUT_KEY:
            sent = [value for name, value in scope["headers"] if name == b"authorization"]
            if not _is_known(sent, digests):
                return _invalid_key()
        origin = headers.get(b"origin", b"").decode("latin-1")
        if b"origin" in headers and (not host or _parts(origin)[0] != host):
            message = f"Invalid origin: pages of {origin[:80]!r} must not send requests here"
            return error_response(403, "foreign_origin", message)
        return None


def _caller(scope: Scope, with_keys: bool) -> str:
    """The caller of a request: the digest of its key, else its address (IPv6: first 64 bits)."""
    for name, value in scope["headers"] if with_keys else ():
        if name == b"authorization" and (key := _key_of(value)) is not None:
            return f"key {digest(key).hex()[:16]}"
    return address_of(scope.get("client"))


def address_of(client: object) -> str:
    """The address that identifies the caller of a connection; empty if it is not known.

    An IPv6 address is cut to its first 64 bits, which belong to one client. An IPv4-mapped IPv6
    address, as a server on `::` receives it, becomes the IPv4 address.

    >>> address_of(("2001:db8:0:1::7", 1234)), address_of(("::ffff:10.0.0.1", 5))
    ('2001:db8:0:1::/64', '10.0.0.1')
    """
    name = str(client[0]) if isinstance(client, tuple | list) and client else ""
    if ":" not in name:
        return name
    try:
        address = IPv6Address(name.split("%")[0])
    except ValueError:
        return name
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address.packed, 64), strict=False))


def _is_known(sent: list[bytes], digests: tuple[bytes, ...]) -> bool:
    """Whether exactly one key was sent and it is valid."""
    key = _key_of(sent[0]) if len(sent) == 1 else None
    if key is None:
        return False
    given = digest(key)
    known = False
    for each in digests:  # compare all, so that the time reveals nothing
        known |= hmac.compare_digest(each, given)
    return known


def _key_of(authorization: bytes) -> bytes | None:
    """The key in an Authorization header: the `Bearer` token or the `Basic` password."""
    scheme, _, sent = authorization.partition(b" ")
    sent = sent.strip(b" ")
    if scheme.lower() == b"bearer":
        return sent
    if scheme.lower() == b"basic":
        try:
            _, colon, password = base64.b64decode(sent, validate=True).partition(b":")
        except ValueError:
            return None
        return password if colon else None
    return None


def _invalid_key() -> Response:
    response = error_response(
        401,
        "no_key",
        "Missing or invalid API key: send it as 'Authorization: Bearer KEY', or as the password of "
        "HTTP Basic with any user name",
    )
    for challenge in _CHALLENGES:
        response.headers.append("WWW-Authenticate", challenge)
    return response


def _parts(url: str) -> tuple[str, str]:
    """The network location and host name of a URL; empty if it is not a URL."""
    try:
        parts = urlsplit(url)
        return parts.netloc, parts.hostname or ""
    except ValueError:
        return "", ""
