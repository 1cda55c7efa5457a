"""Cleaning of the event log: raw rows become valid events; invalid rows are quarantined.

All casts are non-strict; a row with a cell that became null is quarantined.
"""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from tastemaker.data.cells import ids, missing, numbers
from tastemaker.data.column_types import require_type
from tastemaker.data.event_ids import with_conflicts
from tastemaker.data.moments import moments
from tastemaker.data.quarantine import (
    HELPER,
    find_columns,
    id_columns,
    refuse_float_ids,
    split_off_bad,
    whole_float_note,
)
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import EVENT_COLUMNS, Schema
from tastemaker.data.table import LINE, Table
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import DataError, did_you_mean

_EARLIEST_STRAY = 315_532_800 * 10**6
"""1980: in a log of later times, an earlier time is a code such as 0, not a moment."""
_MODERN = 631_152_000 * 10**6
"""1990."""
_ROW = f"{HELPER}row"


def clean_events(table: Table, schema: Schema, now: int) -> tuple[pl.DataFrame, ReadReport]:
    """The valid events in the source's order, and the report.

    Args:
        table: the source.
        schema: columns, kinds, clock.
        now: the current moment, microseconds; times more than a day later are invalid.

    Returns:
        user_id, item_id (text or integer, as in the source), kind int8, value float32,
        time int64 (microseconds); and the report.

    Raises:
        DataError: a column is missing, or all ids are floats.
    """
    columns = find_columns(table, schema.event_columns, EVENT_COLUMNS, ("user_id", "item_id"))
    if schema.clock == "absolute" and "timestamp" not in columns:
        raise DataError(
            f"{table.source}: no column 'timestamp'{did_you_mean('timestamp', table.columns)}; map "
            'it under [data.columns.events], or set clock = "none" under [data]'
        )
    types = table.frame.collect_schema()
    user, item = (ids(table, ours, columns[ours], types) for ours in ("user_id", "item_id"))
    kind, kind_problem = _kind(table, columns.get("event_type"), types, schema)
    value, value_problem = _value(table, columns.get("value"), types, kind, schema)
    time, time_problem = _time(table, columns.get("timestamp"), types, schema, now)
    checks = (user.problem, item.problem, kind_problem, value_problem, time_problem)
    selected = [
        *id_columns("user_id", user),
        *id_columns("item_id", item),
        kind.alias("kind"),
        value.alias("value"),
        time.alias("time"),
        pl.coalesce(check for check in checks if check is not None).alias("reason"),
        pl.struct(pl.all().exclude(LINE)).hash().alias(_ROW),
    ]
    if "event_id" in columns:
        require_type(table.source, columns["event_id"], types[columns["event_id"]], "event_id")
        event_id = pl.col(columns["event_id"])
        present = pl.when(~missing(columns["event_id"], types)).then(event_id)
        selected.append(present.alias("event_id"))
    rows = table.collect(*selected)
    if schema.clock == "absolute":
        rows = _with_stray_times(rows)
    notes = [whole_float_note(rows, ours, columns[ours]) for ours in ("user_id", "item_id")]
    for ours in ("user_id", "item_id"):
        refuse_float_ids(rows, ours, columns[ours], table.source)
    if "event_id" in columns:
        rows = with_conflicts(rows, schema.clock == "absolute")
    repeated = rows.height - rows[_ROW].n_unique()
    kept, report = split_off_bad(table, rows, "event_id" if "event_id" in columns else None)
    used = _used_columns(columns, schema)
    return kept, replace(
        report,
        table="events",
        duplicate_rows=repeated,
        unused=tuple(column for column in table.columns if column not in used),
        notes=tuple(note for note in notes if note),
    )


def _used_columns(columns: Mapping[str, str], schema: Schema) -> set[str]:
    """The columns of an event log that affect training."""
    used = dict(columns)
    if not any(kind.uses_value for kind in schema.kinds.values()):
        used.pop("value", None)
    if schema.clock != "absolute":
        used.pop("timestamp", None)
    return set(used.values())


