"""Rows of text → usable columns; what cannot be used is set aside with line and reason.

Everything is cast without strictness, and what became null goes to the quarantine.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from polars.expr.whenthen import Then

from tastemaker.data import times
from tastemaker.data.column_types import SUBSTITUTE, require_type, type_name
from tastemaker.data.fingerprint import fingerprint
from tastemaker.data.moments import moments
from tastemaker.data.read import LINE, Table, open_table
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import EVENT_COLUMNS, ColumnRole, Schema
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import DataError, near_miss

_MISSING = r"^\s*(?:[nN][aA][nN]|[nN][uU][lL][lL]|[nN]one|<NA>|\\N)?\s*$"
_CONTROL = r"[\x00-\x1f\x7f]"
_FLOAT = r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Tables whose rows can all be used.

    Attributes:
        tables: `events` (user_id, item_id, kind, value, time, and event_id where there is one; in
            the source's order), and `items` and `users` as far as there are any.
        reports: how each was read.
        sources: table → fingerprint of the file it is of; empty for frames.
    """

    tables: dict[str, pl.DataFrame]
    reports: tuple[ReadReport, ...]
    sources: dict[str, str] = field(default_factory=dict)


def clean_files(
    files: Mapping[str, Path], schema: Schema, quarantine: Path | None = None
) -> Cleaned:
    """The usable rows of files (CSV, gzipped CSV, Parquet); see `clean_tables`."""
    # before they are read: a file that changes meanwhile is then known to have changed
    sources = {
        name: fingerprint(path, name, schema) for name, path in files.items() if path.is_file()
    }
    with ExitStack() as stack:
        tables = {
            name: stack.enter_context(open_table(path, schema.separator))
            for name, path in files.items()
        }
        return replace(clean_tables(tables, schema, quarantine), sources=sources)


def clean_tables(
    tables: Mapping[str, Table], schema: Schema, quarantine: Path | None = None
) -> Cleaned:
    """The usable rows of tables.

    Args:
        tables: rows as they stand in the source: any of `events`, `items` and `users`.
        schema: what the columns mean.
        quarantine: folder for the rows that cannot be used.

    Raises:
        DataError: a column is missing, or more than 1 % of a table's rows cannot be used.
    """
    clean = {
        "events": lambda table: clean_events(table, schema, times.now()),
        "items": lambda table: clean_entities(
            table, "item_id", schema.item_columns, schema.item_roles
        ),
        "users": lambda table: clean_entities(
            table, "user_id", schema.user_columns, schema.user_roles
        ),
    }
    done = {name: clean[name](table) for name, table in tables.items()}
    reports = tuple(report for _, report in done.values())
    for report in reports:
        if quarantine is not None:
            report.write_quarantine(quarantine)
        report.refuse_if_too_many()
    return Cleaned({name: rows for name, (rows, _) in done.items()}, reports)


def clean_events(table: Table, schema: Schema, now: int) -> tuple[pl.DataFrame, ReadReport]:
    """The usable events in the source's order, and how the reading went.

    Args:
        table: the source.
        schema: columns, kinds, clock.
        now: the present moment, microseconds; what lies more than a day later is an error.

    Returns:
        user_id, item_id (text or integer, as in the source), kind int8, value float32,
        time int64 (microseconds); and the report.

    Raises:
        DataError: a column is missing, or ids are floats throughout.
    """
    columns = _find_columns(table, schema.event_columns, EVENT_COLUMNS, ("user_id", "item_id"))
    if schema.clock == "absolute" and "timestamp" not in columns:
        raise DataError(
            f"{table.source}: no column 'timestamp'{near_miss('timestamp', table.columns)}; map it "
            'under [data.columns.events], or set clock = "none" under [data]'
        )
    types = table.frame.collect_schema()
    kind, kind_problem = _kind(table, columns.get("event_type"), types, schema)
    value, value_problem = _value(table, columns.get("value"), types, kind, schema)
    time, time_problem = _time(table, columns.get("timestamp"), types, schema, now)
    checks = [
        *(_id_checks(table, ours, columns[ours], types) for ours in ("user_id", "item_id")),
        kind_problem,
        value_problem,
        time_problem,
    ]
    wanted = [
        _id(columns["user_id"], types).alias("user_id"),
        _id(columns["item_id"], types).alias("item_id"),
        kind.alias("kind"),
        value.alias("value"),
        time.alias("time"),
        pl.coalesce(check for check in checks if check is not None).alias("reason"),
    ]
    if "event_id" in columns:
        require_type(table.source, columns["event_id"], types[columns["event_id"]], "event_id")
        event_id = pl.col(columns["event_id"])
        present = pl.when(~_is_missing(columns["event_id"], types)).then(event_id)
        wanted.append(present.alias("event_id"))
    rows = table.collect(*wanted)
    for ours in ("user_id", "item_id"):
        _refuse_float_ids(rows, ours, columns[ours], table.source)
    return _split_off_bad(table, rows, "event_id" if "event_id" in columns else None)


