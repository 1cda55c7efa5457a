"""API keys: stored by name in `.tastemaker/keys.json`, each as its digest only.

`KeyFile` adds, lists and removes keys. `CurrentKeys` gives a running server the valid keys.
"""

import hashlib
import logging
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from pydantic import Field, ValidationError

from tastemaker.config import Settings
from tastemaker.data.times import MICROSECONDS, format_moment, now
from tastemaker.disk import OTHERS, make_private_folder, read_bytes, replacing
from tastemaker.errors import SettingError, StoreError, UnknownIdError, did_you_mean
from tastemaker.lock import locked

_LOG = logging.getLogger(__name__)

PREFIX = "tm_"
"""Prefix of every key, so that a leaked key can be recognized."""
_RANDOM_BYTES = 32
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_PATIENCE_SECONDS = 10.0

Stamp = tuple[int, int, int, int]


class Key(Settings):
    """The stored entry of a key."""

    name: str = Field(pattern=_NAME)
    """Its name."""
    made: str
    """When it was created, as ISO 8601."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its SHA-256 digest."""


class _Content(Settings):
    keys: tuple[Key, ...]


class KeyFile:
    """The key file. It is replaced in one rename, so that readers see the old or the new file.

    Args:
        state: the state folder of the project.

    Attributes:
        path: the path of the file.
    """

    def __init__(self, state: Path) -> None:
        self.path = state / "keys.json"

    @property
    def lost(self) -> bool:
        """Whether the file is missing although keys were added."""
        return self.stamp() is None and self._marker.exists()

    @property
    def _marker(self) -> Path:
        """Marks that keys were added, so that a later start detects a missing key file."""
        return self.path.with_suffix(".made")

    def listed(self) -> tuple[Key, ...]:
        """All keys; none if there is no file.

        Raises:
            StoreError: the file is damaged or cannot be read.
        """
        return () if self.stamp() is None else self.read()

    def read(self) -> tuple[Key, ...]:
        """All keys of an existing file.

        Raises:
            StoreError: the file is missing, is damaged or cannot be read.
        """
        try:
            stored = _Content.model_validate_json(read_bytes(self.path), strict=True).keys
        except ValidationError as problem:
            raise self._unusable(f"is damaged ({_reason(problem)})") from None
        except OSError as problem:
            raise self._unusable(f"cannot be read ({problem.strerror})") from None
        if len({key.name for key in stored}) < len(stored):
            raise self._unusable("is damaged (a name is listed twice)")
        return stored

    def add(self, name: str) -> str:
        """Adds a new key.

        Args:
            name: letters, digits, `.`, `_` and `-`; not the name of another key.

        Returns:
            The key. It is not stored and cannot be shown again.

        Raises:
            SettingError: the name is invalid or already used.
            StoreError: the file is damaged or cannot be read.
        """
        if not re.fullmatch(_NAME, name):
            raise SettingError(
                "a key's name must have at most 100 letters, digits, ., _ and -, and begin with "
                f"a letter or digit; got {name[:120]!r}"
            )
        value = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        moment = format_moment(now() // MICROSECONDS["s"] * MICROSECONDS["s"])
        with self._exclusive():
            stored = self.listed()
            if any(key.name == name for key in stored):
                raise SettingError(
                    f"there is a key named '{name}': choose another name, or remove it first with "
                    f"`tastemaker keys remove {name}`"
                )
            self._write((*stored, Key(name=name, made=moment, sha256=digest(value.encode()).hex())))
            self._marker.touch()
        return value

    def remove(self, name: str) -> None:
        """Removes a key. Servers reject it from then on.

        Raises:
            UnknownIdError: no key has this name.
            StoreError: the file is damaged or cannot be read.
        """
        with self._exclusive():
            stored = self.listed()
            left = tuple(key for key in stored if key.name != name)
            if len(left) == len(stored):
                hint = did_you_mean(name, [key.name for key in stored])
                raise UnknownIdError(f"no key is named '{name[:120]}'{hint}")
            self._write(left)

    def stamp(self) -> Stamp | None:
        """A stamp that changes with every write; None if there is no file.

        Raises:
            StoreError: the path is not a file, or it cannot be read.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            if self.path.is_symlink():
                raise self._unusable("is a link that leads nowhere") from None
            return None
        except OSError as problem:
            raise self._unusable(f"cannot be read ({problem.strerror})") from None
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("is not a file")
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size

    def warning(self) -> str | None:
        """A one-line warning about the location or permissions of the file; None if all is well."""
        try:
            others = self.path.stat().st_mode & OTHERS
        except OSError:
            return None
        problems = ["is a link to a file elsewhere"] if self.path.is_symlink() else []
        if others:
            problems.append("is open to others on this machine (fix it with chmod 600)")
        return f"{self.path} {' and '.join(problems)}" if problems else None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Locks the file, so that concurrent changes do not overwrite each other."""
        make_private_folder(self.path.parent)
        with locked(self.path.with_suffix(".lock"), StoreError, _PATIENCE_SECONDS):
            yield

    def _write(self, keys: tuple[Key, ...]) -> None:
        with replacing(self.path, 0o600) as part:
            part.write_text(_Content(keys=keys).model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _unusable(self, what: str) -> StoreError:
        return StoreError(
            f"{self.path} {what}, so all requests are rejected: restore it, or move it away and "
            "add new keys with `tastemaker keys add NAME`"
        )


class CurrentKeys:
    """The keys that are valid now. If the key file is missing or damaged, no key is valid.

    Args:
        file: the key file.
        required: whether clients must send a key even if none exists, because other machines can
            connect.
    """

    def __init__(self, file: KeyFile, required: bool) -> None:
        self._file = file
        self._required = required
        self._exists = False
        self._stamp: Stamp | None = None
        self._digests: tuple[bytes, ...] = ()
        self._last_problem = ""
        self.digests()  # a file that exists at the start must not be missing later

    def digests(self) -> tuple[bytes, ...] | None:
        """The digests of all valid keys; None if no key is required. Costs one `stat` call."""
        try:
            stamp = self._file.stamp()
            if stamp is not None and stamp != self._stamp:
                self._exists = True  # even if it cannot be read
                self._digests = tuple(bytes.fromhex(key.sha256) for key in self._file.read())
                self._stamp = stamp
        except StoreError as problem:
            self._exists = True
            return self._reject_all(str(problem))
        if stamp is None and (self._exists or self._file.lost):
            return self._reject_all(
                f"{self._file.path} is missing, so all requests are rejected: restore it, or add a "
                "key with `tastemaker keys add NAME`"
            )
        self._last_problem = ""
        found = self._digests if stamp is not None else ()
        return found if found or self._required else None

    def _reject_all(self, problem: str) -> tuple[bytes, ...]:
        if problem != self._last_problem:  # not at every request
            _LOG.error("%s", problem)
            self._last_problem = problem
        return ()


def digest(key: bytes) -> bytes:
    """The digest of a key that is stored.

    Plain SHA-256 is enough: a slow hash protects keys that can be guessed, and 256 random bits
    cannot be guessed.
    """
    return hashlib.sha256(key).digest()


def check_listening(file: KeyFile, host: str) -> tuple[Key, ...]:
    """The keys for a server that listens on this address.

    Raises:
        SettingError: other machines could connect, and there is no key.
        StoreError: the key file is missing, is damaged or cannot be read.
    """
    if file.lost:
        raise StoreError(
            f"{file.path} is missing, so all requests would be rejected: restore it, or add a "
            "key with `tastemaker keys add NAME`"
        )
    keys = file.listed()
    if not keys and not is_loopback(host):
        raise SettingError(
            f"listening on {host!r} lets other machines connect, and this project has no API key: "
            "add one with `tastemaker keys add NAME`, or listen on a loopback address such as "
            "127.0.0.1"
        )
    return keys


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address. False for unknown host names.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "shop", "")]
    [True, True, True, False, False, False]
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(problem: ValidationError) -> str:
    """What is wrong with the file, without any of its content."""
    first = problem.errors(include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
