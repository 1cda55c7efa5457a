"""Detection of file formats by their first bytes, and access to unpacked bytes."""

import codecs
import gzip
from pathlib import Path
from typing import IO, cast

from tastemaker.disk import reading
from tastemaker.errors import DataError

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


class _Unpacked(gzip.GzipFile):
    """The unpacked bytes of a gzipped file; also closes the underlying file."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(fileobj=stream, mode="rb")
        self._packed = stream

    def close(self) -> None:
        """Closes both files."""
        super().close()
        self._packed.close()


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet; False if it cannot be read."""
    return _begins_with(path, _PARQUET)


def is_gzipped(path: Path) -> bool:
    """Whether the file is gzipped; False if it cannot be read."""
    return _begins_with(path, _GZIP)


def open_plain(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if it is gzipped.

    Raises:
        OSError: the file cannot be opened.
    """
    stream = reading(path)
    if not is_gzipped(path):
        return stream
    return cast(IO[bytes], _Unpacked(stream))


def text_codec(encoding: str) -> str:
    """The name of the codec of a text encoding.

    Raises:
        DataError: the encoding does not exist, or does not encode text.
    """
    try:
        codec = codecs.lookup(encoding)
        "".encode(encoding)
    except (LookupError, ValueError):
        raise DataError(
            f"unknown encoding '{encoding}'; use one such as utf-8, cp1252, latin-1 or utf-16"
        ) from None
    return codec.name


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with reading(path) as stream:
            return stream.read(len(magic)) == magic
    except OSError:
        return False
