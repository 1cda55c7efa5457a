"""What a data file comes to: equal fingerprints, equal tables."""

import hashlib
import json
from pathlib import Path

from tastemaker.data.schema import Schema
from tastemaker.errors import DataError

_TIMES = ("time_unit", "time_format", "decimal")
_FILE = ("separator", "header", "encoding")
_READ_BY = {
    "events": ("event_columns", "default_kind", "clock", *_TIMES, *_FILE),
    "items": ("item_columns", "item_roles", *_TIMES, *_FILE),
    "users": ("user_columns", "user_roles", *_TIMES, *_FILE),
}


def fingerprint(path: Path, table: str, schema: Schema) -> str:
    """What a table's content and the way it is read come to, as 64 hexadecimal digits.

    Args:
        path: the file.
        table: `events`, `items` or `users`.
        schema: how it is read.

    Raises:
        DataError: the file cannot be read.

    Cost: one pass of SHA-256 over the file, about a second per gigabyte.
    """
    try:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror})") from None
    read_by = schema.model_dump(mode="json", include=set(_READ_BY[table]))
    rated = {name: kind.uses_value for name, kind in schema.kinds.items()}
    told = json.dumps([content, read_by, rated if table == "events" else None], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
