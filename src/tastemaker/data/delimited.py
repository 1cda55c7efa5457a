"""Reading of delimited text (CSV and similar formats) as a table of text.

If each line of a file is a whole record, which is checked first, the file is read fast and out of
core; otherwise it is read record by record. Invalid lines are reported with a reason and are never
dropped silently.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from tastemaker.data.table import LINE, REJECTS, Table, refuse_reserved_names
from tastemaker.disk import reading, reading_text
from tastemaker.errors import DataError

_KNOWN_BINARY = {
    b"PK\x03\x04": "a zip or spreadsheet",
    b"SQLite format": "an SQLite database",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_BATCH = 200_000
_HEADER_LINES = 20
_LITERAL_QUOTES = ("\t",)
"""Delimiters of files in which an unclosed quotation mark is an ordinary character."""


def open_delimited(path: Path, name: str, separator: str, header: Sequence[str] = ()) -> Table:
    """A table of text.

    Args:
        path: the file, not compressed, UTF-8.
        name: its name in messages.
        separator: the delimiter. A delimiter of several characters, or a blank, which matches any
            number of blanks, splits lines without regard to quotation marks.
        header: the names of the columns, if the first line is data.

    Raises:
        DataError: the file is empty, is binary, has no columns or rows, or has another delimiter.
    """
    with reading(path) as stream:
        head = stream.read(1 << 16)
    if not head:
        raise DataError(f"{name}: the file is empty; it needs a header line and rows")
    if b"\0" in head:
        kind = next((k for magic, k in _KNOWN_BINARY.items() if head.startswith(magic)), "binary")
        extracted = "extract it, and " if "zip" in kind else ""
        raise DataError(
            f"{name}: looks like {kind}, not UTF-8 text; {extracted}save it as UTF-8 CSV or "
            "Parquet, or set its encoding under [data]"
        )
    columns = list(header) or _header(head, name, separator)
    lines = pl.scan_lines(path, name="row", row_index_name=LINE, row_index_offset=1, glob=False)
    lines = lines.slice(0 if header else 1)
    by_line = _by_line(separator)
    try:
        if lines.filter(pl.col("row") != "").head(1).collect(engine="streaming").is_empty():
            raise DataError(f"{name}: has a header but no rows")
        if by_line:
            return _split_lines(lines, name, separator, columns)
        odd = lines.filter(~pl.col("row").str.contains(_record(separator, len(columns))))
        invalid = odd.collect(engine="streaming")
    except pl.exceptions.ComputeError:  # not UTF-8
        if by_line:
            raise DataError(f"{name}: not UTF-8 text; set its encoding under [data]") from None
        return _read_exactly(path, separator, name, columns, has_header=not header)
    marked = any('"' in column for column in columns)  # Polars cannot read such a header
    if marked or invalid["row"].str.contains('"', literal=True).any():
        try:
            return _read_exactly(path, separator, name, columns, has_header=not header)
        except DataError:
            if separator not in _LITERAL_QUOTES or not _splits(invalid["row"], separator, columns):
                raise
        return _split_lines(lines, name, separator, columns)
    nameless = any(column == f"column_{at}" for at, column in enumerate(columns, 1))
    frame = pl.scan_csv(
        path,
        separator=separator,
        glob=False,
        has_header=not header and not nameless,  # Polars rejects names that are not in the schema
        skip_rows=1 if nameless and not header else 0,
        schema=dict.fromkeys(columns, pl.String),
        truncate_ragged_lines=True,
        row_index_name=LINE,
        row_index_offset=1 if header else 2,
    )
    if invalid.height:
        frame = frame.filter(~pl.col(LINE).is_in(invalid[LINE].implode()))
    return Table(frame, name, columns, _rejected(invalid, separator, len(columns)))


def _by_line(separator: str) -> bool:
    """Whether lines are always split at the delimiter, ignoring quotation marks."""
    return len(separator.encode()) > 1 or separator == " "


def _rejected(invalid: pl.DataFrame, separator: str, fields: int) -> pl.DataFrame:
    """Lines that are not a record, with the reason; without blank lines."""
    found = pl.col("row").str.count_matches(separator, literal=True) + 1
    reason = pl.format(f"{{}} fields instead of {fields}", found)
    return invalid.filter(pl.col("row") != "").select(
        pl.col(LINE).cast(pl.UInt32), reason.alias("reason"), "row"
    )


def _record(separator: str, fields: int) -> str:
    """A pattern for lines that are unambiguously one record of `fields` fields.

    A trailing delimiter is allowed, as some programs write one.
    """
    mark = f"\\x{{{ord(separator):x}}}"
    quoted, plain = '"(?:[^"]|"")*"', f'[^"{mark}]'
    if fields == 1:
        return f"^(?:{quoted}|{plain}+)$"
    one = f"(?:{quoted}|{plain}*)"
    return f"^{one}(?:{mark}{one}){{{fields - 1}}}{mark}?$"


def _splits(lines: pl.Series, separator: str, columns: list[str]) -> bool:
    """Whether every line has the right number of fields if quotation marks are ordinary."""
    marks = lines.str.count_matches(separator, literal=True)
    ended = lines.str.ends_with(separator) & (marks == len(columns))
    return bool(((marks == len(columns) - 1) | ended).all())


def _split_lines(lines: pl.LazyFrame, name: str, separator: str, columns: list[str]) -> Table:
    """Lines split at each delimiter; quotation marks are ordinary characters."""
    row = pl.col("row").str.strip_prefix("\ufeff")  # a byte-order mark, without a header
    if separator == " ":
        row = row.str.replace_all("\t", " ", literal=True).str.strip_chars(" ")
        row = row.str.replace_all(r" {2,}", " ")
    fields, count = row.str.split(separator), pl.col("fields").list.len()
    split = lines.filter(pl.col("row") != "").with_columns(fields.alias("fields"))
    ended = (count == len(columns) + 1) & (pl.col("fields").list.last() == "")
    whole = (count == len(columns)) | ended
    invalid = split.filter(~whole).select(LINE, "row").collect(engine="streaming")
    cells = [
        pl.when(pl.col("fields").list.get(at) != "")
        .then(pl.col("fields").list.get(at))
        .alias(column)
        for at, column in enumerate(columns)
    ]
    frame = split.filter(whole).select(pl.col(LINE).cast(pl.UInt32), *cells)
    return Table(frame, name, columns, _rejected(invalid, separator, len(columns)))


def _header(head: bytes, name: str, separator: str) -> list[str]:
    try:
        line = head.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise DataError(f"{name}: the header is not UTF-8 text; save the file as UTF-8") from None
    if "\r" in line:
        raise DataError(
            f"{name}: lines end in carriage returns only; save it with standard line ends"
        )
    try:
        if _by_line(separator):
            columns = line.split(None if separator == " " else separator)
        else:
            columns = next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as problem:
        if _is_record(head, separator):
            raise DataError(
                f"{name}: the header has a line break inside a quoted name; write the names on one "
                "line, or remove the header and name the columns with header = [...]"
            ) from None
        raise DataError(f"{name} line 1: a quotation mark does not close ({problem})") from None
    if len(columns) == 1:
        for other, setting in ((";", ";"), ("\t", r"\t"), ("|", "|"), (",", ",")):
            if other != separator and other in line:
                raise DataError(
                    f"{name}: one column '{line[:40]}'; the fields seem to be separated by "
                    f"'{setting}': set separator = \"{setting}\" under [data]"
                )
    if not any(columns):
        raise DataError(f"{name}: the first line is empty; it must name the columns")
    columns = [column or f"column_{at}" for at, column in enumerate(columns, 1)]
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise DataError(
            f"{name}: the column '{twice[0]}' occurs twice in the header; rename one of them in "
            "the file, or remove the header and name the columns with header = [...]"
        )
    refuse_reserved_names(columns, name)
    return columns


def _is_record(head: bytes, separator: str) -> bool:
    """Whether the file starts with a record that spans several lines."""
    text = head.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    reader = csv.reader(
        text.splitlines(keepends=True)[:_HEADER_LINES], delimiter=separator, strict=True
    )
    try:
        next(reader, None)
    except csv.Error:
        return False
    return True


def _read_exactly(
    path: Path, separator: str, name: str, columns: list[str], *, has_header: bool
) -> Table:
    """Reads a CSV file record by record, if its lines are not its records."""
    parts: list[pl.DataFrame] = []
    rejects: list[tuple[int, str, str]] = []
    rows: list[list[str | None]] = []
    numbers: list[int] = []

    def pack() -> None:
        cells = pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")
        parts.append(cells.insert_column(0, pl.Series(LINE, numbers, pl.UInt32)))
        rows.clear()
        numbers.clear()

    for line, fields in _records(path, separator, name, has_header=has_header):
        text = separator.join(fields)
        if len(fields) == len(columns) + 1 and not fields[-1]:
            fields.pop()  # trailing delimiter
        if not text.isascii() and text != (readable := _readable(text)):
            rejects.append((line, "not UTF-8 text", readable))
        elif len(fields) != len(columns):
            rejects.append((line, f"{len(fields)} fields instead of {len(columns)}", text))
        else:
            rows.append([value or None for value in fields])
            numbers.append(line)
        if len(rows) >= _BATCH:
            pack()
    pack()
    invalid = pl.DataFrame(rejects, REJECTS, orient="row")
    return Table(pl.concat(parts).lazy(), name, columns, invalid)


def _records(
    path: Path, separator: str, name: str, *, has_header: bool
) -> Iterator[tuple[int, list[str]]]:
    """The records below the header, each with its first line number; without blank lines."""
    with reading_text(path, "utf-8-sig", "surrogateescape", "\n") as stream:
        reader = csv.reader(stream, delimiter=separator, strict=True)
        line = 1
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as problem:
                if "new-line" in str(problem):
                    raise DataError(
                        f"{name} line {line}: contains a carriage return; remove it"
                    ) from None
                raise DataError(
                    f"{name} line {line}: a quotation mark opens here and does not close properly"
                    f" ({problem}); close it, or double it inside a quoted field"
                ) from None
            if fields is None:
                return
            if fields and not (has_header and line == 1):
                yield line, fields
            line = reader.line_num + 1


def _readable(text: str) -> str:
    """Text with a replacement character for each byte that is not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")
