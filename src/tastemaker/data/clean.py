"""Rows of text → usable columns; what cannot be used is set aside with line and reason.

Everything is cast without strictness, and what became null goes to the quarantine.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tastemaker.data.read import LINE, Table
from tastemaker.data.schema import EVENT_COLUMNS, ColumnRole, Schema, TimeUnit
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import DataError, near_miss

QUARANTINE_LIMIT = 0.01
_MISSING = ["", "nan", "null"]
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
        return f"{self.source}: {self.quarantined:,} of {self.read:,} rows cannot be used ({reasons})"

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
            DataError: more than `limit` of the rows are in the quarantine, or none is left.
        """
        if self.quarantined > limit * self.read:
            first = self.quarantine.row(0, named=True)
            raise DataError(
                f"{self.summary()}; first, line {first[LINE]}: {first['reason']} in {first['row']}. "
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
            "under [data.columns.events], or set clock = \"none\" under [data]"
        )
    types = table.frame.collect_schema()
    kind, kind_problem = _kind(columns.get("event_type"), schema)
    value, value_problem = _value(columns.get("value"), types, kind, schema)
    time, time_problem = _time(table, columns.get("timestamp"), types, schema, now)
    checks = [
        *(_id_checks(ours, columns[ours], types) for ours in ("user_id", "item_id")),
        kind_problem,
        value_problem,
        time_problem,
    ]
    wanted = [
        pl.col(columns["user_id"]).alias("user_id"),
        pl.col(columns["item_id"]).alias("item_id"),
        kind.alias("kind"),
        value.alias("value"),
        time.alias("time"),
        pl.coalesce(check for check in checks if check is not None).alias("reason"),
    ]
    if "event_id" in columns:
        wanted.append(pl.col(columns["event_id"]).alias("event_id"))
    rows, rejects = table.collect(*wanted)
    for ours in ("user_id", "item_id"):
        _refuse_float_ids(rows, ours, columns[ours], table.source)
    return _split_off_bad(table, rows, rejects, "event_id" if "event_id" in columns else None)


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
    ours = pl.col(columns[id_column])
    rows, rejects = table.collect(
        ours.alias(id_column),
        _id_checks(id_column, columns[id_column], types).alias("reason"),
        *(_cell(table, name, role, types).alias(f"={name}") for name, role in roles.items()),
    )
    _refuse_float_ids(rows, id_column, columns[id_column], table.source)
    kept, report = _split_off_bad(table, rows, rejects, id_column)
    return kept.rename({f"={name}": name for name in roles}), report


def _find_columns(
    table: Table, renamed: dict[str, str], ours: Sequence[str], required: Sequence[str]
) -> dict[str, str]:
    """Ours → theirs, for the columns that are there."""
    found = {}
    for name in renamed:
        if name not in ours:
            raise DataError(f"columns: unknown name '{name}'{near_miss(name, ours)}")
    for name in ours:
        theirs = renamed.get(name, name)
        if theirs in table.columns:
            found[name] = theirs
        elif name in renamed or name in required:
            raise DataError(
                f"{table.source}: no column '{theirs}'{near_miss(theirs, table.columns)}"
            )
    return found


def _reason(condition: pl.Expr, text: str) -> pl.Expr:
    return pl.when(condition).then(pl.lit(text))


def _is_missing(column: str, types: pl.Schema) -> pl.Expr:
    cell = pl.col(column)
    if types[column] == pl.String:
        return cell.is_null() | (
            (cell.str.len_bytes() <= 4) & cell.str.strip_chars().str.to_lowercase().is_in(_MISSING)
        )
    return cell.is_null()


def _id_checks(ours: str, column: str, types: pl.Schema) -> pl.Expr:
    """The reason why an id cannot be used, or null."""
    kind = types[column]
    if kind.is_float():
        raise DataError(
            f"the column '{column}' ({ours}) holds floats; write ids as integers or text"
        )
    if not (kind == pl.String or kind.is_integer()):
        raise DataError(
            f"the column '{column}' ({ours}) holds {kind}; write ids as integers or text"
        )
    missing = _reason(_is_missing(column, types), f"missing {ours}")
    if kind != pl.String:
        return missing.otherwise(None)
    cell = pl.col(column)
    is_float = cell.str.contains(".", literal=True) & cell.str.contains(_FLOAT)
    return missing.when(is_float).then(pl.lit(f"float {ours}")).otherwise(None)


def _refuse_float_ids(rows: pl.DataFrame, ours: str, column: str, source: str) -> None:
    floats = rows.filter(pl.col("reason") == f"float {ours}")
    present = rows.filter(pl.col("reason").is_null() | (pl.col("reason") != f"missing {ours}"))
    if floats.height and floats.height == present.height:
        raise DataError(
            f"{source}: the column '{column}' ({ours}) holds floats such as "
            f"{floats[ours][0]}; write ids as integers or text"
        )


def _kind(column: str | None, schema: Schema) -> tuple[pl.Expr, pl.Expr | None]:
    codes = {name: code for code, name in enumerate(schema.kinds)}
    if column is None:
        default = schema.default_kind or (next(iter(codes)) if len(codes) == 1 else None)
        if default is None:
            raise DataError(
                "the events have no 'event_type' column and several kinds are declared: set "
                "event_type under [data.defaults]"
            )
        return pl.lit(codes[default], pl.Int8), None
    named = pl.col(column).cast(pl.String)
    if schema.default_kind is not None:
        named = pl.when(named.is_null() | (named == "")).then(pl.lit(schema.default_kind)).otherwise(named)
    code = named.replace_strict(codes, default=None, return_dtype=pl.Int8)
    return code, _reason(code.is_null(), "unknown event_type")


