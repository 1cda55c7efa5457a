"""Several event files are one log, each file read in its own way."""

from pathlib import Path

import pytest

from tastemaker.data.dataset import Dataset
from tastemaker.data.files import DataFile, table_fingerprint
from tastemaker.data.schema import Clock, EventKind, Schema
from tastemaker.errors import DataError

KINDS = {"purchase": EventKind(weight=6.0), "rating": EventKind(like=4)}
SCHEMA = Schema(kinds=KINDS, clock="none")


def two_files(folder: Path, clock: Clock = "none") -> tuple[DataFile, DataFile]:
    (folder / "purchases.dat").write_text("User_ID\tGame_ID\n1\t7\n2\t8\n")
    (folder / "ratings.csv").write_text("who,what,stars,event_id\nu1,8,5,a\n2,7,1,b\n2,8,4,a\n")
    base = SCHEMA.model_copy(update={"clock": clock})
    purchases = {
        "separator": "\t", "default_kind": "purchase",
        "event_columns": {"user_id": "User_ID", "item_id": "Game_ID"},
    }  # fmt: skip
    ratings = {
        "default_kind": "rating",
        "event_columns": {"user_id": "who", "item_id": "what", "value": "stars"},
    }
    return (
        DataFile(folder / "purchases.dat", base.model_copy(update=purchases)),
        DataFile(folder / "ratings.csv", base.model_copy(update=ratings)),
    )


def test_the_events_of_all_files_are_one_log(tmp_path: Path) -> None:
    data = Dataset.from_data_files({"events": two_files(tmp_path)}, SCHEMA)
    ids = data.users.ids(data.events.user), data.catalogue.items.ids(data.events.item)
    found = sorted(zip(*ids, data.events.kind.tolist(), data.events.weight.tolist()))
    assert found == [
        ("1", "7", 0, 6.0), ("2", "7", 1, 0.0), ("2", "8", 0, 6.0), ("u1", "8", 1, 1.0)
    ]  # fmt: skip
    assert [(report.source, report.kept) for report in data.reports] == [
        ("purchases.dat", 2), ("ratings.csv", 2)
    ]  # fmt: skip


def test_an_order_goes_on_from_file_to_file(tmp_path: Path) -> None:
    files = two_files(tmp_path, "order")
    data = Dataset.from_data_files({"events": files}, files[0].schema)
    assert sorted(data.events.time.tolist()) == [2, 3, 5, 6]


def test_an_event_id_counts_once_in_all_files(tmp_path: Path) -> None:
    first, second = two_files(tmp_path)
    again = DataFile(tmp_path / "again.csv", second.schema)
    again.path.write_text("who,what,stars,event_id\nu9,8,5,b\nu9,8,5,c\n")
    data = Dataset.from_data_files({"events": (first, second, again)}, SCHEMA)
    assert len(data.events) == 5
    assert [(report.kept, report.duplicates) for report in data.reports] == [
        (2, 0), (2, 1), (1, 1)
    ]  # fmt: skip


def test_too_many_bad_rows_of_one_file_stop_all(tmp_path: Path) -> None:
    first, second = two_files(tmp_path)
    second.path.write_text("who,what,stars\nu1,8,5\n,7,1\n")
    with pytest.raises(DataError, match=r"ratings.csv: 1 of 2 rows cannot be used"):
        Dataset.from_data_files({"events": (first, second)}, SCHEMA)


def test_a_change_of_any_file_changes_the_fingerprint(tmp_path: Path) -> None:
    first, second = two_files(tmp_path)
    before = table_fingerprint("events", (first, second))
    assert before == table_fingerprint("events", (first, second))
    assert before != table_fingerprint("events", (second, first))
    second.path.write_text("who,what,stars\nu1,8,5\n")
    assert before != table_fingerprint("events", (first, second))
