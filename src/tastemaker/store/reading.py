"""Reads a store as a Dataset: the dataset of the imported files plus all served data."""

import json
from typing import Any

import polars as pl
from sqlalchemy import Connection, func, select

from tastemaker.data.additions import fitting_cell
from tastemaker.data.clean import Cleaned
from tastemaker.data.dataset import Dataset
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import ColumnRole, Exclude, Schema
from tastemaker.data.vectors import VECTOR
from tastemaker.errors import StoreError
from tastemaker.store import tables
from tastemaker.store.selecting import Conditions, select_events
from tastemaker.store.tables import (
    NOT_REMOVED,
    SERVED,
    VISIBLE,
    events,
    items,
    sources,
    store_id,
    users,
)

_ROWS_AT_A_TIME = 200_000
_LOG = {
    "sequence": pl.Int64,
    "user": pl.Int64,
    "item": pl.Int64,
    "kind": pl.Int64,
    "value": pl.Float32,
    "time": pl.Int64,
    "served": pl.Boolean,
}
_TYPES = {
    "text": pl.String(),
    "category": pl.String(),
    "tags": pl.List(pl.String),
    "number": pl.Float64(),
    "time": pl.Int64(),
    "vector": VECTOR,
}


def read_dataset(
    connection: Connection, schema: Schema, *, every_item: bool = False, most: int | None = None
) -> Dataset:
    """A consistent snapshot of the whole store as one dataset.

    Args:
        connection: a connection for reading; concurrent writes are not visible.
        schema: the event types and the column roles; events of other types are skipped and counted.
        every_item: whether to include all item ids and ignore the exclusion rules, to serve a
            version that is already trained.
        most: the approximate maximum number of events, the newest; None for all.

    Raises:
        StoreError: a table has no complete import.
        DataError: there is no event.

    Cost: about a second per million events.
    """
    if every_item:
        schema = schema.model_copy(update={"min_item_users": 1, "exclude": Exclude()})
    connection.exec_driver_sql("BEGIN")  # one snapshot for all the reads
    try:
        whole = func.max(sources.c.complete)
        incomplete = select(sources.c.name).group_by(sources.c.name).having(whole == 0)
        for name in connection.execute(incomplete).scalars():
            raise StoreError(
                f"the import of '{name}' is incomplete or still running: run the command again"
            )
        selected = select_events(connection, schema, most)
        log = _events(connection, schema, selected.conditions)
        last = select(func.max(events.c.sequence)).where(VISIBLE, NOT_REMOVED)
        sequence = connection.execute(last).scalar() or 0
        store = store_id(connection)
        shown = select(sources.c.name, sources.c.fingerprint).where(sources.c.complete == 1)
        prints = {row.name: row.fingerprint for row in connection.execute(shown)}
        entities = {
            name: _entities(connection, table, id_, roles, every_item and name == "items")
            for name, table, id_, roles in (
                ("items", items, "item_id", schema.item_roles),
                ("users", users, "user_id", schema.user_roles),
            )
        }
    finally:
        connection.exec_driver_sql("ROLLBACK")
    left_out, unknown = selected.left_out, selected.unknown
    usable = log.height + left_out.events
    reasons = {"unknown event_type": unknown} if unknown else {}
    report = ReadReport("store", usable + unknown, usable, reasons=reasons)
    present = {name: frame for name, frame in entities.items() if frame.height}
    cleaned = Cleaned({"events": log, **present}, (report,), prints)
    schema = schema.model_copy(update={"exclude": Exclude()})  # already applied by the query
    return Dataset.from_cleaned(cleaned, schema, sequence, store, left_out)


def _events(connection: Connection, schema: Schema, conditions: Conditions) -> pl.DataFrame:
    """user_id, item_id, kind, value, time and served, in log order."""
    served = (events.c.source == SERVED).label("served")
    log_columns = [served if name == "served" else events.c[name] for name in _LOG]
    query = select(*log_columns).where(*conditions).order_by(events.c.sequence)
    found = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query)
    parts = [pl.DataFrame(part, _LOG, orient="row") for part in found.partitions()]
    log = pl.concat(parts) if parts else pl.DataFrame(schema=_LOG)
    for table, key in ((users, "user"), (items, "item")):
        rows = connection.execute(select(table.c[key], table.c[f"{key}_id"])).all()
        ids = pl.DataFrame(rows, {key: pl.Int64, f"{key}_id": pl.String}, orient="row")
        log = log.join(ids, on=key, how="left", maintain_order="left")
    codes = {name: code for code, name in enumerate(schema.kinds)}
    code_of = {
        row.kind: codes[row.name]
        for row in connection.execute(select(tables.kinds))
        if row.name in codes
    }
    kind = pl.col("kind").replace_strict(code_of, default=None, return_dtype=pl.Int8)
    moment = pl.lit(0, pl.Int64) if schema.clock == "none" else pl.col("time")
    return log.select("user_id", "item_id", kind, "value", moment.alias("time"), "served")


def _entities(
    connection: Connection, table: Any, id_: str, roles: dict[str, ColumnRole], all_rows: bool
) -> pl.DataFrame:
    """The rows with attributes, or all rows, with the columns of `roles`."""
    query = select(table.c[id_], table.c.attributes, table.c.source)
    found = connection.execute(query if all_rows else query.where(table.c.attributes.is_not(None)))
    rows = [
        (
            key,
            {}
            if content is None
            else json.loads(content)
            if source != SERVED
            else _converted(json.loads(content), roles),
        )
        for key, content, source in found
    ]
    columns = {
        name: pl.Series(
            name, [attributes.get(name) for _, attributes in rows], _TYPES[role.role], strict=False
        )
        for name, role in roles.items()
    }
    return pl.DataFrame({id_: pl.Series([key for key, _ in rows], dtype=pl.String), **columns})


def _converted(attributes: dict[str, Any], roles: dict[str, ColumnRole]) -> dict[str, Any]:
    """Attributes put over the network, converted to roles that can have changed since."""
    return {
        name: fitted[0] if role.role == "category" and fitted else fitted
        for name, role in roles.items()
        if (fitted := fitting_cell(name, role.role, attributes.get(name))) is not None
    }


def attribute_sizes(connection: Connection) -> tuple[int, int]:
    """The number of characters, and of list labels, in the attributes of all items and users."""
    characters = labels = 0
    for column in (items.c.attributes, users.c.attributes):
        between = func.length(column) - func.length(func.replace(column, '", "', ""))
        sizes = select(func.sum(func.length(column)), func.sum(between) / 4)
        length, marks = connection.execute(sizes).one()
        characters, labels = characters + (length or 0), labels + int(marks or 0)
    return characters, labels
