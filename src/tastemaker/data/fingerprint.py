"""Fingerprints of data files: equal fingerprints mean equal tables."""

import hashlib
import json
from pathlib import Path

from tastemaker.data.schema import Schema
from tastemaker.disk import reading
from tastemaker.errors import DataError

_FILE = ("decimal", "separator", "header", "encoding")
_READ_BY = {
    "events": ("event_columns", "default_kind", "clock", *_FILE),
    "items": ("item_columns", "item_roles", *_FILE),
    "users": ("user_columns", "user_roles", *_FILE),
}
_TIMES = ("time_unit", "time_format")
"""Used for events only, and only if the clock is absolute."""


def fingerprint(path: Path, table: str, schema: Schema) -> str:
    """The fingerprint of a file's content and read settings, as 64 hexadecimal digits.

    It depends on the settings that affect which rows are kept or their content. It does not depend
    on settings that affect only the meaning of the rows (weights, roles, `positive_threshold`) or
    when reading fails (`max_bad_rows`).

    Args:
        path: the file.
        table: `events`, `items` or `users`.
        schema: how it is read.

    Raises:
        DataError: the file cannot be read.

    Cost: one pass of SHA-256 over the file, about a second per gigabyte.
    """
    try:
        with reading(path) as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror})") from None
    settings = _READ_BY[table]
    if table == "events" and schema.clock == "absolute":
        settings += _TIMES
    read_by = schema.model_dump(mode="json", include=set(settings))
    # a row without a value is invalid only for ratings
    ratings = {name: kind.positive_threshold is not None for name, kind in schema.kinds.items()}
    parts = [content, read_by, ratings if table == "events" else None]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
