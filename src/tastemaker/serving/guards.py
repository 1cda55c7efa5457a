"""What stands before every route: who is let in, and what browsers are told."""

import base64
import hmac
from collections.abc import Collection
from ipaddress import IPv6Address, ip_network
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker.serving.errors import refusal
from tastemaker.serving.keys import CurrentKeys, digest
from tastemaker.serving.work_queue import CALLER

WITHOUT_KEY = frozenset({"/health/live", "/health/ready"})
"""What whoever watches over a server may ask."""
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
    """Tells browsers to be careful with every answer; what an answer says itself stays.

    Args:
        app: whose answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; see ASGI."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS.items() if name not in said]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, with_headers)


class ApiKeyMiddleware:
    """Lets in whoever has a key, or, where there are no keys, whoever calls this machine by its
    own name; never what another site's page makes a browser send. Looks at headers alone.

    With keys any name will do: a name that was bent to this machine brings no key along.

    Args:
        app: what is guarded.
        keys: those that count.
        hosts: the names this server is called by.
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
            named = _parts(f"//{host}")[1]
            if named not in self._hosts:
                return refusal(403, "foreign_host", f"this server is not called {named[:80]!r}")
        elif scope["path"] not in WITHOUT_KEY:
            sent = [value for name, value in scope["headers"] if name == b"authorization"]
            if not _is_known(sent, digests):
                return _no_key()
        origin = headers.get(b"origin", b"").decode("latin-1")
        if b"origin" in headers and (not host or _parts(origin)[0] != host):
            told = f"a page of {origin[:80]!r} may not write here"
            return refusal(403, "foreign_origin", told)
        return None


def _caller(scope: Scope, with_keys: bool) -> str:
    """Who sent a request: the digest of the key, else the address; of IPv6 the first 64 bits."""
    for name, value in scope["headers"] if with_keys else ():
        if name == b"authorization" and (key := _key_of(value)) is not None:
            return f"key {digest(key).hex()[:16]}"
    return address_of(scope.get("client"))


def address_of(client: object) -> str:
    """The address of a connection as one caller; empty where it is not known.

    Of IPv6 the first 64 bits, which one client has; an IPv4 address that is written as IPv6, as a
    server at `::` sees it, is that IPv4 address.

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
    """Whether exactly one key was sent, and it is one of ours."""
    key = _key_of(sent[0]) if len(sent) == 1 else None
    if key is None:
        return False
    given = digest(key)
    known = False
    for one in digests:  # every one: the time it takes tells nothing
        known |= hmac.compare_digest(one, given)
    return known


def _key_of(authorization: bytes) -> bytes | None:
    """The key in a header: the whole of `Bearer`, the password of `Basic`."""
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


def _no_key() -> Response:
    response = refusal(
        401,
        "no_key",
        "this server asks for a key: send it as 'Authorization: Bearer KEY', or as the password of "
        "HTTP Basic with any user name",
    )
    for challenge in _CHALLENGES:
        response.headers.append("WWW-Authenticate", challenge)
    return response


def _parts(url: str) -> tuple[str, str]:
    """Where a URL leads, and the name alone; empty where it is none."""
    try:
        parts = urlsplit(url)
        return parts.netloc, parts.hostname or ""
    except ValueError:
        return "", ""
