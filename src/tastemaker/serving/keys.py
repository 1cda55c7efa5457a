"""Who may ask: keys by name in `.tastemaker/keys.json`, each as its digest alone.

`KeyFile` makes, lists and removes them; `CurrentKeys` is what a server at work looks at.
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
"""What every key begins with, so that one that has leaked is recognized."""
_RANDOM_BYTES = 32
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_PATIENCE_SECONDS = 10.0

Stamp = tuple[int, int, int, int]


class Key(Settings):
    """What is kept of a key."""

    name: str = Field(pattern=_NAME)
    """What people call it."""
    made: str
    """When, as ISO 8601."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its digest."""


class _Kept(Settings):
    keys: tuple[Key, ...]


class KeyFile:
    """The file of keys; replaced in one rename, so that a reader sees the old or the new.

    Args:
        state: the project's folder of state.

    Attributes:
        path: where the file lies.
    """

    def __init__(self, state: Path) -> None:
        self.path = state / "keys.json"

    @property
    def lost(self) -> bool:
        """Whether there is no file though keys were made."""
        return self.stamp() is None and self._made.exists()

    @property
    def _made(self) -> Path:
        """Tells that keys were made, for whoever starts when their file is gone."""
        return self.path.with_suffix(".made")

    def listed(self) -> tuple[Key, ...]:
        """Every key; none where there is no file.

        Raises:
            StoreError: the file is damaged or cannot be read.
        """
        return () if self.stamp() is None else self.read()

    def read(self) -> tuple[Key, ...]:
        """Every key of a file that has to be there.

        Raises:
            StoreError: it is not, is damaged or cannot be read.
        """
        try:
            kept = _Kept.model_validate_json(read_bytes(self.path), strict=True).keys
        except ValidationError as problem:
            raise self._unusable(f"is damaged ({_reason(problem)})") from None
        except OSError as problem:
            raise self._unusable(f"cannot be read ({problem.strerror})") from None
        if len({key.name for key in kept}) < len(kept):
            raise self._unusable("is damaged (a name stands in it twice)")
        return kept

    def add(self, name: str) -> str:
        """Makes a key.

        Args:
            name: letters, digits, `.`, `_` and `-`; no other key's.

        Returns:
            The key. It is kept nowhere and cannot be had again.

        Raises:
            SettingError: the name cannot be used, or is taken.
            StoreError: the file is damaged or cannot be read.
        """
        if not re.fullmatch(_NAME, name):
            raise SettingError(
                "a key's name is made of at most 100 letters, digits, ., _ and -, and begins with "
                f"a letter or digit; got {name[:120]!r}"
            )
        made = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        moment = format_moment(now() // MICROSECONDS["s"] * MICROSECONDS["s"])
        with self._alone():
            kept = self.listed()
            if any(key.name == name for key in kept):
                raise SettingError(
                    f"there is a key named '{name}': choose another name, or remove it first with "
                    f"`tastemaker keys remove {name}`"
                )
            self._write((*kept, Key(name=name, made=moment, sha256=digest(made.encode()).hex())))
            self._made.touch()
        return made

    def remove(self, name: str) -> None:
        """Removes a key; it lets nobody in from then on.

        Raises:
            UnknownIdError: there is none of that name.
            StoreError: the file is damaged or cannot be read.
        """
        with self._alone():
            kept = self.listed()
            left = tuple(key for key in kept if key.name != name)
            if len(left) == len(kept):
                hint = did_you_mean(name, [key.name for key in kept])
                raise UnknownIdError(f"no key is named '{name[:120]}'{hint}")
            self._write(left)

    def stamp(self) -> Stamp | None:
        """Differs after every write; None where there is no file.

        Raises:
            StoreError: there is something else in its place, or it cannot be looked at.
        """
        try:
            told = self.path.stat()
        except FileNotFoundError:
            if self.path.is_symlink():
                raise self._unusable("is a link that leads nowhere") from None
            return None
        except OSError as problem:
            raise self._unusable(f"cannot be read ({problem.strerror})") from None
        if not stat.S_ISREG(told.st_mode):
            raise self._unusable("is not a file")
        return told.st_ino, told.st_mtime_ns, told.st_ctime_ns, told.st_size

    def warning(self) -> str | None:
        """What should be mended about where the file lies and who can touch it, in one line."""
        try:
            others = self.path.stat().st_mode & OTHERS
        except OSError:
            return None
        told = ["is a link to a file elsewhere"] if self.path.is_symlink() else []
        if others:
            told.append("is open to others on this machine (chmod 600 mends it)")
        return f"{self.path} {' and '.join(told)}" if told else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of two who change the file at once, neither undoes what the other did."""
        make_private_folder(self.path.parent)
        with locked(self.path.with_suffix(".lock"), StoreError, _PATIENCE_SECONDS):
            yield

    def _write(self, keys: tuple[Key, ...]) -> None:
        with replacing(self.path, 0o600) as part:
            part.write_text(_Kept(keys=keys).model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _unusable(self, what: str) -> StoreError:
        return StoreError(
            f"{self.path} {what}, so nobody can be let in: restore it, or move it away and make "
            "new keys with `tastemaker keys add NAME`"
        )


class CurrentKeys:
    """The keys that count now; whatever is wrong with their file, nobody is let in for it.

    Args:
        file: where they are kept.
        required: whether a key is asked for even when there is none, because others than this
            machine can connect.
    """

    def __init__(self, file: KeyFile, required: bool) -> None:
        self._file = file
        self._required = required
        self._there = False
        self._stamp: Stamp | None = None
        self._digests: tuple[bytes, ...] = ()
        self._told = ""
        self.digests()  # what is there at the start may not be missed later

    def digests(self) -> tuple[bytes, ...] | None:
        """Of every key that lets in; None where nobody needs one. Costs a look at the file."""
        try:
            stamp = self._file.stamp()
            if stamp is not None and stamp != self._stamp:
                self._there = True  # also if it cannot be read
                self._digests = tuple(bytes.fromhex(key.sha256) for key in self._file.read())
                self._stamp = stamp
        except StoreError as problem:
            self._there = True
            return self._closed(str(problem))
        if stamp is None and (self._there or self._file.lost):
            return self._closed(
                f"{self._file.path} is gone, so nobody is let in: restore it, or make a key with "
                "`tastemaker keys add NAME`"
            )
        self._told = ""
        found = self._digests if stamp is not None else ()
        return found if found or self._required else None

    def _closed(self, problem: str) -> tuple[bytes, ...]:
        if problem != self._told:  # not at every request
            _LOG.error("%s", problem)
            self._told = problem
        return ()


def digest(key: bytes) -> bytes:
    """What is kept of a key.

    Plain SHA-256 is enough: a slow hash protects what can be guessed, and nobody guesses 256
    random bits.
    """
    return hashlib.sha256(key).digest()


def check_listening(file: KeyFile, host: str) -> tuple[Key, ...]:
    """The keys a server at this address begins with.

    Raises:
        SettingError: other machines could connect, and there is no key.
        StoreError: the file of keys is gone, damaged or cannot be read.
    """
    if file.lost:
        raise StoreError(
            f"{file.path} is gone, so nobody could be let in: restore it, or make a key with "
            "`tastemaker keys add NAME`"
        )
    keys = file.listed()
    if not keys and not is_loopback(host):
        raise SettingError(
            f"listening at {host!r} lets other machines in, and this project has no key: make one "
            "with `tastemaker keys add NAME`, or listen at a loopback address such as 127.0.0.1"
        )
    return keys


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address; of a name nobody can be sure.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "shop", "")]
    [True, True, True, False, False, False]
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _reason(problem: ValidationError) -> str:
    """What is wrong with the file, without a word of what stands in it."""
    first = problem.errors(include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