def _value(
    column: str | None, types: pl.Schema, kind: pl.Expr, schema: Schema
) -> tuple[pl.Expr, pl.Expr | None]:
    rated = [code for code, k in enumerate(schema.kinds.values()) if k.like is not None]
    if column is None:
        if rated:
            name = schema.kind_names[rated[0]]
            raise DataError(f"[events.{name}] has 'like', but the events have no 'value' column")
        return pl.lit(None, pl.Float32), None
    number = pl.col(column).cast(pl.Float32, strict=False)
    usable = pl.when(number.is_finite()).then(number)
    problem = _reason(~_is_missing(column, types) & usable.is_null(), "unreadable value")
    if rated:
        problem = problem.when(kind.is_in(rated) & usable.is_null()).then(
            pl.lit("rating without a value")
        )
    return usable, problem


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
    """A column as microseconds (int64, or float64 where integers would overflow); null if bad."""
    cell, kind = pl.col(column), types[column]
    if isinstance(kind, pl.Datetime):
        moment = cell if kind.time_zone is None else cell.dt.convert_time_zone("UTC")
        return moment.dt.timestamp("us")
    if kind == pl.Date:
        return cell.cast(pl.Datetime("us")).dt.timestamp("us")
    if unit == "auto":
        unit = _guess_unit(table, column)
    if unit == "iso":
        return _iso(cell.cast(pl.String))
    scale = _TO_MICROSECONDS[unit]
    whole = cell.cast(pl.Int64, strict=False)
    number = cell.cast(pl.Float64, strict=False)
    exact = pl.when(whole.abs() <= (1 << 62) // scale).then(whole * scale)
    return pl.coalesce(exact, (number * scale).round().clip(-(2.0**62), 2.0**62).cast(pl.Int64, strict=False))


def _guess_unit(table: Table, column: str) -> TimeUnit:
    """Epoch unit by the size of the first numbers, or ISO 8601 if they are none.

    Seconds stay below 10^11 until the year 5138, milliseconds below 10^14 likewise.
    """
    numbers = pl.col(column).head(_SAMPLE).cast(pl.Float64, strict=False)
    try:
        sample = table.frame.select(numbers).head(_SAMPLE).collect()[column].drop_nulls()
    except pl.exceptions.ComputeError:
        sample = table.collect(numbers.alias(column))[0][column].head(_SAMPLE).drop_nulls()
    middle = sample.median()
    if not isinstance(middle, float):
        return "iso"
    return "s" if abs(middle) < 1e11 else "ms" if abs(middle) < 1e14 else "us"


def _iso(text: pl.Expr) -> pl.Expr:
    """ISO 8601 text as microseconds UTC; a moment without a zone is UTC, a date its midnight."""
    text = text.str.strip_chars().str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
    text = text.str.replace(r"T(\d\d:\d\d)($|Z|[+-])", "T${1}:00${2}")
    text = text.str.replace(r"[zZ]$", "+00:00")
    text = pl.when(text.str.contains(r"[+-]\d\d:?\d\d$")).then(text).otherwise(text + "+00:00")
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
        if isinstance(types[name], pl.List):
            return cell.cast(pl.List(pl.String))
        parts = cell.cast(pl.String).str.split(role.separator or "|")
        return parts.list.eval(pl.element().str.strip_chars()).list.drop_nulls()
    text = cell.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def _split_off_bad(
    table: Table, rows: pl.DataFrame, rejects: pl.DataFrame, unique: str | None
) -> tuple[pl.DataFrame, ReadReport]:
    """Parts the usable rows from the quarantine; among equal `unique` ids the first one stays."""
    blank_lines = 0
    good = pl.col("reason").is_null()
    bad = rows.filter(~good).select(LINE, "reason")
    if bad.height:
        shown = table.rows_at(bad[LINE])
        bad = bad.join(shown, on=LINE, how="left", maintain_order="left").select(LINE, "reason", "row")
        if table.physical_lines is not None:
            blank = bad["row"].str.contains(r'^\{("[^"]*":null,?)*\}$')
            blank_lines = int(blank.sum())
            bad = bad.filter(~blank)
    else:
        bad = rejects.clear()
    quarantine = pl.concat([bad, rejects], how="vertical_relaxed").sort(LINE, maintain_order=True)
    kept = rows.filter(good).drop("reason") if rows.height > bad.height else rows.clear().drop("reason")
    duplicates = 0
    if unique is not None:
        first = pl.col(unique).is_null() | pl.col(unique).is_first_distinct()
        once = kept.filter(first)
        duplicates, kept = kept.height - once.height, once
    counts = quarantine["reason"].value_counts(sort=True)
    reasons = dict(zip(counts["reason"].to_list(), counts["count"].to_list()))
    report = ReadReport(
        table.source,
        rows.height + rejects.height - blank_lines,
        kept.height,
        duplicates,
        reasons,
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
    places = pl.DataFrame({"text": ids, "place": pl.int_range(len(ids), dtype=pl.Int32, eager=True)})
    codes = []
    for column, unique, text in zip(given, uniques, texts):
        known = pl.DataFrame({"id": unique, "text": text}).join(places, on="text", how="left")
        joined = pl.DataFrame({"id": column}).join(
            known.select("id", "place"), on="id", how="left", maintain_order="left"
        )
        codes.append(joined["place"])
    return ids.to_list(), codes
