"""CSV (also gzipped) and Parquet files as lazy tables of rows with line numbers.

A CSV file is read fast and out of core where each of its lines is a whole record, which is checked
first; any other is read exactly, record by record. Lines that are no record are set aside with
their reason, and nothing is lost without a trace.
"""

import csv
import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tastemaker.data.schema import ColumnRole
from tastemaker.errors import DataError

LINE = "__line__"
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_KNOWN_BINARY = {
    b"PK\x03\x04": "a zip or spreadsheet",
    b"SQLite format": "an SQLite database",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_REJECTS = pl.Schema({LINE: pl.UInt32, "reason": pl.String, "row": pl.String})
_BATCH = 200_000
_ROW_BYTES = 160
"""Memory a row of an event log takes while it is cleaned, sorted and indexed."""
_TEXT_COPIES = 6
"""Memory a byte of an item's text takes while it is read and packed."""
_LABEL_BYTES = 130
"""Memory a label takes while its column is read and indexed."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column `LINE` tells where each row stands in its source.

    Attributes:
        frame: rows with their line; text alone from CSV, typed from Parquet and frames.
        source: what to call it in messages.
        columns: the source's columns.
        rejects: the lines that could not be split into fields (`LINE`, reason, row).
    """

    frame: pl.LazyFrame
    source: str
    columns: list[str]
    rejects: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_REJECTS))

    def collect(self, *columns: pl.Expr) -> pl.DataFrame:
        """Evaluates `columns` (and `LINE`) over every row.

        Raises:
            DataError: the file is damaged, or a column's type cannot be read as what it should be.
        """
        try:
            return self.frame.select(LINE, *columns).collect(engine="streaming")
        except pl.exceptions.PolarsError as problem:
            raise DataError(f"{self.source}: cannot be read ({_first_line(problem)})") from None

    def rows_at(self, lines: pl.Series) -> pl.DataFrame:
        """The given lines as they stand in the source: `LINE` and `row`, one JSON object each."""
        whole = pl.struct(pl.all().exclude(LINE)).struct.json_encode().alias("row")
        wanted = pl.col(LINE).is_in(lines.implode())
        return self.frame.filter(wanted).select(LINE, whole).collect(engine="streaming")


@contextmanager
def open_table(path: Path | str, separator: str | None = None) -> Iterator[Table]:
    """Opens a CSV, gzipped CSV or Parquet file, told apart by content rather than by name.

    Args:
        path: the file.
        separator: the delimiter of a CSV; by default a comma, or a tab for `.tsv`.

    Raises:
        DataError: missing, empty, binary, truncated, without columns, or of another delimiter.
    """
    path = Path(path)
    name = path.name
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; name a file in it") from None
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror})") from None
    if not head:
        raise DataError(f"{name}: the file is empty; it needs a header line and rows")
    if head.startswith(_PARQUET):
        yield _open_parquet(path)
    elif head.startswith(_GZIP):
        with tempfile.TemporaryDirectory(prefix="tastemaker-") as folder:
            plain = Path(folder) / "plain.csv"
            _decompress(path, plain)
            suffix = Path(path.stem).suffix
            yield _open_csv(plain, name, separator or _usual_separator(suffix))
    else:
        yield _open_csv(path, name, separator or _usual_separator(path.suffix))


