"""Imports files into the store. Each table is imported once; a changed file replaces its rows.

Rows are written in small transactions, so that the writes of a server never wait long. Events get a
new source that is hidden. When the import is complete, one transaction shows the new source and
hides the earlier one, which is then removed. During an import, and after an interrupted one,
readers see all earlier events; during the first import there are none, and training is refused.
Items and users are replaced in place, and training is refused meanwhile. An interrupted import is
detected and repeated.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, bindparam, case, delete, select, text, update
from sqlalchemy.dialects.sqlite import insert

from tastemaker.data import times
from tastemaker.data.schema import Schema
from tastemaker.errors import StoreError
from tastemaker.lock import locked
from tastemaker.progress import Progress
from tastemaker.store import tables
from tastemaker.store.counters import ITEMS, recount
from tastemaker.store.pairs import add_to_pairs, count_pairs_again, last_sequence
from tastemaker.store.removing import drop_removed_entities, drop_removed_events
from tastemaker.store.tables import SERVED, events, items, next_change, pairs, sources, users

ROWS_AT_A_TIME = 20_000
"""Rows per transaction: about a tenth of a second."""
# events served during the import; the literal "source = 0" uses an index, a parameter would not
_SERVED_DURING_IMPORT = (
    "events WHERE source = :source AND event_id IN "
    "(SELECT event_id FROM events WHERE source = 0 AND sequence > :last)"
)
_USERS_SERVED = text(f'SELECT DISTINCT "user" FROM {_SERVED_DURING_IMPORT}')  # noqa: S608
_DELETE_SERVED = text(f"DELETE FROM {_SERVED_DURING_IMPORT}")  # noqa: S608


class Importer:
    """Writes cleaned tables into the store.

    Args:
        writing: opens transactions that wait for writes of other processes.
        reading: reads committed data.
        path: the database file.
        progress: reports the number of rows.

    Attributes:
        conflicts: the number of rows skipped because their event id was served with other content.
    """

    def __init__(self, writing: Engine, reading: Engine, path: Path, progress: Progress) -> None:
        self._writing = writing
        self._reading = reading
        self._lock = path.with_name(f"{path.name}-import")
        self._progress = progress
        self.conflicts = 0

    def exclusive(self) -> AbstractContextManager[None]:
        """A context that excludes imports by other processes; entering it can take long."""
        return locked(self._lock, StoreError)

    def is_imported(self, table: str) -> bool:
        """Whether a table has a complete import, of any version of its file."""
        return self._complete_fingerprint(table) is not None

    def has_fingerprint(self, table: str, print_: str) -> bool:
        """Whether a table with this fingerprint has a complete import."""
        return self._complete_fingerprint(table) == print_

    def _complete_fingerprint(self, table: str) -> str | None:
        """The fingerprint of the complete import of a table, or None."""
        counts = (sources.c.name == table, sources.c.complete == 1)
        with self._reading.connect() as connection:
            return connection.execute(select(sources.c.fingerprint).where(*counts)).scalar()

    @property
    def hidden_sources(self) -> list[int]:
        """The hidden sources of events."""
        hidden = (sources.c.name == "events", sources.c.complete == 0)
        with self._reading.connect() as connection:
            return list(connection.execute(select(sources.c.source).where(*hidden)).scalars())

    def incomplete_tables(self) -> list[str]:
        """The tables with an incomplete import, either interrupted or still running.

        Imports that a later, complete import has replaced do not count.
        """
        later = sources.alias()
        replaced = (
            select(later.c.source)
            .where(later.c.name == sources.c.name, later.c.source > sources.c.source)
            .where(later.c.complete == 1)
            .exists()
        )
        with self._reading.connect() as connection:
            begun = select(sources.c.name).distinct().where(sources.c.complete == 0, ~replaced)
            return list(connection.execute(begun.order_by(sources.c.name)).scalars())

    def sweep(self) -> None:
        """Removes hidden events: those of replaced or interrupted imports."""
        for source in self.hidden_sources:
            self._delete_events(source)
            self._delete_pairs(source)
            with self._writing.begin() as connection:
                connection.execute(delete(sources).where(sources.c.source == source))

    def replace(self, table: str, print_: str, frame: pl.DataFrame, schema: Schema) -> None:
        """Replaces the rows of a table.

        Args:
            table: `events`, `items` or `users`.
            print_: its fingerprint.
            frame: its valid rows.
            schema: the roles of its columns.
        """
        if table == "events":
            self._replace_events(print_, frame, schema)
        else:
            self._put_entities(print_, frame, table)

    def _replace_events(self, print_: str, frame: pl.DataFrame, schema: Schema) -> None:
        values = {"name": "events", "fingerprint": print_, "rows": frame.height, "complete": 0}
        with self._writing.begin() as connection:
            added = insert(sources).values(values).returning(sources.c.source)
            source = connection.execute(added).scalar_one()
            last = last_sequence(connection)
        self._add_events(source, frame, schema)
        with self._writing.begin() as connection:
            drop_removed_events(connection, source)
        shown = case((sources.c.source == source, 1), else_=0)
        with self._writing.begin() as connection:
            parameters = {"source": source, "last": last}
            affected = connection.execute(_USERS_SERVED, parameters).scalars().all()
            connection.execute(_DELETE_SERVED, parameters)
            count_pairs_again(connection, affected)
            connection.execute(
                update(sources).where(sources.c.name == "events").values(complete=shown)
            )
        self.sweep()

    def _delete_events(self, source: int) -> None:
        last = 0
        while True:
            left = (events.c.source == source, events.c.sequence > last)
            query = select(events.c.sequence).where(*left).order_by(events.c.sequence)
            with self._reading.connect() as connection:  # does not block writers
                found = connection.execute(query.limit(ROWS_AT_A_TIME)).scalars().all()
            if not found:
                return
            first, last = found[0], found[-1]
            batch = (events.c.source == source, events.c.sequence.between(first, last))
            with self._writing.begin() as connection:
                connection.execute(delete(events).where(*batch))

    def _delete_pairs(self, source: int) -> None:
        last = 0
        while True:
            left = (pairs.c.source == source, pairs.c.user > last)
            query = select(pairs.c.user).where(*left).order_by(pairs.c.user)
            with self._reading.connect() as connection:
                found = connection.execute(query.limit(ROWS_AT_A_TIME)).scalars().all()
            if not found:
                return
            first, last = found[0], found[-1]
            batch = (pairs.c.source == source, pairs.c.user.between(first, last))
            with self._writing.begin() as connection:
                connection.execute(delete(pairs).where(*batch))

    def _add_events(self, source: int, frame: pl.DataFrame, schema: Schema) -> None:
        with self._writing.begin() as connection:
            known = insert(tables.kinds).on_conflict_do_nothing()
            connection.execute(known, [{"name": name} for name in schema.kinds])
            keys = {row.name: row.kind for row in connection.execute(select(tables.kinds))}
        columns: dict[str, Any] = {
            "user": self._keys(users, "user", frame["user_id"]),
            "item": self._keys(items, "item", frame["item_id"]),
            "kind": frame["kind"].replace_strict(
                {code: keys[name] for code, name in enumerate(schema.kinds)},
                return_dtype=pl.Int64,
            ),
            "value": frame["value"].cast(pl.Float64),
            "time": frame["time"],
        }
        if "event_id" in frame.columns:
            columns["event_id"] = frame["event_id"].cast(pl.String)
        log = pl.DataFrame(columns).with_columns(
            received=pl.lit(times.now()), source=pl.lit(source)
        )
        add = insert(events)
        if "event_id" in frame.columns:
            self.conflicts += self._count_conflicts(log, schema.clock == "absolute")
            served = select(events.c.sequence).where(
                events.c.event_id == bindparam("event_id"), events.c.source == SERVED
            )
            values = select(*(bindparam(name, type_=events.c[name].type) for name in log.columns))
            add = add.from_select(log.columns, values.where(~served.exists()))
            add = add.on_conflict_do_nothing(index_elements=["event_id", "source"])
        self._write(add, log, "importing events")

    def _count_conflicts(self, log: pl.DataFrame, timed: bool) -> int:
        """The number of events in a file with the id of a served event and other content."""
        compared = {"user": pl.Int64, "item": pl.Int64, "kind": pl.Int64, "value": pl.Float64}
        columns = [events.c[name] for name in ("event_id", *compared, "time", "received")]
        query = select(*columns).where(text("source = 0"), events.c.event_id.is_not(None))
        types = {"event_id": pl.String, **compared, "time": pl.Int64, "received": pl.Int64}
        ids, count = log.select("event_id", *compared, "time"), 0
        with self._reading.connect() as connection:
            found = connection.execution_options(yield_per=ROWS_AT_A_TIME).execute(query)
            for part in found.partitions():
                served = pl.DataFrame(part, types, orient="row")
                both = ids.join(served, on="event_id", suffix="_served")
                differs = [pl.col(name).ne_missing(pl.col(f"{name}_served")) for name in compared]
                if timed:  # a time in the future was replaced by the time of receipt
                    replaced = pl.col("time_served") == pl.col("received")
                    later = replaced & (pl.col("time") > pl.col("time_served"))
                    differs.append((pl.col("time") != pl.col("time_served")) & ~later)
                count += both.filter(pl.any_horizontal(differs)).height
        return count

    def _put_entities(self, print_: str, frame: pl.DataFrame, table: str) -> None:
        """Adds or replaces rows, except those put over the network."""
        target, id_ = (items, "item_id") if table == "items" else (users, "user_id")
        named = sources.c.name == table
        values = {"fingerprint": print_, "rows": frame.height, "complete": 0}
        with self._writing.begin() as connection:
            if not connection.execute(update(sources).where(named).values(values)).rowcount:
                connection.execute(insert(sources).values(name=table, **values))
            source = connection.execute(select(sources.c.source).where(named)).scalar_one()
        rows = frame.select(
            pl.col(id_).cast(pl.String),
            pl.Series(
                "attributes", map(_as_json, frame.drop(id_).iter_rows(named=True)), pl.String
            ),
            source=pl.lit(source),
        )
        # one number per transaction: a reader between two transactions must find the second one
        numbered = {"changed": next_change} if table == "items" else {}
        before = update(target).where(target.c.source == source)
        with self._writing.begin() as connection:
            connection.execute(before.values(attributes=None))
        put = insert(target)
        put = put.on_conflict_do_update(
            index_elements=[id_],
            set_={name: put.excluded[name] for name in ["attributes", "source", *numbered]},
            where=(target.c.source != SERVED) | target.c.attributes.is_(None),
        )
        self._write(put, rows, f"importing {table}", numbered)
        with self._writing.begin() as connection:
            drop_removed_entities(connection, table, source)
            if table == "items":
                recount(connection, ITEMS)
            connection.execute(update(sources).where(named).values(complete=1))

    def _keys(self, table: Any, key: str, ids: pl.Series) -> pl.Series:
        """The key of each id; new ids get a new key."""
        name = f"{key}_id"
        texts = ids.unique().cast(pl.String).sort()
        self._write(insert(table).on_conflict_do_nothing(), texts.to_frame(name), f"{key}s")
        with self._reading.connect() as connection:
            rows = connection.execute(select(table.c[name], table.c[key])).all()
        known = pl.DataFrame(rows, {name: pl.String, key: pl.Int64}, orient="row")
        joined = (
            ids.cast(pl.String)
            .to_frame(name)
            .join(known, on=name, how="left", maintain_order="left")
        )
        return joined[key]

    def _write(
        self,
        statement: Any,
        frame: pl.DataFrame,
        label: str,
        numbered: Mapping[str, Callable[[Connection], int]] = MappingProxyType({}),
    ) -> None:
        """Writes rows in several transactions, each with new values of the columns `numbered`."""
        total = -(-frame.height // ROWS_AT_A_TIME)
        for part in self._progress.track(frame.iter_slices(ROWS_AT_A_TIME), label, total):
            with self._writing.begin() as connection:
                numbers = {name: next_number(connection) for name, next_number in numbered.items()}
                numbered_part = part.with_columns(
                    **{name: pl.lit(n) for name, n in numbers.items()}
                )
                last = last_sequence(connection)
                connection.execute(statement, numbered_part.to_dicts())
                if last_sequence(connection) > last:
                    add_to_pairs(connection, last)


def _as_json(row: dict[str, Any]) -> str:
    present = {name: value for name, value in row.items() if value is not None}
    return json.dumps(present, ensure_ascii=False)