def clean_entities(
    table: Table, id_column: str, renamed: dict[str, str], roles: dict[str, ColumnRole]
) -> tuple[pl.DataFrame, ReadReport]:
    """The usable rows of an item or user table, one per id, and how the reading went.

    Args:
        table: the source.
        id_column: `item_id` or `user_id`.
        renamed: ours → theirs, for the id column.
        roles: the columns to keep, and what they hold; cells that do not fit become missing.

    Returns:
        `id_column` and the columns of `roles`: text, list of text, float64 or int64 microseconds.

    Raises:
        DataError: a column is missing, or ids are floats throughout.
    """
    columns = _find_columns(table, renamed, (id_column,), (id_column,))
    types = table.frame.collect_schema()
    for name in roles:
        if name == id_column:
            raise DataError(
                f"{table.source}: '{name}' names the ids, so no attribute can have this name; "
                "rename the column or leave it out of the roles"
            )
        if name not in types:
            raise DataError(f"{table.source}: no column '{name}'{near_miss(name, table.columns)}")
    rows = table.collect(
        _id(columns[id_column], types).alias(id_column),
        _id_checks(table, id_column, columns[id_column], types).alias("reason"),
        *(_cell(table, name, role, types).alias(f"={name}") for name, role in roles.items()),
    )
    _refuse_float_ids(rows, id_column, columns[id_column], table.source)
    kept, report = _split_off_bad(table, rows, id_column)
    return kept.rename({f"={name}": name for name in roles}), report


def _find_columns(
    table: Table, renamed: dict[str, str], ours: Sequence[str], required: Sequence[str]
) -> dict[str, str]:
    """Ours → theirs, for the columns that are there."""
    found = {}
    for name in renamed:
        if name not in ours:
            raise DataError(f"{table.source}: unknown name '{name}'{near_miss(name, ours)}")
    for name in ours:
        theirs = renamed.get(name, name)
        if theirs in table.columns:
            found[name] = theirs
        elif name in renamed or name in required:
            raise DataError(
                f"{table.source}: no column '{theirs}'{near_miss(theirs, table.columns)}"
            )
    return found


def _reason(condition: pl.Expr, text: str) -> Then:
    return pl.when(condition).then(pl.lit(text))


def _is_missing(column: str, types: pl.Schema) -> pl.Expr:
    cell = pl.col(column)
    if types[column] == pl.String:
        return cell.is_null() | cell.str.contains(_MISSING)
    if types[column].is_float():
        return cell.is_null() | cell.is_nan()
    return cell.is_null()


def _id(column: str, types: pl.Schema) -> pl.Expr:
    """An id as it stands in the source, but for categories, which become text."""
    return pl.col(column) if types[column].is_integer() else pl.col(column).cast(pl.String)


def _id_checks(table: Table, ours: str, column: str, types: pl.Schema) -> pl.Expr:
    """The reason why an id cannot be used, or null."""
    kind = types[column]
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum)):
        raise DataError(
            f"{table.source}: the column '{column}' ({ours}) holds {type_name(kind)}; write ids as "
            "integers or text"
        )
    missing = _reason(_is_missing(column, types), f"missing {ours}")
    if kind != pl.String:
        return missing.otherwise(None)
    cell = pl.col(column)
    return (
        missing.when(cell.str.contains(_FLOAT))
        .then(pl.lit(f"float {ours}"))
        .when(cell.str.contains(_CONTROL))
        .then(pl.lit(f"line break or control character in {ours}"))
        .otherwise(None)
    )


def _refuse_float_ids(rows: pl.DataFrame, ours: str, column: str, source: str) -> None:
    floats = rows.filter(pl.col("reason") == f"float {ours}")
    present = rows.filter(pl.col("reason").is_null() | (pl.col("reason") != f"missing {ours}"))
    if floats.height and floats.height == present.height:
        raise DataError(
            f"{source}: the column '{column}' ({ours}) holds floats such as "
            f"{floats[ours][0]}; write ids as integers or text"
        )


