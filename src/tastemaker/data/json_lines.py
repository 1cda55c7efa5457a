"""Reading of JSON lines, or of one JSON array of objects, as a table of text."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl

from tastemaker.data.table import LINE, REJECTS, Table, refuse_reserved_names
from tastemaker.disk import reading_text
from tastemaker.errors import DataError

_BATCH = 100_000
_SHOWN = 1_000


def open_json(path: Path, name: str) -> Table:
    """A table of JSON objects: one per line, or all in one array.

    Text is kept, numbers and booleans become text, a column of lists becomes lists of text, and
    other nested values become JSON text. Lines that are not an object become rejects.

    Args:
        path: the file, not compressed.
        name: its name in messages.

    Raises:
        DataError: the file contains no object, the array is malformed, or a column has a reserved
            name.

    Cost: about 10 µs per row; an array is loaded into memory completely.
    """
    parts: list[pl.DataFrame] = []
    rejects: list[tuple[int, str, str]] = []
    columns: dict[str, list[str | None]] = {}
    lines: list[int] = []
    is_list: dict[str, bool] = {}

    def pack() -> None:
        refuse_reserved_names(columns, name)
        types = {LINE: pl.UInt32, **dict.fromkeys(columns, pl.String)}
        parts.append(pl.DataFrame({LINE: lines, **columns}, types))
        columns.clear()
        lines.clear()

    for line, value, text in _values(path, name):
        if not isinstance(value, dict):
            rejects.append((line, "not a JSON object", text[:_SHOWN]))
            continue
        for key, cell in value.items():
            column = columns.setdefault(key, [])
            column.extend([None] * (len(lines) - len(column)))
            column.append(_text(cell))
            if cell is not None:
                is_list[key] = is_list.get(key, True) and _is_flat_list(cell)
        lines.append(line)
        for column in columns.values():
            column.extend([None] * (len(lines) - len(column)))
        if len(lines) >= _BATCH:
            pack()
    if lines or not parts:
        pack()
    frame = pl.concat(parts, how="diagonal")
    if not frame.height:
        raise DataError(f'{name}: has no JSON object; each line must be one, such as {{"a": 1}}')
    lists = [column for column, flat in is_list.items() if flat]
    decoded = pl.col(lists).str.json_decode(pl.List(pl.String))
    return Table(
        frame.with_columns(decoded).lazy(),
        name,
        frame.columns[1:],
        pl.DataFrame(rejects, REJECTS, orient="row"),
    )


def json_form(start: bytes) -> Literal["lines", "array"] | None:
    """The JSON form of a file by its first bytes: `lines`, `array`, or None if it is not JSON."""
    start = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith(b"{"):
        return "lines"
    return "array" if start[:1] == b"[" and start[1:].lstrip()[:1] == b"{" else None


def _values(path: Path, name: str) -> Iterator[tuple[int, Any, str]]:
    """Line or position, its value (None if it is not JSON), and its text."""
    with reading_text(path, "utf-8-sig", "replace") as stream:
        start = stream.read(1)
        while start.isspace():
            start = stream.read(1)
        stream.seek(0)
        if start == "[":
            try:
                array = json.load(stream)
            except (ValueError, RecursionError) as problem:
                raise DataError(f"{name}: malformed JSON ({problem})") from None
            yield from ((at, value, str(value)) for at, value in enumerate(array, 1))
            return
        for line, text in enumerate(stream, 1):
            if text.strip():
                try:
                    yield line, json.loads(text), text
                except (ValueError, RecursionError):
                    yield line, None, text


def _text(cell: Any) -> str | None:
    """A cell as text without surrogates; a list of scalars as a JSON list of texts."""
    if cell is None or isinstance(cell, str):
        return cell if cell is None else cell.encode(errors="replace").decode()
    if _is_flat_list(cell):
        cell = [part if part is None else _text(part) for part in cell]
    return json.dumps(cell, ensure_ascii=False).encode(errors="replace").decode()


def _is_flat_list(cell: Any) -> bool:
    return isinstance(cell, list) and not any(isinstance(part, list | dict) for part in cell)
