from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.data.clean_entities import clean_entities
from tastemaker.data.clean_events import clean_events
from tastemaker.data.read import open_table
from tastemaker.data.report import ReadReport
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.table import LINE, frame_table
from tastemaker.errors import DataError

NOW = 1_750_000_000_000_000
DAY = 86_400 * 10**6
VIEWS = Schema(kinds={"view": EventKind(), "buy": EventKind(weight=6)}, default_kind="view")
RATINGS = Schema(kinds={"rating": EventKind(positive_threshold=4, negative_threshold=2)})
TIMELESS = VIEWS.model_copy(update={"clock": "none"})
GOOD = [f"u{i % 7},i{i % 5},{1_700_000_000 + i},view" for i in range(400)]


def cleaned(columns: dict[str, Any], schema: Schema = VIEWS) -> tuple[pl.DataFrame, ReadReport]:
    return clean_events(frame_table(pl.LazyFrame(columns), "events"), schema, NOW)


def moments(values: Any, schema: Schema = VIEWS) -> list[int | None]:
    """Each value as microseconds; None if it was quarantined."""
    n = len(values)
    log, _ = cleaned({"user_id": ["u"] * n, "item_id": ["i"] * n, "timestamp": values}, schema)
    found = dict(zip(log[LINE].to_list(), log["time"].to_list()))
    return [found.get(line + 1) for line in range(n)]


def reasons(values: dict[str, Any], schema: Schema = TIMELESS) -> list[str | None]:
    """The reason why each row is invalid; None if it is valid."""
    n = max(len(column) for column in values.values())
    whole = {"user_id": ["u"] * n, "item_id": ["i"] * n, **values}
    _, report = cleaned(whole, schema)
    found = dict(zip(report.quarantine[LINE].to_list(), report.quarantine["reason"].to_list()))
    return [found.get(line + 1) for line in range(n)]


def from_csv(
    folder: Path, lines: list[str], schema: Schema = VIEWS
) -> tuple[pl.DataFrame, ReadReport]:
    path = folder / "events.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp,event_type", *lines]) + "\n")
    with open_table(path) as table:
        return clean_events(table, schema, NOW)


# --- invalid rows ---


@pytest.mark.parametrize(
    "cell", [None, "", " ", " " * 9, "nan", "NaN", "NULL", "null", "None", "<NA>", r"\N"]
)
@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_a_missing_id_is_quarantined(column: str, cell: str | None) -> None:
    assert reasons({column: ["x", cell]}) == [None, f"missing {column}"]


@pytest.mark.parametrize("id_", ["nana", "0", "-1", "N", "no", "1e5", "1.2.3", "v1.0", ".", "é"])
def test_an_unusual_but_valid_id_is_kept(id_: str) -> None:
    log, report = cleaned({"user_id": [id_], "item_id": ["i"]}, TIMELESS)
    assert log["user_id"].to_list() == [id_]
    assert report.quarantined == 0


def test_numbers_and_words_may_be_mixed_in_an_id_column() -> None:
    assert reasons({"item_id": ["12", "abc", "012"]}) == [None, None, None]


@pytest.mark.parametrize("cell", ["1.5", ".5", "3.", "1.2e+10", "+1.0"])
def test_a_float_id_is_quarantined(cell: str) -> None:
    assert reasons({"item_id": ["12", cell]}) == [None, "float item_id"]


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (["17850.0", "13047.0", "x"], ["17850", "13047", "x"]),
        (["-1.00", "2", "3"], ["-1", "2", "3"]),
        ([17850.0, float("nan"), 3.0], ["17850", "3"]),
    ],
)
def test_ids_written_as_whole_floats_are_integers(cells: list[Any], ids: list[str]) -> None:
    log, report = cleaned({"user_id": cells, "item_id": ["a", "b", "c"]}, TIMELESS)
    assert log["user_id"].to_list() == ids
    assert "read as " in report.notes[0]


@pytest.mark.parametrize("number", [float(1 << 53), 1e300, float("inf"), -(2.0**53)])
def test_a_float_beyond_exact_integers_is_quarantined(number: float) -> None:
    found = reasons({"user_id": [1.0, number]})
    assert found == [None, "float user_id"]


