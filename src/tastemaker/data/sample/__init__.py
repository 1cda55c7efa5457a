"""The bundled MovieLens sample: real ratings for experiments; see NOTICE for its license."""

import hashlib
from importlib.resources import files

import polars as pl

from tastemaker.errors import DataError

SHA256 = {
    "events.parquet": "9a1752b64ad1c941f48954a5c6fdb84a4d3aee302ae3014d937d7417d5b28355",
    "items.parquet": "90915e1ff643b64a14817432a9af8ce5781dcc8248a2d9ff1b9e23bdd412b7f6",
}


def load_sample() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sample's two frames.

    Returns:
        events (user_id, item_id, rating 0.5–5, timestamp in seconds; 100,004 rows of 671 users)
        and items (item_id, title, year, genres separated by `|`; 9,066 films, 5 without title).

    Raises:
        DataError: a file is damaged.
    """
    events, items = (pl.read_parquet(sample_bytes(name)) for name in SHA256)
    return events, items


def sample_bytes(name: str) -> bytes:
    """One of the sample's files, verified.

    Raises:
        DataError: the file is damaged.
    """
    content = (files(__name__) / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise DataError(f"the bundled {name} is damaged: reinstall the package")
    return content