def bytes_to_read(path: Path, roles: Mapping[str, ColumnRole] | None = None) -> int:
    """About how much memory it takes to read a file and index it; 0 for what cannot be read.

    Args:
        path: the file.
        roles: the columns that are kept of an item or user table; None for an event log.

    Cost: one pass over a CSV; of a Parquet file over the columns of text.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        measured = _parquet_size if head.startswith(_PARQUET) else _csv_size
        rows, text, labels = measured(path, roles or {})
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError):
        return 0  # reading says what is wrong
    return _ROW_BYTES * rows + (1 if roles is None else _TEXT_COPIES) * text + _LABEL_BYTES * labels


def _parquet_size(path: Path, roles: Mapping[str, ColumnRole]) -> tuple[int, int, int]:
    """Rows, and bytes and labels of the columns of text; small packed text may be long."""
    frame = pl.scan_parquet(path, glob=False)
    types = frame.collect_schema()
    text, labels = pl.lit(0), pl.lit(0)
    for name, role in roles.items():
        cell, kind = pl.col(name), types.get(name)
        if kind in (pl.String, pl.Categorical, pl.Enum):
            cell = cell.cast(pl.String)
            text += cell.str.len_bytes().cast(pl.Int64).sum()
            if role.role == "tags":
                mark = role.separator or "|"
                labels += cell.str.count_matches(mark, literal=True).cast(pl.Int64).sum()
        elif isinstance(kind, pl.List):
            labels += cell.list.len().cast(pl.Int64).sum()
    sizes = frame.select(pl.len().cast(pl.Int64), text=text, labels=labels)
    return sizes.collect(engine="streaming").row(0)


def _csv_size(path: Path, roles: Mapping[str, ColumnRole]) -> tuple[int, int, int]:
    """Lines, bytes, and marks between labels, of all columns together."""
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    marks = {(role.separator or "|").encode() for role in roles.values() if role.role == "tags"}
    lines = text = labels = 0
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            lines += chunk.count(b"\n")
            text += len(chunk)
            labels += sum(chunk.count(mark) for mark in marks)
    return lines, text, labels


def frame_table(frame: pl.LazyFrame, source: str) -> Table:
    """A table over a frame that is already in memory; lines count from 1."""
    numbered = frame.with_row_index(LINE, offset=1)
    return Table(numbered, source, frame.collect_schema().names())


def _open_parquet(path: Path) -> Table:
    try:
        table = frame_table(pl.scan_parquet(path, glob=False), path.name)
    except pl.exceptions.PolarsError as problem:
        raise DataError(
            f"{path.name}: not a readable Parquet file ({_first_line(problem)})"
        ) from None
    if table.frame.select(pl.len()).collect().item() == 0:
        raise DataError(f"{path.name}: the table has columns but no rows")
    return table


def _open_csv(path: Path, name: str, separator: str) -> Table:
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    if not head:
        raise DataError(f"{name}: the file is empty; it needs a header line and rows")
    if b"\0" in head:
        kind = next((k for magic, k in _KNOWN_BINARY.items() if head.startswith(magic)), "binary")
        raise DataError(
            f"{name}: looks like {kind}, not UTF-8 text; save it as UTF-8 CSV or Parquet"
        )
    columns = _header(head, name, separator)
    lines = pl.scan_lines(
        path, name="row", row_index_name=LINE, row_index_offset=1, glob=False
    ).slice(1)
    try:
        if lines.filter(pl.col("row") != "").head(1).collect(engine="streaming").is_empty():
            raise DataError(f"{name}: has a header but no rows")
        odd = lines.filter(~pl.col("row").str.contains(_record(separator, len(columns))))
        aside = odd.collect(engine="streaming")
    except pl.exceptions.ComputeError:  # not UTF-8
        return _read_exactly(path, separator, name, columns)
    marked = any('"' in column for column in columns)  # Polars does not read such a header back
    if marked or aside["row"].str.contains('"', literal=True).any():
        return _read_exactly(path, separator, name, columns)
    frame = pl.scan_csv(
        path,
        separator=separator,
        glob=False,
        schema=dict.fromkeys(columns, pl.String),
        truncate_ragged_lines=True,
        row_index_name=LINE,
        row_index_offset=2,
    )
    if aside.height:
        frame = frame.filter(~pl.col(LINE).is_in(aside[LINE].implode()))
    found = pl.col("row").str.count_matches(separator, literal=True) + 1
    reason = pl.format(f"{{}} fields instead of {len(columns)}", found)
    rejects = aside.filter(pl.col("row") != "").select(
        pl.col(LINE).cast(pl.UInt32), reason.alias("reason"), "row"
    )
    return Table(frame, name, columns, rejects)


def _record(separator: str, fields: int) -> str:
    """The pattern of a line that is one record of so many fields, in itself and beyond doubt."""
    mark = f"\\x{{{ord(separator):x}}}"
    quoted, plain = '"(?:[^"]|"")*"', f'[^"{mark}]'
    if fields == 1:
        return f"^(?:{quoted}|{plain}+)$"
    one = f"(?:{quoted}|{plain}*)"
    return f"^{one}(?:{mark}{one}){{{fields - 1}}}$"


def _header(head: bytes, name: str, separator: str) -> list[str]:
    try:
        line = head.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise DataError(f"{name}: the header is not UTF-8 text; save the file as UTF-8") from None
    if "\r" in line:
        raise DataError(
            f"{name}: its lines end in carriage returns alone; save it with usual line ends"
        )
    try:
        columns = next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as problem:
        raise DataError(f"{name} line 1: a quotation mark does not close ({problem})") from None
    if len(columns) == 1:
        for other, setting in ((";", ";"), ("\t", r"\t"), ("|", "|"), (",", ",")):
            if other != separator and other in line:
                raise DataError(
                    f"{name}: one column '{line[:40]}'; the fields look separated by "
                    f"'{setting}': set separator = \"{setting}\" under [data]"
                )
    if not any(columns):
        raise DataError(f"{name}: the first line is empty; it must name the columns")
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise DataError(f"{name}: the column '{twice[0]}' stands twice in the header")
    return columns


def _read_exactly(path: Path, separator: str, name: str, columns: list[str]) -> Table:
    """The slow pass over a CSV file whose records are not plainly its lines."""
    parts: list[pl.DataFrame] = []
    rejects: list[tuple[int, str, str]] = []
    rows: list[list[str | None]] = []
    numbers: list[int] = []

    def pack() -> None:
        cells = pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")
        parts.append(cells.insert_column(0, pl.Series(LINE, numbers, pl.UInt32)))
        rows.clear()
        numbers.clear()

    for line, fields in _records(path, separator, name):
        text = separator.join(fields)
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
    aside = pl.DataFrame(rejects, _REJECTS, orient="row")
    return Table(pl.concat(parts).lazy(), name, columns, aside)


def _records(path: Path, separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The records below the header, each with the line it begins at; blank lines are left out."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        reader = csv.reader(stream, delimiter=separator, strict=True)
        line = 1
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as problem:
                if "new-line" in str(problem):
                    raise DataError(
                        f"{name} line {line}: a carriage return stands inside it; remove it"
                    ) from None
                raise DataError(
                    f"{name} line {line}: a quotation mark opens here and does not close properly"
                    f" ({problem}); close it, or write it twice inside a quoted field"
                ) from None
            if fields is None:
                return
            if line > 1 and fields:
                yield line, fields
            line = reader.line_num + 1


def _readable(text: str) -> str:
    """Text with a replacement mark for each byte that is not UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _decompress(source: Path, target: Path) -> None:
    try:
        with gzip.open(source, "rb") as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 22)
    except EOFError:
        raise DataError(f"{source.name}: the gzip file is cut short; fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as problem:
        raise DataError(f"{source.name}: the gzip file is damaged ({problem})") from None


def _usual_separator(suffix: str) -> str:
    return "\t" if suffix == ".tsv" else ","


def _first_line(problem: Exception) -> str:
    return io.StringIO(str(problem)).readline().strip()