def test_a_float32_holds_fewer_ids_exactly() -> None:
    ids = pl.Series([1.0, float(1 << 24)], dtype=pl.Float32)
    assert reasons({"user_id": ids}) == [None, "float user_id"]


@pytest.mark.parametrize("ids", [[1.5, 2.5], ["1.5", "2.5"], ["1.5", ""]])
def test_a_column_of_float_ids_is_refused(ids: list[Any]) -> None:
    with pytest.raises(DataError, match=r"events: the column 'user_id' \(user_id\) holds floats"):
        cleaned({"user_id": ids, "item_id": ["a", "b"]}, TIMELESS)


@pytest.mark.parametrize("ids", [[True], [date(2024, 1, 1)], [["a"]], [b"a"], [None]])
def test_ids_of_another_type_are_refused_by_column(ids: list[Any]) -> None:
    with pytest.raises(DataError, match=r"events: the column 'item_id' .* holds \w+.*integers or"):
        cleaned({"user_id": ["u"], "item_id": ids}, TIMELESS)


@pytest.mark.parametrize("cell", ["a\nb", "a\tb", "\x00", "a\x7f", "a\x80", "a\x9b", "\u2028a"])
def test_an_id_with_a_control_character_is_quarantined(cell: str) -> None:
    assert reasons({"item_id": ["a", cell]}) == [
        None,
        "line break or control character in item_id",
    ]


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt64, pl.Int64, pl.Categorical, pl.Enum(["7"])])
def test_ids_of_any_whole_type_are_ids(kind: Any) -> None:
    ids = pl.Series(["7"]).cast(kind)
    log, _ = cleaned({"user_id": ids, "item_id": ids}, TIMELESS)
    assert log["user_id"].cast(pl.String).to_list() == ["7"]


@pytest.mark.parametrize("cell", ["veiw", "VIEW", " view", "0"])
def test_an_unknown_kind_is_quarantined(cell: str) -> None:
    assert reasons({"event_type": ["view", cell, "buy"]}) == [None, "unknown event_type", None]


def test_a_row_without_a_kind_gets_the_default_if_there_is_one() -> None:
    log, _ = cleaned(
        {"user_id": ["u"] * 3, "item_id": ["i"] * 3, "event_type": ["buy", None, ""]}, TIMELESS
    )
    assert log["kind"].to_list() == [1, 0, 0]
    without = TIMELESS.model_copy(update={"default_kind": None})
    assert reasons({"event_type": ["buy", None]}, without) == [None, "unknown event_type"]


def test_kinds_may_be_numbers_in_the_source() -> None:
    schema = Schema(kinds={"3": EventKind(), "1": EventKind()}, clock="none")
    columns = {"user_id": ["u"] * 2, "item_id": ["i"] * 2, "event_type": [1, 3]}
    assert cleaned(columns, schema)[0]["kind"].to_list() == [1, 0]


def test_a_single_kind_needs_no_column() -> None:
    schema = Schema(kinds={"view": EventKind()}, clock="none")
    assert cleaned({"user_id": ["u"], "item_id": ["i"]}, schema)[0]["kind"].to_list() == [0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("4.5", None), ("-1", None), ("", "rating without a value"),
        ("NaN", "rating without a value"), ("good", "unreadable value"),
        ("4,5,6", "unreadable value"),
        ("inf", "unreadable value"), ("1e300", "unreadable value"),
    ],
)  # fmt: skip
def test_a_rating_needs_a_finite_number(value: str, reason: str | None) -> None:
    schema = RATINGS.model_copy(update={"clock": "none"})
    assert reasons({"value": ["3", value]}, schema) == [None, reason]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_other_kinds_need_no_value(value: float | None) -> None:
    assert reasons({"value": [1.0, value]}) == [None, None]


