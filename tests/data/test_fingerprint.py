from pathlib import Path

import polars as pl
import pytest

from tastemaker.data.clean_events import clean_events
from tastemaker.data.dataset import Dataset
from tastemaker.data.fingerprint import fingerprint
from tastemaker.data.read import open_table
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.errors import DataError

SCHEMA = Schema(kinds={"view": EventKind()}, item_roles={"title": ColumnRole(role="text")})


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.csv"
    rows = [f"u{n % 3},i{n % 4},view,{1_700_000_000 + n}" for n in range(12)]
    path.write_text("\n".join(["user_id,item_id,event_type,timestamp", *rows]) + "\n")
    return path


def test_the_same_bytes_read_the_same_way_have_one_fingerprint(events: Path) -> None:
    first = fingerprint(events, "events", SCHEMA)
    copy = events.with_name("other.csv")
    copy.write_bytes(events.read_bytes())
    assert fingerprint(copy, "events", SCHEMA) == first


def test_one_more_row_changes_it(events: Path) -> None:
    first = fingerprint(events, "events", SCHEMA)
    with events.open("a") as stream:
        stream.write("u1,i1,view,1700000100\n")
    assert fingerprint(events, "events", SCHEMA) != first


def test_only_the_tables_own_read_settings_change_it(
    events: Path,
) -> None:
    first = fingerprint(events, "events", SCHEMA)
    later = SCHEMA.model_copy(update={"clock": "ordinal"})
    titled = SCHEMA.model_copy(update={"item_roles": {}})
    assert fingerprint(events, "events", later) != first
    assert fingerprint(events, "events", titled) == first


LIKED = SCHEMA.model_copy(update={"kinds": {"view": EventKind(positive_threshold=4)}})
"""Like `SCHEMA`, but a view without a value is invalid."""
AS_ORDER = SCHEMA.model_copy(update={"clock": "ordinal"})


def add_values(events: Path, first: str) -> None:
    header, *rows = events.read_text().splitlines()
    cells = [first, *"5" * (len(rows) - 1)]
    lines = [f"{header},value", *(f"{row},{cell}" for row, cell in zip(rows, cells))]
    events.write_text("\n".join(lines) + "\n")


def rows_kept(events: Path, schema: Schema) -> list[tuple[object, ...]]:
    with open_table(events, schema) as table:
        return clean_events(table, schema, 2_000_000_000 * 10**6)[0].rows()


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (SCHEMA, {"kinds": {"view": EventKind(positive_threshold=4)}}),
        (LIKED, {"kinds": {"view": EventKind(strength="log")}}),
        (SCHEMA, {"kinds": {"look": EventKind()}}),
        (SCHEMA, {"clock": "none"}),
        (SCHEMA, {"time_unit": "ms"}),
        (SCHEMA, {"event_columns": {"user_id": "item_id", "item_id": "user_id"}}),
        (SCHEMA, {"header": ("item_id", "user_id", "event_type", "timestamp", "value")}),
    ],
)
def test_settings_that_affect_rows_change_the_fingerprint(
    events: Path, before: Schema, change: dict[str, object]
) -> None:
    add_values(events, "")
    after = before.model_copy(update=change)
    assert rows_kept(events, after) != rows_kept(events, before)
    assert fingerprint(events, "events", after) != fingerprint(events, "events", before)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (
            LIKED,
            {"kinds": {"view": EventKind(positive_threshold=3, negative_threshold=1, weight=2)}},
        ),
        (SCHEMA, {"kinds": {"view": EventKind(strength="log")}}),
        (SCHEMA, {"kinds": {"view": EventKind(role="negative", hide_item=True)}}),
        (SCHEMA, {"max_bad_rows": 0.5}),
        (SCHEMA, {"user_roles": {"age": ColumnRole(role="number")}}),
        (AS_ORDER, {"time_unit": "ms", "time_format": "%Y"}),
    ],
)
def test_other_settings_do_not_change_the_fingerprint(
    events: Path, before: Schema, change: dict[str, object]
) -> None:
    add_values(events, "5")
    after = before.model_copy(update=change)
    assert rows_kept(events, after) == rows_kept(events, before)
    assert fingerprint(events, "events", after) == fingerprint(events, "events", before)


def test_item_tables_do_not_depend_on_the_times_of_events(events: Path) -> None:
    timed = SCHEMA.model_copy(update={"time_unit": "ms", "time_format": "%Y", "clock": "none"})
    assert fingerprint(events, "items", timed) == fingerprint(events, "items", SCHEMA)
    decimal = SCHEMA.model_copy(update={"decimal": ","})
    assert fingerprint(events, "items", decimal) != fingerprint(events, "items", SCHEMA)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: cannot be read"):
        fingerprint(tmp_path / "gone.csv", "events", SCHEMA)


def test_data_from_files_keeps_its_sources_when_narrowed(events: Path) -> None:
    data = Dataset.from_files(events, schema=SCHEMA)
    assert data.sources == {"events": fingerprint(events, "events", SCHEMA)}
    assert data.before(data.end - 5).sources == data.sources


def test_data_from_frames_has_no_sources(events: Path) -> None:
    assert Dataset.from_frames(pl.read_csv(events), schema=SCHEMA).sources == {}
