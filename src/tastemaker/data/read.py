"""CSV (also gzipped) and Parquet files as lazy tables of rows with line numbers.

A file is read fast and out of core; only one that is structurally broken is read again line by
line, so that the bad lines can be set aside with their reason and nothing else is lost.
"""

import csv
import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tastemaker.errors import DataError

LINE = "__line__"
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_KNOWN_BINARY = {b"PK\x03\x04": "a zip or spreadsheet", b"SQLite format": "an SQLite database"}
_SLOW_BATCH = 200_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column `LINE` tells where each row stands in its source.

    Attributes:
        frame: rows with their line; text alone from CSV, typed from Parquet and frames.
        source: what to call it in messages.
        columns: the source's columns.
        physical_lines: how many lines a CSV file has below its header; None for typed sources.
        path: the CSV file, for a second and slower look.
        separator: the CSV file's delimiter.
    """

    frame: pl.LazyFrame
    source: str
    columns: list[str]
    physical_lines: int | None = None
    path: Path = field(default_factory=Path)
    separator: str = ","

    def collect(self, *columns: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Evaluates `columns` (and `LINE`) over every row.

        Returns:
            The rows, and the lines that could not be split into fields (line, reason, row).

        Raises:
            DataError: the file is broken beyond single lines, such as a quote left open.
        """
        try:
            rows = self.frame.select(LINE, *columns).collect(engine="streaming")
            if self.physical_lines in (None, rows.height):
                return rows, _no_rejects()
        except pl.exceptions.ComputeError as problem:
            if self.physical_lines is None:
                raise DataError(f"{self.source}: cannot be read ({_first_line(problem)})") from None
        frame, rejects = _read_line_by_line(self.path, self.separator, self.source, self.columns)
        return frame.lazy().select(LINE, *columns).collect(), rejects

    def rows_at(self, lines: pl.Series) -> pl.DataFrame:
        """The given lines as they stand in the source: `LINE` and `row`, one JSON object each."""
        whole = pl.struct(pl.all().exclude(LINE)).struct.json_encode().alias("row")
        wanted = pl.col(LINE).is_in(lines.implode())
        try:
            return self.frame.filter(wanted).select(LINE, whole).collect(engine="streaming")
        except pl.exceptions.ComputeError:
            frame, _ = _read_line_by_line(self.path, self.separator, self.source, self.columns)
            return frame.filter(wanted).select(LINE, whole)


@contextmanager
def open_table(path: Path, separator: str | None = None) -> Iterator[Table]:
    """Opens a CSV, gzipped CSV or Parquet file, told apart by content rather than by name.

    Args:
        path: the file.
        separator: the delimiter of a CSV; by default a comma, or a tab for `.tsv`.

    Raises:
        DataError: missing, empty, binary, truncated, without columns, or of another delimiter.
    """
    name = path.name
    try:
        head = path.open("rb").read(1 << 16)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
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


def frame_table(frame: pl.LazyFrame, source: str) -> Table:
    """A table over a frame that is already in memory; lines count from 1."""
    numbered = frame.with_row_index(LINE, offset=1)
    return Table(numbered, source, frame.collect_schema().names())


def _open_parquet(path: Path) -> Table:
    try:
        table = frame_table(pl.scan_parquet(path), path.name)
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
        raise DataError(f"{name}: looks like {kind}, not text; save it as UTF-8 CSV or Parquet")
    columns = _header(head, name, separator)
    lines, quoted = _count_lines(path)
    if lines <= 1:
        raise DataError(f"{name}: has a header but no rows")
    frame = pl.scan_csv(
        path,
        separator=separator,
        infer_schema=False,
        quote_char='"' if quoted else None,
        row_index_name=LINE,
        row_index_offset=2,
    )
    return Table(frame, name, columns, lines - 1, path, separator)


def _header(head: bytes, name: str, separator: str) -> list[str]:
    try:
        line = head.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise DataError(f"{name}: the header is not UTF-8 text; save the file as UTF-8") from None
    columns = next(csv.reader([line], delimiter=separator), [])
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


def _count_lines(path: Path) -> tuple[int, bool]:
    """How many lines a file has, and whether a quotation mark stands anywhere in it."""
    lines, quoted, last = 0, False, b"\n"
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            lines += block.count(b"\n")
            quoted = quoted or b'"' in block
            last = block[-1:]
    return lines + (last != b"\n"), quoted


def _read_line_by_line(
    path: Path, separator: str, name: str, columns: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The slow and exact pass over a broken CSV: whole rows, and the lines set aside."""
    parts: list[pl.DataFrame] = []
    rejects: list[tuple[int, str, str]] = []
    rows: list[list[str | None]] = []
    numbers: list[int] = []

    def pack() -> None:
        data = dict(zip(columns, zip(*rows))) if rows else {c: [] for c in columns}
        schema = dict.fromkeys(columns, pl.String)
        lines = pl.Series(LINE, numbers, pl.UInt32)
        parts.append(pl.DataFrame(data, schema).insert_column(0, lines))
        rows.clear()
        numbers.clear()

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream, delimiter=separator, strict=True)
        start = 1
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as problem:
                raise DataError(
                    f"{name} line {start}: a quotation mark opens here and does not close properly"
                    f" ({problem}); close it, or write it twice inside a quoted field"
                ) from None
            if fields is None:
                break
            text = separator.join(fields)
            if start == 1 or not fields:
                pass
            elif "\ufffd" in text:
                rejects.append((start, "not UTF-8 text", text))
            elif len(fields) != len(columns):
                reason = f"{len(fields)} fields instead of {len(columns)}"
                rejects.append((start, reason, text))
            else:
                rows.append([value or None for value in fields])
                numbers.append(start)
            start = reader.line_num + 1
            if len(rows) >= _SLOW_BATCH:
                pack()
    pack()
    return pl.concat(parts), pl.DataFrame(rejects, _no_rejects().schema, orient="row")


def _no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema={LINE: pl.UInt32, "reason": pl.String, "row": pl.String})


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