# --- times ---


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-01T10:00:00Z", "2024-03-01T10:00:00", "2024-03-01 10:00:00", "2024-03-01T10:00",
        "2024-03-01 10:00", "2024-03-01T10:00Z", "2024-03-01T10:00:00.000Z",
        "2024-03-01T10:00:00z", "2024-03-01t10:00:00Z", "2024-03-01T12:00:00+02:00",
        "2024-03-01T12:00+02:00", "2024-03-01 12:00:00+02", "2024-03-01T12:00:00+0200",
        "2024-03-01T04:30:00-05:30", "2024-03-01 10:00:00 UTC", "2024-03-01 10:00:00 +0000",
        "2024-03-01 10:00 UTC", " 2024-03-01T10:00:00Z ", "2024-03-01T10:00:00.000000000+00:00",
    ],
)  # fmt: skip
def test_all_common_iso_8601_formats_are_read(text: str) -> None:
    expected = datetime(2024, 3, 1, 10, tzinfo=UTC).timestamp() * 1e6
    assert moments([text]) == [expected]


def test_a_date_means_midnight_and_fractions_count() -> None:
    midnight = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1e6)
    assert moments(["2024-03-01", "2024-03-01T00:00:00.5", "2024-03-01 00:00:00.123456789"]) == [
        midnight, midnight + 500_000, midnight + 123_456,
    ]  # fmt: skip


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2025, 6, 1)),
    st.integers(-14 * 4, 14 * 4),
    st.sampled_from(["T", " "]),
)
def test_any_moment_in_any_zone_reads_back(when: datetime, quarters: int, between: str) -> None:
    there = when.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=15 * quarters)))
    expected = (when.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(0, 0, 1)
    assert moments([there.isoformat(sep=between)]) == [expected]


@pytest.mark.parametrize(
    "text",
    ["03/01/2024", "2024-13-01", "2024-02-30", "yesterday", "2024-03-01T25:00:00", "2024-3-1",
     "12:00", "2024-03-01T10", "Fri Mar 1 2024"],
)  # fmt: skip
def test_an_unreadable_time_is_quarantined(text: str) -> None:
    assert reasons({"timestamp": ["2024-03-01", text]}, VIEWS) == [None, "unreadable timestamp"]


@pytest.mark.parametrize("cell", [None, "", "NaN", "null"])
def test_a_missing_time_is_quarantined(cell: str | None) -> None:
    assert reasons({"timestamp": ["2024-03-01", cell]}, VIEWS) == [None, "missing timestamp"]


@pytest.mark.parametrize(("scale", "unit"), [(1, "s"), (10**3, "ms"), (10**6, "us")])
@pytest.mark.parametrize("as_text", [False, True])
def test_the_unit_of_epoch_numbers_is_detected_by_size(
    scale: int, unit: str, as_text: bool
) -> None:
    numbers: list[Any] = [(1_600_000_000 + i) * scale for i in range(3)]
    expected = [(1_600_000_000 + i) * 10**6 for i in range(3)]
    values = [str(number) for number in numbers] if as_text else numbers
    assert moments(values) == expected
    assert moments(values, VIEWS.model_copy(update={"time_unit": unit})) == expected


@pytest.mark.parametrize("values", [["1600000000.25"], [1_600_000_000.25]])
def test_fractions_of_an_epoch_second_count(values: list[Any]) -> None:
    assert moments(values) == [1_600_000_000_250_000]


@given(st.integers(0, NOW + DAY))
def test_microseconds_are_kept_exactly(number: int) -> None:
    schema = VIEWS.model_copy(update={"time_unit": "us"})
    assert moments([number], schema) == moments([str(number)], schema) == [number]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("-1", "timestamp before 1970"), ("1969-12-31", "timestamp before 1970"),
        (str(NOW + DAY), None), (str(NOW + DAY + 1), "timestamp in the future"),
        ("9" * 15, None), ("9" * 18, "timestamp in the future"),
        ("9" * 40, "timestamp in the future"), ("-" + "9" * 40, "timestamp before 1970"),
        (str(-(2**63)), "timestamp before 1970"), (str(2**63), "timestamp in the future"),
        ("1e400", "timestamp in the future"),
    ],
)  # fmt: skip
def test_an_impossible_time_is_quarantined(cell: str, reason: str | None) -> None:
    unit = "iso" if "-12-" in cell else "us"
    schema = VIEWS.model_copy(update={"time_unit": unit})
    other = "2024-01-01" if unit == "iso" else str(NOW)
    assert reasons({"timestamp": [other, cell]}, schema) == [None, reason]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("number", [-(2**63), -(2**63) + 1, 2**63 - 1, 2**62, -1])
