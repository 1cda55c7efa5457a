"""Answers HTTP/1.1 requests that offer a protocol upgrade, and ignores the offer.

`Upgrade: h2c` is sent by `curl --http2` and by Java's HttpClient. httptools stops at such a head,
so that the body and everything after it would be lost.
"""

from typing import Any

import httptools

_UPGRADE = (b"upgrade", b"http2-settings")


class UpgradeIgnoringParser:
    """httptools' parser, continued where it would stop for an upgrade.

    The head is parsed again without the offer. The protocol must ignore the callbacks of the first
    pass, while `is_offered` is true.

    Args:
        protocol: receives the callbacks; its `headers` and `url` are those of the current request.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parser = httptools.HttpRequestParser(protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    @property
    def is_offered(self) -> bool:
        """Whether the current request offers an upgrade and is not a `CONNECT` request."""
        return bool(self._parser.should_upgrade()) and self._parser.get_method() != b"CONNECT"

    def should_upgrade(self) -> bool:
        """False: no other protocol is supported."""
        return False

    def feed_data(self, data: bytes) -> None:
        """Parses bytes.

        Raises:
            httptools.HttpParserError: the bytes are not HTTP/1.
        """
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                if not self.is_offered:
                    message = "CONNECT is not supported"
                    raise httptools.HttpParserInvalidMethodError(message) from None
                data = self._head() + data[stopped.args[0] :]
                self._parser = httptools.HttpRequestParser(self._protocol)
            else:
                return

    def _head(self) -> bytes:
        """The head of the current request without the upgrade offer."""
        version = self._parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self._parser.get_method(), self._protocol.url, version)]
        for name, value in self._protocol.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _UPGRADE)
            if name not in _UPGRADE:
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])
