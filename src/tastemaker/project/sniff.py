"""Detects the format of a text file: its encoding, its delimiter, and its header."""

import codecs
import csv
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tastemaker.data.packed import is_parquet, open_plain
from tastemaker.data.recognize import NAMES, TITLES, plain
from tastemaker.data.schema import Schema

_SEPARATORS = ("::", "\t", ";", "|", ",", " ")
_HEAD = 1 << 18
_LINES = 200
_AGREE = 0.9
_NUMERIC = 0.9
_USUAL_NAMES = {
    "id",
    *TITLES,
    *(
        name
        for ours in ("user_id", "item_id", "timestamp", "event_id")
        for name in NAMES[ours].split()
    ),
}
"""The usual names of other columns, such as `like` and `view`, are also usual values."""
_VALUE = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?$"
    r"|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$",
    re.IGNORECASE,
)
"""An ISO date, with or without a time of day, or a UUID."""


def sniff(path: Path) -> Schema:
    """Returns a schema with only the separator, header and encoding of a file.

    The separator is None if it is the usual one for the file extension. The columns are named
    `column_1` and so on if the file has no header.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        if is_parquet(path):
            return Schema()
        encoding = _encoding(path)
        with open_plain(path) as stream:
            head = stream.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return Schema()  # reading the table raises the error
    text = head.decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = [line for line in text.splitlines() if line.strip()][:_LINES]
    if len(head) == _HEAD and len(lines) > 1:
        lines.pop()  # may be incomplete
    if not lines or lines[0].lstrip().startswith(("{", "[{")):
        return Schema(encoding=encoding)
    separator = _separator(lines)
    usual = "\t" if Path(path.name.removesuffix(".gz")).suffix == ".tsv" else ","
    rows = [_split(line, separator or usual) for line in lines]
    header = () if _has_header(rows) else tuple(f"column_{at + 1}" for at in range(len(rows[0])))
    return Schema(
        separator=None if separator in (None, usual) else separator,
        header=header,
        encoding=encoding,
    )


def _encoding(path: Path) -> str:
    """UTF-16 by its mark; else UTF-8 if most non-ASCII text is valid; else cp1252 or latin-1."""
    valid = invalid = 0
    first = b""
    for chunk in _chunks(path):
        first = first or chunk[:4]
        if chunk.isascii():
            continue
        text = chunk.decode("utf-8", errors="replace")
        wrong = text.count("\ufffd")
        invalid += wrong
        valid += sum(not letter.isascii() for letter in text) - wrong
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8" if valid >= invalid else "cp1252" if _is_cp1252(path) else "latin-1"


def _is_cp1252(path: Path) -> bool:
    undefined = {0x81, 0x8D, 0x8F, 0x90, 0x9D}
    return not any(undefined & set(chunk) for chunk in _chunks(path))


def _chunks(path: Path) -> Iterator[bytes]:
    """Yields whole lines, a few megabytes at a time."""
    with open_plain(path) as stream:
        while chunk := stream.read(1 << 22):
            yield chunk + stream.readline()


def _split(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if len(separator) > 1:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def _separator(lines: list[str]) -> str | None:
    """The delimiter that splits nearly all lines into the same number of fields, or None."""
    for separator in _SEPARATORS:
        counts = Counter(len(_split(line, separator)) for line in lines)
        fields, count = counts.most_common(1)[0]
        by_header = len(_split(lines[0], separator))
        agreed = count >= _AGREE * len(lines) or abs(by_header - fields) <= 1
        if fields > 1 and by_header > 1 and agreed:
            return separator
    return None


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row is a header, such as words above a column of numbers.

    A row with a usual column name is a header. Otherwise, a row with a time, a UUID, or a value
    that occurs again below it is data.
    """
    first, below = rows[0], rows[1:]
    if not below:
        return True
    if not any(plain(cell) in _USUAL_NAMES for cell in first):
        if any(_VALUE.match(cell.strip()) for cell in first):
            return False
        for at, cell in enumerate(first):
            if cell.strip() and any(at < len(row) and row[at] == cell for row in below):
                return False
    numeric = [
        at
        for at in range(len(first))
        if sum(at < len(row) and _is_number(row[at]) for row in below) >= _NUMERIC * len(below)
    ]
    return not numeric or not all(_is_number(first[at]) for at in numeric)


def _is_number(text: str) -> bool:
    try:
        float(text.strip().replace(",", "."))
    except ValueError:
        return False
    return True