def _kind(
    table: Table, column: str | None, types: pl.Schema, schema: Schema
) -> tuple[pl.Expr, pl.Expr | None]:
    codes = {name: code for code, name in enumerate(schema.kinds)}
    if not codes:
        raise DataError(
            f"{table.source}: no kind of event is declared; declare each, such as [events.view]"
        )
    if column is None:
        default = schema.default_kind or (next(iter(codes)) if len(codes) == 1 else None)
        if default is None:
            raise DataError(
                f"{table.source}: no column 'event_type'{near_miss('event_type', table.columns)}; "
                "map it under [data.columns.events], or set event_type under [data.defaults] (one "
                f"of {', '.join(codes)})"
            )
        return pl.lit(codes[default], pl.Int8), None
    require_type(table.source, column, types[column], "event_type")
    named = pl.col(column).cast(pl.String)
    if schema.default_kind is not None:
        missing = _is_missing(column, types)
        named = pl.when(missing).then(pl.lit(schema.default_kind)).otherwise(named)
    code = named.replace_strict(codes, default=None, return_dtype=pl.Int8)
    return code, _reason(code.is_null(), "unknown event_type")


def _value(
    table: Table, column: str | None, types: pl.Schema, kind: pl.Expr, schema: Schema
) -> tuple[pl.Expr, pl.Expr | None]:
    rated = [code for code, k in enumerate(schema.kinds.values()) if k.like is not None]
    if column is None:
        if rated:
            name = schema.kind_names[rated[0]]
            raise DataError(
                f"{table.source}: no column 'value'{near_miss('value', table.columns)}, which the "
                f"'like' of [events.{name}] needs; map it under [data.columns.events]"
            )
        return pl.lit(None, pl.Float32), None
    require_type(table.source, column, types[column], "value")
    number = _numbers(column, types).cast(pl.Float32, strict=False)
    usable = pl.when(number.is_finite()).then(number)
    unreadable = _reason(~_is_missing(column, types) & usable.is_null(), "unreadable value")
    if not rated:
        return usable, unreadable
    lacking = kind.is_in(rated) & usable.is_null()
    return usable, unreadable.when(lacking).then(pl.lit("rating without a value"))


def _time(
    table: Table, column: str | None, types: pl.Schema, schema: Schema, now: int
) -> tuple[pl.Expr, pl.Expr | None]:
    if schema.clock == "order":
        return pl.col(LINE).cast(pl.Int64), None
    if schema.clock == "none" or column is None:
        return pl.lit(0, pl.Int64), None
    time = moments(table, column, types, schema.time_unit)
    latest = now + MICROSECONDS["d"]
    problem = (
        _reason(_is_missing(column, types), "missing timestamp")
        .when(time.is_null())
        .then(pl.lit("unreadable timestamp"))
        .when(time < 0)
        .then(pl.lit("timestamp before 1970"))
        .when(time > latest)
        .then(pl.lit("timestamp in the future"))
    )
    return time.cast(pl.Int64, strict=False), problem


def _numbers(column: str, types: pl.Schema) -> pl.Expr:
    """A column that can be cast to floats: categories are read as their text."""
    is_text = types[column] in (pl.Categorical, pl.Enum)
    return pl.col(column).cast(pl.String) if is_text else pl.col(column)


def _cell(table: Table, name: str, role: ColumnRole, types: pl.Schema) -> pl.Expr:
    cell = pl.col(name)
    if role.role == "time":
        return moments(table, name, types, "auto")
    require_type(table.source, name, types[name], role.role)
    if role.role == "number":
        number = _numbers(name, types).cast(pl.Float64, strict=False)
        return pl.when(number.is_finite()).then(number)
    if role.role == "tags":
        is_list = isinstance(types[name], pl.List | pl.Array)
        text = cell.cast(pl.String) if not is_list else cell.cast(pl.List(pl.String))
        parts = text if is_list else text.str.split(role.separator or "|")
        labels = pl.element().str.strip_chars()
        return parts.list.eval(labels.filter((labels != "") & ~labels.str.starts_with(SUBSTITUTE)))
    text = cell.cast(pl.String).str.strip_chars()
    return pl.when((text != "") & ~text.str.starts_with(SUBSTITUTE)).then(text)


def _split_off_bad(
    table: Table, rows: pl.DataFrame, unique: str | None
) -> tuple[pl.DataFrame, ReadReport]:
    """Parts the usable rows from the quarantine; among equal `unique` ids the first one stays."""
    usable = pl.col("reason").is_null()
    quarantine = table.rejects
    bad = rows.filter(~usable).select(LINE, "reason")
    if bad.height:
        shown = table.rows_at(bad[LINE])
        bad = bad.join(shown, on=LINE, how="left", maintain_order="left")
        quarantine = pl.concat([bad, quarantine], how="vertical_relaxed").sort(LINE)
    kept = rows.filter(usable).drop("reason")
    duplicates = 0
    if unique is not None:
        once = kept.filter(pl.col(unique).is_null() | pl.col(unique).is_first_distinct())
        duplicates, kept = kept.height - once.height, once
    counts = quarantine["reason"].value_counts(sort=True)
    report = ReadReport(
        table.source,
        rows.height + table.rejects.height,
        kept.height,
        duplicates,
        dict(counts.iter_rows()),
        quarantine,
    )
    return kept, report