def _with_stray_times(rows: pl.DataFrame) -> pl.DataFrame:
    """Quarantines times before 1980 in a log whose other times are later than 1990."""
    middle = rows.filter(pl.col("reason").is_null())["time"].median()
    if not isinstance(middle, int | float) or middle < _MODERN:
        return rows
    stray = pl.col("reason").is_null() & (pl.col("time") < _EARLIEST_STRAY)
    reason = pl.when(stray).then(pl.lit("misplaced timestamp, before 1980")).otherwise("reason")
    return rows.with_columns(reason.alias("reason"))


def _kind(
    table: Table, column: str | None, types: pl.Schema, schema: Schema
) -> tuple[pl.Expr, pl.Expr | None]:
    codes = {name: code for code, name in enumerate(schema.kinds)}
    if not codes:
        raise DataError(
            f"{table.source}: no event type is declared; declare each, such as [events.view]"
        )
    if column is None:
        default = schema.default_kind or (next(iter(codes)) if len(codes) == 1 else None)
        if default is None:
            raise DataError(
                f"{table.source}: no column 'event_type'{did_you_mean('event_type', table.columns)}"
                "; map it under [data.columns.events], or set event_type under [data.defaults] "
                f"(one of {', '.join(codes)})"
            )
        return pl.lit(codes[default], pl.Int8), None
    require_type(table.source, column, types[column], "event_type")
    named = pl.col(column).cast(pl.String)
    if schema.default_kind is not None:
        usual = pl.lit(schema.default_kind)
        named = pl.when(missing(column, types)).then(usual).otherwise(named)
    code = named.replace_strict(codes, default=None, return_dtype=pl.Int8)
    return code, pl.when(code.is_null()).then(pl.lit("unknown event_type"))


def _value(
    table: Table, column: str | None, types: pl.Schema, kind: pl.Expr, schema: Schema
) -> tuple[pl.Expr, pl.Expr | None]:
    rated = [
        code for code, k in enumerate(schema.kinds.values()) if k.positive_threshold is not None
    ]
    if not _types_are_given(table, schema) and schema.default_kind is not None:
        only = schema.kind_names.index(schema.default_kind)
        rated = [code for code in rated if code == only]
    is_used = any(kind.uses_value for kind in schema.kinds.values())
    if column is not None and not is_used and "value" not in schema.event_columns:
        return _if_readable(table, column, types, schema), None
    if column is None:
        if rated:
            name = schema.kind_names[rated[0]]
            raise DataError(
                f"{table.source}: no column 'value'{did_you_mean('value', table.columns)}, which "
                f"the 'positive_threshold' of [events.{name}] needs; map it under "
                "[data.columns.events]"
            )
        return pl.lit(None, pl.Float32), None
    number = numbers(table, column, types, schema.decimal).cast(pl.Float32, strict=False)
    usable = pl.when(number.is_finite()).then(number)
    wrong = ~missing(column, types) & usable.is_null()
    problem = (
        pl.when(wrong)
        .then(pl.lit("unreadable value"))
        .when(kind.is_in(rated) & usable.is_null())
        .then(pl.lit("rating without a value"))
        .otherwise(None)
    )
    return usable, problem


def _if_readable(table: Table, column: str, types: pl.Schema, schema: Schema) -> pl.Expr:
    """The values of an unmapped column named `value`; null if they are not numbers."""
    try:
        return numbers(table, column, types, schema.decimal).cast(pl.Float32, strict=False)
    except DataError:
        return pl.lit(None, pl.Float32)


def _types_are_given(table: Table, schema: Schema) -> bool:
    """Whether the source has a column of event types."""
    return schema.event_columns.get("event_type", "event_type") in table.columns


def _time(
    table: Table, column: str | None, types: pl.Schema, schema: Schema, now: int
) -> tuple[pl.Expr, pl.Expr | None]:
    if schema.clock == "ordinal":
        return pl.col(LINE).cast(pl.Int64), None
    if schema.clock == "none" or column is None:
        return pl.lit(0, pl.Int64), None
    time = moments(table, column, types, schema.time_unit, schema.time_format)
    latest = now + MICROSECONDS["d"]
    problem = (
        pl.when(missing(column, types))
        .then(pl.lit("missing timestamp"))
        .when(time.is_null())
        .then(pl.lit("unreadable timestamp"))
        .when(time < 0)
        .then(pl.lit("timestamp before 1970"))
        .when(time > latest)
        .then(pl.lit("timestamp in the future"))
        .otherwise(None)
    )
    return time.cast(pl.Int64, strict=False), problem
