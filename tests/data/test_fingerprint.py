from pathlib import Path

import polars as pl
import pytest

from tastemaker.data.dataset import Dataset
from tastemaker.data.fingerprint import fingerprint
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


def test_how_it_is_read_changes_it_and_what_another_table_is_read_by_does_not(
    events: Path,
) -> None:
    first = fingerprint(events, "events", SCHEMA)
    later = SCHEMA.model_copy(update={"clock": "order"})
    titled = SCHEMA.model_copy(update={"item_roles": {}})
    assert fingerprint(events, "events", later) != first
    assert fingerprint(events, "events", titled) == first


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: cannot be read"):
        fingerprint(tmp_path / "gone.csv", "events", SCHEMA)


def test_data_of_files_tells_them_and_keeps_telling_when_narrowed(events: Path) -> None:
    data = Dataset.from_files(events, schema=SCHEMA)
    assert data.sources == {"events": fingerprint(events, "events", SCHEMA)}
    assert data.before(data.end - 5).sources == data.sources


def test_data_of_frames_comes_from_no_file(events: Path) -> None:
    assert Dataset.from_frames(pl.read_csv(events), schema=SCHEMA).sources == {}