def test_absurd_whole_numbers_never_wrap_around(number: int, unit: str) -> None:
    schema = VIEWS.model_copy(update={"time_unit": unit})
    expected = "timestamp before 1970" if number < 0 else "timestamp in the future"
    assert reasons({"timestamp": [1, number]}, schema) == [None, expected]


@pytest.mark.parametrize(
    "kind", [pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns"), pl.Datetime("us", "UTC")]
)
def test_typed_times_are_read_unchanged(kind: Any) -> None:
    when = pl.Series([datetime(2024, 3, 1, 10, tzinfo=UTC)]).dt.replace_time_zone(None)
    zoned = when.cast(pl.Datetime(kind.time_unit)).dt.replace_time_zone(kind.time_zone)
    assert moments(zoned) == [1_709_287_200_000_000]


def test_a_typed_time_in_a_zone_is_the_same_moment() -> None:
    when = pl.Series([datetime(2024, 3, 1, 10, tzinfo=UTC)]).dt.convert_time_zone("Asia/Tokyo")
    assert moments(when) == [1_709_287_200_000_000]


def test_typed_dates_mean_midnight() -> None:
    assert moments(pl.Series([date(2024, 3, 1)])) == [1_709_251_200_000_000]


@pytest.mark.parametrize("kind", [pl.String, pl.Int64, pl.Int32, pl.Float64])
def test_a_column_of_dates_without_dashes_holds_dates(kind: Any) -> None:
    values = pl.Series(["20240301", "20231224"]).cast(kind)
    assert moments(values) == moments(["2024-03-01", "2023-12-24"])


def test_a_column_of_years_holds_years() -> None:
    assert moments([1995, 2003]) == moments(["1995-01-01", "2003-01-01"])


def test_a_single_number_that_looks_like_a_date_is_not_a_date() -> None:
    found = reasons({"timestamp": [20_240_301, 1_600_000_000, 1_600_000_000]}, VIEWS)
    assert found == ["misplaced timestamp, before 1980", None, None]


def test_with_an_ordinal_clock_the_time_is_the_line() -> None:
    schema = VIEWS.model_copy(update={"clock": "ordinal"})
    log, _ = cleaned({"user_id": ["u"] * 3, "item_id": ["i", "", "j"]}, schema)
    assert log["time"].to_list() == [1, 3]


@pytest.mark.parametrize("cell", [["x"], b"x", timedelta(1)])
def test_a_time_of_an_impossible_type_is_refused(cell: Any) -> None:
    with pytest.raises(DataError, match=r"events: the column .timestamp. holds .*; write times as"):
        moments([cell])


# --- columns ---


def one_row(**changed: str) -> dict[str, list[str]]:
    names = {name: name for name in ("user_id", "item_id", "timestamp")} | changed
    return {theirs: ["1700000000"] for theirs in names.values()}


@pytest.mark.parametrize(
    ("columns", "schema", "message"),
    [
        (one_row(user_id="userid"), VIEWS, "events: no column 'user_id'; did you mean 'userid'?"),
        (one_row(item_id="x"), VIEWS, "events: no column 'item_id'; known: timestamp, user_id, x"),
        (one_row(timestamp="timestmp"), VIEWS, "no column 'timestamp'; did you mean 'timestmp'?"),
        (
            one_row(),
            VIEWS.model_copy(update={"event_columns": {"user_id": "userId"}}),
            "events: no column 'userId'; did you mean 'user_id'?",
        ),
        (
            one_row(),
            VIEWS.model_copy(update={"event_columns": {"usr_id": "user_id"}}),
            "events: unknown name 'usr_id'; did you mean 'user_id'?",
        ),
        (one_row(), RATINGS, "events: no column 'value'"),
        (
            one_row() | {"even_type": ["view"]},
            VIEWS.model_copy(update={"default_kind": None}),
            "events: no column 'event_type'; did you mean 'even_type'?",
        ),
        (one_row(), Schema(), "events: no event type is declared"),
    ],
)
def test_a_missing_column_is_named_with_its_near_miss(
    columns: dict[str, Any], schema: Schema, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        cleaned(columns, schema)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mapped_columns_are_renamed() -> None:
    schema = VIEWS.model_copy(
        update={"event_columns": {"user_id": "who", "item_id": "what", "timestamp": "when"}}
    )
    log, _ = cleaned({"what": ["i"], "who": ["u"], "when": [1_700_000_000]}, schema)
    assert log.select("user_id", "item_id", "time").row(0) == ("u", "i", 1_700_000_000_000_000)


# --- the report ---


def test_bad_rows_are_quarantined_with_line_reason_and_row(tmp_path: Path) -> None:
    lines = list(GOOD)
    lines[9] = ",i1,1700000000,view"
    lines[49] = "u1,i1,1700000000,veiw"
    lines[199] = ",,,"
    lines[299] = "u1,i1"
    log, report = from_csv(tmp_path, lines)
    assert report.read == 400
    assert report.kept == log.height == 396
    assert report.reasons == {
        "missing user_id": 2,
        "unknown event_type": 1,
        "2 fields instead of 4": 1,
    }
    assert report.quarantine.select(LINE, "reason").rows() == [
        (11, "missing user_id"), (51, "unknown event_type"), (201, "missing user_id"),
        (301, "2 fields instead of 4"),
    ]  # fmt: skip
    shown = report.quarantine["row"].to_list()
    assert '"event_type":"veiw"' in shown[1]
    assert shown[3] == "u1,i1"
    assert log[LINE].to_list() == [n for n in range(2, 402) if n not in {11, 51, 201, 301}]
    report.refuse_if_too_many()


@pytest.mark.parametrize(
    "odd", ["", 'u,"x, ""y""",1700000000,view', 'u,"x,1700000000,view\nu,y",5,view']
)
@given(data=st.data())
def test_kept_quarantined_and_duplicate_rows_add_up(
    tmp_path_factory: pytest.TempPathFactory, odd: str, data: st.DataObject
) -> None:
    sources = st.sampled_from(
        [*GOOD[:3], ",i,1,view", "u,i", "", ",,,", "u,i,x,view", "u,,,,,", odd]
    )
    lines = data.draw(st.lists(sources, min_size=1, max_size=20))
    log, report = from_csv(tmp_path_factory.mktemp("csv"), [*lines, GOOD[0]])
    assert report.kept + report.quarantined + report.duplicates == report.read
    assert report.read == sum(line != "" for line in lines) + 1
    assert report.kept == log.height == sum(line in GOOD or '""' in line for line in lines) + 1
    assert report.quarantined == report.quarantine.height
    assert report.quarantine["row"].null_count() == 0


def test_rows_merged_by_quotes_are_quarantined(tmp_path: Path) -> None:
    lines = [*GOOD, 'u1,"i1,1700000000,view', 'u2,i2",1700000000,view']
    _, report = from_csv(tmp_path, lines)
    assert report.reasons == {"line break or control character in item_id": 1}
    assert report.quarantine[LINE].to_list() == [402]
    assert "u2,i2" in report.quarantine["row"][0]


def test_the_first_of_equal_event_ids_wins_and_the_rest_are_counted() -> None:
    log, report = cleaned(
        {
            "user_id": ["u"] * 7, "item_id": ["a", "", "b", "c", "d", "e", "a"],
            "event_id": ["1", "2", "2", "1", None, "", "1"],
        },
        TIMELESS,
    )  # fmt: skip
    assert log["item_id"].to_list() == ["a", "b", "d", "e"]
    assert (report.read, report.kept, report.duplicates, report.quarantined) == (7, 4, 1, 2)
    assert report.reasons == {"missing item_id": 1, "event_id of another event": 1}
    assert report.quarantine["row"].to_list()[1].count('"c"') == 1


@pytest.mark.parametrize(
    ("name", "other"),
    [("user_id", "v"), ("item_id", "j"), ("event_type", "buy"), ("value", 4.0), ("timestamp", 1)],
)
def test_an_event_id_with_other_content_is_quarantined(name: str, other: object) -> None:
    row = {"user_id": "u", "item_id": "i", "event_type": "view", "value": 3.0, "timestamp": 0}
    rows = [{**row, "event_id": "1"}, {**row, name: other, "event_id": "1"}]
    columns = {key: [each[key] for each in rows] for key in rows[0]}
    _, report = cleaned(columns, VIEWS)
    assert (report.kept, report.duplicates) == (1, 0)
    assert report.reasons == {"event_id of another event": 1}


@pytest.mark.parametrize("clock", ["ordinal", "none"])
def test_an_order_of_rows_is_not_content(clock: Any) -> None:
    columns = {"user_id": ["u", "u"], "item_id": ["i", "i"], "event_id": ["1", "1"]}
    _, report = cleaned(columns, TIMELESS.model_copy(update={"clock": clock}))
    assert (report.kept, report.duplicates, report.quarantined) == (1, 1, 0)


def test_equal_rows_without_event_ids_are_separate_events() -> None:
    log, report = cleaned({"user_id": ["u"] * 2, "item_id": ["i"] * 2}, TIMELESS)
    assert (log.height, report.duplicates) == (2, 0)


def test_too_many_bad_rows_stop_the_reading_with_a_summary(tmp_path: Path) -> None:
    lines = [",i1,1700000000,view" if i % 10 < 3 else line for i, line in enumerate(GOOD)]
    _, report = from_csv(tmp_path, lines)
    with pytest.raises(DataError) as caught:
        report.refuse_if_too_many()
    message = str(caught.value)
    assert message.startswith(
        "events.csv: 120 of 400 rows cannot be used (120 missing user_id); first, line 2: missing "
        'user_id in {"user_id":null'
    )
    assert "At most 1% may be bad: correct the file" in message
    assert "raise 'events' under [data.max_bad_rows] (here 30% are bad)" in message


@pytest.mark.parametrize(("bad", "refused"), [(0, False), (4, False), (5, True)])
def test_one_in_a_hundred_is_the_limit(tmp_path: Path, bad: int, refused: bool) -> None:
    _, report = from_csv(tmp_path, ["u"] * bad + GOOD[bad:])
    if refused:
        with pytest.raises(DataError):
            report.refuse_if_too_many()
    else:
        report.refuse_if_too_many()


def test_a_very_long_row_is_shortened_only_in_the_message(tmp_path: Path) -> None:
    _, report = from_csv(tmp_path, ["x" * 5000 + "\u00e9,y"])
    with pytest.raises(DataError) as caught:
        report.refuse_if_too_many()
    assert len(str(caught.value)) < 600
    assert len(report.quarantine["row"][0]) > 5000


def test_a_quarantine_file_is_removed_with_its_last_bad_row(tmp_path: Path) -> None:
    folder = tmp_path / "quarantine"
    _, bad = from_csv(tmp_path, [*GOOD, "u,i"])
    path = bad.write_quarantine(folder)
    assert path is not None
    assert pl.read_csv(path).rows() == [(402, "2 fields instead of 4", "u,i")]
    _, good = from_csv(tmp_path, GOOD)
    assert good.write_quarantine(folder) is None
    assert not path.exists()


# --- items and users ---


def entities(
    columns: dict[str, Any], roles: dict[str, ColumnRole]
) -> tuple[pl.DataFrame, ReadReport]:
    return clean_entities(
        frame_table(pl.LazyFrame(columns), "items"), "item_id", Schema(item_roles=roles)
    )


def test_the_first_row_of_an_item_wins_and_the_rest_are_counted() -> None:
    kept, report = entities({"item_id": ["a", "b", "a", ""]}, {})
    assert kept["item_id"].to_list() == ["a", "b"]
    assert (report.read, report.kept, report.duplicates, report.quarantined) == (4, 2, 1, 1)


@pytest.mark.parametrize(
    ("role", "cells", "expected"),
    [
        ("text", [" x ", "", None], ["x", None, None]),
        ("category", ["x", " ", None], ["x", None, None]),
        ("number", ["1.5", "dear", "inf"], [1.5, None, None]),
        ("time", ["2024-03-01", "soon", None], [1_709_251_200_000_000, None, None]),
        ("time", ["1950-01-01", "1970-01-02", ""], [-631_152_000_000_000, 86_400_000_000, None]),
        ("tags", ["a| b |", "", "||"], [["a", "b"], [], []]),
        ("tags", [["a", None, " "], [], None], [["a"], [], None]),
    ],
)  # fmt: skip
def test_cells_are_converted_by_role_or_become_missing(
    role: Any, cells: list[Any], expected: list[Any]
) -> None:
    settings = ColumnRole(role=role, separator="|" if role == "tags" else None)
    kept, report = entities({"item_id": ["a", "b", "c"], "x": cells}, {"x": settings})
    assert [cell or None for cell in kept["x"].to_list()] == [cell or None for cell in expected]
    assert report.quarantined == 0


def test_a_missing_column_of_items_is_named() -> None:
    with pytest.raises(DataError, match=r"items: no column 'titel'; did you mean 'title'\?"):
        entities({"item_id": ["a"], "title": ["A"]}, {"titel": ColumnRole(role="text")})
    with pytest.raises(DataError, match=r"items: no column 'item_id'; did you mean 'itemid'\?"):
        entities({"itemid": ["a"]}, {})


def test_a_column_may_be_called_reason() -> None:
    kept, _ = entities({"item_id": ["a"], "reason": ["why"]}, {"reason": ColumnRole(role="text")})
    assert kept["reason"].to_list() == ["why"]


# --- ids ---


# --- formats detected per cell ---


def test_only_the_odd_cell_among_moments_is_quarantined() -> None:
    times = [f"2024-03-{1 + i % 28:02}T{i % 24:02}:00:00" for i in range(1999)]
    log, report = cleaned(
        {"user_id": ["u"] * 2000, "item_id": ["i"] * 2000, "timestamp": [*times, "0"]}, VIEWS
    )
    assert log.height == 1999
    assert report.reasons == {"unreadable timestamp": 1}
    assert report.quarantine[LINE].to_list() == [2000]


def test_moments_and_numbers_may_be_mixed() -> None:
    cells = ["2024-03-01", "1709251200", "1709251200000", "1709251200000000", "1709251200000000000"]
    assert moments(cells) == [1_709_251_200_000_000] * 5


def test_nanoseconds_are_detected_by_size() -> None:
    assert moments([1_709_251_200_123_456_789]) == [1_709_251_200_123_456]
    assert moments([1_709_251_200_123_456_789], VIEWS.model_copy(update={"time_unit": "ns"})) == [
        1_709_251_200_123_456
    ]


@pytest.mark.parametrize("stray", [0, 1, 45_292, -1])
def test_a_number_far_from_all_moments_is_quarantined(stray: int) -> None:
    found = reasons({"timestamp": [1_700_000_000] * 9 + [stray]}, VIEWS)
    assert found[:9] == [None] * 9
    assert found[9] in ("misplaced timestamp, before 1980", "timestamp before 1970")


def test_a_clock_that_counts_from_zero_is_kept() -> None:
    assert moments([0, 10, 86_400, 2_000_000]) == [0, 10**7, 86_400 * 10**6, 2 * 10**12]


def test_a_pattern_reads_other_times() -> None:
    schema = VIEWS.model_copy(update={"time_format": "%d/%m/%Y %H:%M"})
    assert moments(["1/3/2024 10:00", "01/03/2024 10:00"], schema) == [1_709_287_200_000_000] * 2
    assert reasons({"timestamp": ["1/3/2024 10:00", "3/31/2024 10:00"]}, schema) == [
        None, "unreadable timestamp",
    ]  # fmt: skip


def test_an_odd_cell_does_not_affect_other_item_dates() -> None:
    roles = {"released": ColumnRole(role="time")}
    cells = ["2024-03-01", "0", "2024-03", "1995", "2024-03-01"]
    items, report = entities({"item_id": list("abcde"), "released": cells}, roles)
    march = 1_709_251_200_000_000
    assert items["released"].to_list() == [march, None, march, 788_918_400_000_000, march]
    assert report.notes == (
        "released: 1 of 5 cells cannot be read as time, such as '0', and are left empty",
    )


def test_a_date_of_items_may_have_a_pattern() -> None:
    roles = {"released": ColumnRole(role="time", format="%d-%b-%Y")}
    items, _ = entities({"item_id": ["a"], "released": ["01-Mar-2024"]}, roles)
    assert items["released"].to_list() == [1_709_251_200_000_000]


def test_booleans_and_codes_of_items_are_labels() -> None:
    roles = {name: ColumnRole(role="category") for name in ("in_stock", "category_id", "code")}
    cells = {"in_stock": [True, False], "category_id": [3, 7], "code": [3.0, None]}
    items, _ = entities({"item_id": ["a", "b"], **cells}, roles)
    assert items["in_stock"].to_list() == ["true", "false"]
    assert items["category_id"].to_list() == ["3", "7"]
    assert items["code"].to_list() == ["3", None]


# --- what the report counts ---


def test_equal_rows_and_equal_event_ids_count_separately() -> None:
    log, report = cleaned(
        {"user_id": list("uuuv"), "item_id": list("iiij"), "event_id": ["1", "1", "2", None]},
        TIMELESS,
    )
    assert (report.duplicates, report.duplicate_rows, log.height) == (1, 1, 3)


def test_unused_columns_are_named() -> None:
    columns = {
        "user_id": ["u"],
        "item_id": ["i"],
        "value": [3.0],
        "device": ["x"],
        "timestamp": [1],
    }
    assert cleaned(columns, TIMELESS)[1].unused == ("value", "device", "timestamp")
    rated = RATINGS.model_copy(update={"clock": "none"})
    assert cleaned(columns, rated)[1].unused == ("device", "timestamp")


def test_a_value_of_an_amount_is_read() -> None:
    kinds = {"play": EventKind(strength="log")}
    log, _ = cleaned(
        {"user_id": ["u"] * 3, "item_id": ["i"] * 3, "value": ["900", "0,5", None]},
        Schema(kinds=kinds, clock="none"),
    )
    assert log["value"].to_list() == [900.0, 0.5, None]


@pytest.mark.parametrize("odd", ["0", "20241399", "x"])
@pytest.mark.parametrize("year", ["2024{:02}{:02}", "2024{:02}{:02}1030", "2024{:02}{:02}103000"])
def test_one_odd_cell_does_not_affect_dates_without_dashes(year: str, odd: str) -> None:
    days = [year.format(1 + i % 12, 1 + i % 28) for i in range(200)]
    log, report = cleaned(
        {"user_id": ["u"] * 201, "item_id": ["i"] * 201, "timestamp": [*days, odd]}, VIEWS
    )
    assert log.height == 200
    assert report.quarantine[LINE].to_list() == [201]
    dashed = days[0][:4] + "-" + days[0][4:6] + "-" + days[0][6:8]
    assert abs(log["time"][0] - moments([dashed])[0]) < DAY  # type: ignore[operator]


def test_half_of_the_cells_can_have_another_format() -> None:
    schema = VIEWS.model_copy(update={"time_format": "%m/%d/%Y"})
    assert moments(["3/1/2024", "2024-03-01", "1709251200"], schema) == [1_709_251_200_000_000] * 3


@pytest.mark.parametrize("cell", ["20240301 10:00", "20240301T10:00:00", "2024-03-01 10:00:00,000"])
def test_other_iso_forms_are_read_too(cell: str) -> None:
    assert moments([cell, "2024-03-01"]) == [1_709_287_200_000_000, 1_709_251_200_000_000]


def test_an_unmapped_value_column_loses_no_row() -> None:
    columns = {"user_id": ["u"] * 2, "item_id": ["i"] * 2, "value": ["4 stars", "3"]}
    log, report = cleaned(columns, TIMELESS)
    assert log["value"].to_list() == [None, 3.0]
    assert report.unused == ("value",)


@pytest.mark.parametrize("cell", [1_700_000_000, 1.7e9])
def test_a_number_is_not_iso_text(cell: float) -> None:
    schema = VIEWS.model_copy(update={"time_unit": "iso"})
    assert reasons({"timestamp": [cell]}, schema) == ["unreadable timestamp"]
