"""Opens a file as a table of rows with line numbers; the format is detected by content.

Supports delimited text (CSV), JSON lines and Parquet. Text files may be gzipped and may have
another encoding than UTF-8.
"""

import errno
import gzip
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from tastemaker.data.delimited import open_delimited
from tastemaker.data.json_lines import json_form, open_json
from tastemaker.data.packed import is_gzipped, is_parquet, open_plain, text_codec
from tastemaker.data.plain import plain_frame
from tastemaker.data.schema import Schema
from tastemaker.data.table import Table, first_line, frame_table, refuse_reserved_names
from tastemaker.disk import TemporaryFolderError, reading, reading_text, temporary_folder
from tastemaker.errors import DataError

_COPIED_AT_ONCE = 1 << 22


@contextmanager
def open_table(
    path: Path | str, schema: Schema | None = None, name: str | None = None
) -> Iterator[Table]:
    """Opens a CSV, JSON lines or Parquet file.

    Args:
        path: the file.
        schema: its separator, header and encoding; by default a comma (a tab for `.tsv`), a header
            in the first line, and UTF-8.
        name: its name in messages; by default the name of the file.

    Raises:
        DataError: the file is missing, empty, binary or truncated, has no columns, has another
            delimiter, or has a column with a reserved name.
    """
    path, layout = Path(path), schema or Schema()
    name = name or path.name
    refuse_reserved_names(layout.header, name)
    try:
        with reading(path) as stream:
            head = stream.read(4)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; name a file in it") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror})") from None
    if not head:
        raise DataError(f"{name}: the file is empty; it needs a header line and rows")
    if is_parquet(path):
        yield _open_parquet(path, name)
        return
    try:
        packed, encoded = is_gzipped(path), text_codec(layout.encoding) != "utf-8"
    except DataError as problem:
        raise DataError(f"{name}: {problem}") from None
    suffix = Path(path.stem).suffix if packed else path.suffix
    if not (packed or encoded):
        yield _open_text(path, suffix, layout, name)
        return
    with temporary_folder(*_work(name, packed)) as folder:
        plain = path
        if packed:
            plain = folder / "plain"
            _decompress(path, plain, name)
        if encoded:
            source, plain = plain, folder / "utf-8"
            _decode(source, plain, layout.encoding, name)
        yield _open_text(plain, suffix, layout, name)


def _open_text(plain: Path, suffix: str, layout: Schema, name: str) -> Table:
    """The table of an unpacked UTF-8 text file."""
    separator = layout.separator or ("\t" if suffix == ".tsv" else ",")
    with reading(plain) as stream:
        is_json = json_form(stream.read(1 << 12)) is not None
    if layout.separator is None and not layout.header and is_json:
        return open_json(plain, name)
    return open_delimited(plain, name, separator, layout.header)


def _work(name: str, packed: bool) -> tuple[str, str]:
    """The operation that needs a temporary folder, and a fix if the folder is full."""
    if packed:
        return f"unpacking {name}", "unpack the file yourself and use the unpacked file"
    return f"decoding {name}", "save the file as UTF-8"


def _open_parquet(path: Path, name: str) -> Table:
    try:
        table = frame_table(plain_frame(pl.scan_parquet(path, glob=False)), name)
    except pl.exceptions.PolarsError as problem:
        raise DataError(f"{name}: not a readable Parquet file ({first_line(problem)})") from None
    if table.frame.select(pl.len()).collect().item() == 0:
        raise DataError(f"{name}: the table has columns but no rows")
    return table


def _decode(source: Path, target: Path, encoding: str, name: str) -> None:
    """Writes a text file as UTF-8."""
    try:
        with (
            reading_text(source, encoding, newline="") as given,
            target.open("w", encoding="utf-8", newline="") as written,
        ):
            shutil.copyfileobj(given, written, _COPIED_AT_ONCE)
    except OSError as problem:
        raise _refused(problem, source, name, packed=False) from None
    except UnicodeError as problem:
        raise DataError(f"{name}: not {encoding} text ({problem})") from None


def _decompress(source: Path, target: Path, name: str) -> None:
    try:
        with open_plain(source) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, _COPIED_AT_ONCE)
    except EOFError:
        raise DataError(f"{name}: the gzip file is truncated; download it again") from None
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise DataError(f"{name}: the gzip file is damaged ({problem})") from None
    except OSError as problem:
        raise _refused(problem, source, name, packed=True) from None


def _refused(problem: OSError, source: Path, name: str, *, packed: bool) -> Exception:
    """The error for a failed copy: the source cannot be read, or the temporary folder is full."""
    if problem.filename == str(source) or problem.errno == errno.EIO:
        return DataError(f"{name}: cannot be read ({problem.strerror or problem})")
    return TemporaryFolderError(problem, *_work(name, packed))
