"""What a data file comes to: equal fingerprints, equal tables."""

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
"""Read by events alone, and only where their times are moments."""


def fingerprint(path: Path, table: str, schema: Schema) -> str:
    """What a table's content and the way it is read come to, as 64 hexadecimal digits.

    It changes with the settings that change which rows are kept or what is in them. Settings that
    change only what the rows mean (weights, roles, `positive_threshold`) or when reading stops
    (`max_bad_rows`) leave it as it is.

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
    # a row without a value is unusable for a rating alone
    ratings = {name: kind.positive_threshold is not None for name, kind in schema.kinds.items()}
    parts = [content, read_by, ratings if table == "events" else None]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
