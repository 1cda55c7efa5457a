"""Rows of text → usable columns; what cannot be used is set aside with line and reason.

Everything is cast without strictness, and what became null goes to the quarantine.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from polars.expr.whenthen import Then

from tastemaker.data.read import LINE, Table
from tastemaker.data.schema import EVENT_COLUMNS, ColumnRole, Schema, TimeUnit
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import DataError, near_miss

QUARANTINE_LIMIT = 0.01
_MISSING = r"^\s*(?:[nN][aA][nN]|[nN][uU][lL][lL]|[nN]one|<NA>|\\N)?\s*$"
_CONTROL = r"[\x00-\x1f\x7f]"
_SHOWN = 200
_FLOAT = r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$"
_TO_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
_SAMPLE = 10_000


@dataclass(frozen=True, slots=True)
class ReadReport:
    """How a table was read.

    Attributes:
        source: the file or frame.
        read: rows found.
        kept: rows that became events, items or users.
        duplicates: rows left out because their id stood there before.
        reasons: reason → rows in the quarantine.
        quarantine: the rows set aside (line, reason, row).
    """

    source: str
    read: int
    kept: int
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    quarantine: pl.DataFrame = field(default_factory=pl.DataFrame)

    @property
    def quarantined(self) -> int:
        """Rows in the quarantine."""
        return sum(self.reasons.values())

    def summary(self) -> str:
        """One line: `events.csv: 3 of 120 rows cannot be used (2 missing user_id, 1 …)`."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        return (
            f"{self.source}: {self.quarantined:,} of {self.read:,} rows cannot be used ({reasons})"
        )

    def write_quarantine(self, folder: Path) -> Path | None:
        """Writes the rows set aside to `folder`; removes what an earlier reading left there."""
        path = folder / f"{self.source}.csv"
        if not self.quarantined:
            path.unlink(missing_ok=True)
            return None
        folder.mkdir(parents=True, exist_ok=True)
        self.quarantine.rename({LINE: "line"}).write_csv(path)
        return path

    def refuse_if_too_many(self, limit: float = QUARANTINE_LIMIT) -> None:
        """Stops at a share of bad rows that no longer looks like accidents.

        Raises:
            DataError: more than `limit` of the rows are in the quarantine.
        """
        if self.quarantined > limit * self.read:
            first = self.quarantine.row(0, named=True)
            row = " ".join(first["row"].split())
            shown = row if len(row) <= _SHOWN else f"{row[:_SHOWN]}…"
            raise DataError(
                f"{self.summary()}; first, line {first[LINE]}: {first['reason']} in {shown}. "
                f"At most {limit:.0%} may be bad: correct the file, or its columns and kinds in "
                "the project file"
            )


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
        held = "floats" if kind.is_float() else str(kind)
        raise DataError(
            f"{table.source}: the column '{column}' ({ours}) holds {held}; write ids as integers "
            "or text"
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
    number = pl.col(column).cast(pl.Float32, strict=False)
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
    time = _moment(table, column, types, schema.time_unit)
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


def _moment(table: Table, column: str, types: pl.Schema, unit: TimeUnit) -> pl.Expr:
    """A column as microseconds, int64; null if unreadable, ±2^62 if absurdly large."""
    cell, kind = pl.col(column), types[column]
    if isinstance(kind, pl.Datetime):
        moment = cell if kind.time_zone is None else cell.dt.convert_time_zone("UTC")
        return moment.dt.timestamp("us")
    if kind == pl.Date:
        return cell.cast(pl.Datetime("us")).dt.timestamp("us")
    if not (kind.is_numeric() or kind in (pl.String, pl.Null)):
        raise DataError(
            f"{table.source}: the column '{column}' holds {kind}; write times as ISO 8601 text or "
            "as epoch numbers"
        )
    if unit == "auto":
        unit = _guess_unit(table, column)
    if unit == "iso":
        return _iso(cell.cast(pl.String))
    scale, limit = _TO_MICROSECONDS[unit], 1 << 62
    number = cell.cast(pl.Float64, strict=False) * scale
    rounded = number.round().clip(-float(limit), float(limit)).cast(pl.Int64, strict=False)
    if kind.is_float():
        return rounded
    whole = cell.cast(pl.Int64, strict=False)
    fits = whole.is_between(-limit // scale, limit // scale)
    return pl.coalesce(pl.when(fits).then(whole * scale), rounded)


def _guess_unit(table: Table, column: str) -> TimeUnit:
    """Epoch unit by the size of the first numbers, or ISO 8601 if they are none.

    Seconds stay below 10^11 until the year 5138, milliseconds below 10^14 likewise.
    """
    cells = replace(table, frame=table.frame.head(_SAMPLE)).collect(pl.col(column))[column]
    sample = cells.cast(pl.Float64, strict=False).drop_nulls().drop_nans()
    middle = sample.median()
    if not isinstance(middle, float):
        return "iso"
    if _looks_like_dates(sample):
        raise DataError(
            f"{table.source}: the column '{column}' holds dates such as {sample[0]:.0f}; write "
            "them as 2024-12-31, or set the time unit if they are epoch seconds"
        )
    return "s" if abs(middle) < 1e11 else "ms" if abs(middle) < 1e14 else "us"


def _looks_like_dates(numbers: pl.Series) -> bool:
    """Whether all numbers read as YYYYMMDD, which as epoch seconds would all lie in 1970."""
    year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
    in_range = year.is_between(1970, 2100) & month.is_between(1, 12) & day.is_between(1, 31)
    return bool(in_range.all())


def _iso(text: pl.Expr) -> pl.Expr:
    """ISO 8601 text as microseconds UTC; a moment without a zone is UTC, a date its midnight."""
    text = text.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d)[ t]", "${1}T")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
    text = text.str.replace(r"T(\d\d:\d\d)($|[ zZU+-])", "T${1}:00${2}")
    text = text.str.replace(r" ?(?:[zZ]|UTC)$", "+00:00")
    text = text.str.replace(r"(:\d\d(?:\.\d+)?) ?([+-]\d\d):?(\d\d)?$", "${1}${2}:${3}")
    text = text.str.replace(r"([+-]\d\d):$", "${1}:00")
    text = pl.when(text.str.contains(r"[+-]\d\d:\d\d$")).then(text).otherwise(text + "+00:00")
    moment = text.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_zone="UTC", time_unit="us"
    )
    return moment.dt.timestamp("us")


def _cell(table: Table, name: str, role: ColumnRole, types: pl.Schema) -> pl.Expr:
    cell = pl.col(name)
    if role.role == "number":
        number = cell.cast(pl.Float64, strict=False)
        return pl.when(number.is_finite()).then(number)
    if role.role == "time":
        return _moment(table, name, types, "auto")
    if role.role == "tags":
        is_list = isinstance(types[name], pl.List | pl.Array)
        text = cell.cast(pl.String) if not is_list else cell.cast(pl.List(pl.String))
        parts = text if is_list else text.str.split(role.separator or "|")
        labels = pl.element().str.strip_chars()
        return parts.list.eval(labels.filter(labels != ""))
    text = cell.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


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


def merged_ids(columns: Iterable[pl.Series]) -> tuple[list[str], list[pl.Series]]:
    """Ids of several columns as one sorted list, and each column as int32 positions in it.

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
