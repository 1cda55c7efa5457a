"""Indexing of cleaned tables: ids become positions in sorted vocabularies, events are sorted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.catalogue import COLUMN_TYPES, NO_TIME, Catalogue, Column, VectorColumn
from tastemaker.data.events import Events
from tastemaker.data.ragged import offsets_of
from tastemaker.data.schema import ColumnRole, Schema
from tastemaker.data.vectors import as_matrix
from tastemaker.data.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Indexed:
    """The indexed tables.

    Attributes:
        catalogue: items and their columns.
        users: user id ↔ index.
        profiles: the user table's columns, by user index.
        events: sorted by user and time.
        described: bool[items], which items have a row in the item table.
    """

    catalogue: Catalogue
    users: Vocabulary
    profiles: dict[str, Column]
    events: Events
    described: NDArray[np.bool_]


def index_tables(
    log: pl.DataFrame, entities: Mapping[str, pl.DataFrame], schema: Schema
) -> Indexed:
    """Indexes cleaned tables.

    Args:
        log: user_id, item_id, kind, value, time, in the source's order.
        entities: optionally the tables `items` and `users`.
        schema: the kinds of event and the roles of columns.
    """
    indices, vocabularies, columns, has_row = {}, {}, {}, {}
    for ours, name, roles in (
        ("user_id", "users", schema.user_roles),
        ("item_id", "items", schema.item_roles),
    ):
        table = entities.get(name)
        ids, codes = merged_ids([log[ours], *([] if table is None else [table[ours]])])
        indices[ours] = codes[0].to_numpy()
        has_row[ours] = np.zeros(len(ids), np.bool_)
        if table is not None:
            has_row[ours][codes[1].to_numpy()] = True
        vocabularies[ours] = Vocabulary.of(ids)
        columns[ours] = (
            {} if table is None else _columns(table, codes[1].to_numpy(), len(ids), roles)
        )
    user, time = indices["user_id"], log["time"].to_numpy()
    n_users = len(vocabularies["user_id"])
    order = _by_user_and_time(user, log["time"], n_users)
    events = Events.of(
        offsets_of(np.bincount(user, minlength=n_users)),
        user[order],
        indices["item_id"][order],
        log["kind"].to_numpy()[order],
        log["value"].to_numpy()[order],
        time[order],
        schema.kinds,
    )
    return Indexed(
        Catalogue(vocabularies["item_id"], columns["item_id"]),
        vocabularies["user_id"],
        columns["user_id"],
        events,
        has_row["item_id"],
    )


def merged_ids(columns: Iterable[pl.Series]) -> tuple[list[str], list[pl.Series]]:
    """The ids of several columns as one sorted list, and each column as int32 positions in it.

    Args:
        columns: text or integer ids.

    Returns:
        The distinct ids as text, sorted; and the positions, one series per column.
    """
    given = list(columns)
    uniques = [column.unique() for column in given]
    texts = [unique.cast(pl.String) for unique in uniques]
    ids = pl.concat(texts).unique().sort()
    places = pl.DataFrame(
        {"text": ids, "place": pl.int_range(len(ids), dtype=pl.Int32, eager=True)}
    )
    codes = []
    for column, unique, text in zip(given, uniques, texts):
        known = pl.DataFrame({"id": unique, "text": text}).join(places, on="text", how="left")
        joined = pl.DataFrame({"id": column}).join(
            known.select("id", "place"), on="id", how="left", maintain_order="left"
        )
        codes.append(joined["place"])
    return ids.to_list(), codes


def _by_user_and_time(user: NDArray[np.int32], time: pl.Series, n_users: int) -> NDArray[np.intp]:
    """The stable order by (user, time): a sort by time, then a counting sort by user.

    The counting sort is SciPy's change from rows to columns; both steps together take less than
    half as long as `np.lexsort`.
    """
    stable = pl.arg_sort_by("time", maintain_order=True)
    by_time = time.to_frame("time").select(stable).to_series().to_numpy()
    n = len(by_time)
    entries = (np.ones(n, np.int8), user[by_time], np.arange(n + 1))
    by_user = csr_array(entries, shape=(n, n_users)).tocsc().indices
    return by_time[by_user].astype(np.intp)


def _columns(
    table: pl.DataFrame, places: NDArray[np.int32], n: int, roles: Mapping[str, ColumnRole]
) -> dict[str, Column]:
    """The columns of an entity table, ordered by index; missing for entities without a row."""
    row_of = np.full(n, -1, np.int64)
    row_of[places] = np.arange(len(places))
    rows = pl.Series(row_of).replace(-1, None)
    columns: dict[str, Column] = {}
    for name, role in roles.items():
        cells = table[name].gather(rows)
        if role.role == "vector":
            columns[name] = VectorColumn(as_matrix(cells))
            continue
        if role.role == "category":
            values: list[Any] = [[cell] if cell else None for cell in cells.to_list()]
        elif role.role == "time":
            values = [NO_TIME if cell is None else cell for cell in cells.to_list()]
        else:
            values = cells.to_list()
        columns[name] = COLUMN_TYPES[role.role].of(values)
    return columns
