"""Several event files form one log; each file has its own schema."""

from pathlib import Path

import pytest

from tastemaker.data.dataset import Dataset
from tastemaker.data.describe import describe
from tastemaker.data.files import DataFile, table_fingerprint, with_distinct_names
from tastemaker.data.report import quarantine_file
from tastemaker.data.schema import Clock, EventKind, Schema
from tastemaker.errors import DataError

KINDS = {"purchase": EventKind(weight=6.0), "rating": EventKind(positive_threshold=4)}
SCHEMA = Schema(kinds=KINDS, clock="none")


def two_files(folder: Path, clock: Clock = "none") -> tuple[DataFile, DataFile]:
    (folder / "purchases.dat").write_text("User_ID\tGame_ID\n1\t7\n2\t8\n")
    (folder / "ratings.csv").write_text("who,what,stars,event_id\nu1,8,5,a\n2,7,1,b\nu1,8,5,a\n")
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
    files = two_files(tmp_path, "ordinal")
    data = Dataset.from_data_files({"events": files}, files[0].schema)
    assert sorted(data.events.time.tolist()) == [2, 3, 5, 6]


def test_an_event_id_counts_once_in_all_files(tmp_path: Path) -> None:
    first, second = two_files(tmp_path)
    again = DataFile(tmp_path / "again.csv", second.schema)
    again.path.write_text("who,what,stars,event_id\n2,7,1,b\nu9,8,5,c\n")
    data = Dataset.from_data_files({"events": (first, second, again)}, SCHEMA)
    assert len(data.events) == 5
    assert [(report.kept, report.duplicates) for report in data.reports] == [
        (2, 0), (2, 1), (1, 1)
    ]  # fmt: skip


def test_an_id_with_other_content_in_another_file_is_quarantined(tmp_path: Path) -> None:
    first, second = two_files(tmp_path)
    tolerant = second.schema.model_copy(update={"max_bad_rows": 0.5})
    again = DataFile(tmp_path / "again.csv", tolerant)
    again.path.write_text("who,what,stars,event_id\nu9,8,5,b\nu1,8,5,a\n3,8,1,c\n,,,\n")
    data = Dataset.from_data_files(
        {"events": (first, second, again)}, SCHEMA, quarantine=tmp_path / "quarantine"
    )
    report = data.reports[-1]
    assert (report.read, report.kept, report.duplicates) == (4, 1, 1)
    assert report.reasons == {"missing user_id": 1, "event_id of another event": 1}
    written = quarantine_file(tmp_path / "quarantine", "again.csv").read_text().splitlines()
    assert written[1].startswith("2,event_id of another event,")
    assert '""who"":""u9""' in written[1]
    assert len(written) == 3


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


# --- files with equal names ---

SHARED = Schema(kinds={"view": EventKind()}, clock="none", max_bad_rows=1)


def write(path: Path, *rows: str) -> DataFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["user_id,item_id,event_type", *rows]) + "\n")
    return DataFile(path, SHARED)


def names(*paths: str) -> list[str]:
    files = {"events": [DataFile(Path(path), SHARED) for path in paths]}
    return [file.name for file in with_distinct_names(files)["events"]]


def test_a_name_has_the_folders_that_distinguish_it() -> None:
    assert names("/d/2023/events.csv", "/d/items.csv") == ["events.csv", "items.csv"]
    assert names("/d/2023/e.csv", "/d/2024/e.csv") == ["2023/e.csv", "2024/e.csv"]
    assert names("/x/a/e.csv", "/y/a/e.csv", "/y/b/e.csv") == ["x/a/e.csv", "y/a/e.csv", "b/e.csv"]
    assert names("/e.csv", "/d/e.csv", "/d/../f/e.csv") == ["e.csv", "d/e.csv", "f/e.csv"]
    assert names("/d/e.csv", "/d/e.csv") == ["e.csv", "e.csv (2)"]


def test_one_file_in_two_tables_has_two_names() -> None:
    file = DataFile(Path("log.csv"), SHARED)
    named = with_distinct_names({"events": [file], "items": [file]})
    assert [named[table][0].name for table in ("events", "items")] == ["log.csv", "log.csv (2)"]


def test_files_with_equal_names_have_separate_reports(tmp_path: Path) -> None:
    first = write(tmp_path / "2023" / "events.csv", "u1,i1,view", "u2,i2,veiw")
    second = write(tmp_path / "2024" / "events.csv", "u1,i2,view")
    files, folder = with_distinct_names({"events": [first, second]}), tmp_path / "quarantine"
    data = Dataset.from_data_files(files, SHARED, folder)
    tables = describe(data)["tables"]
    assert {name: table["quarantined"] for name, table in tables.items()} == {
        "2023/events.csv": 1, "2024/events.csv": 0
    }  # fmt: skip
    assert quarantine_file(folder, "2023/events.csv").is_file()
    assert not quarantine_file(folder, "2024/events.csv").exists()


def test_tables_with_equal_file_names_have_separate_reports(tmp_path: Path) -> None:
    events = write(tmp_path / "log" / "data.csv", "u1,i1,view", "u2,,view")
    items = tmp_path / "shop" / "data.csv"
    items.parent.mkdir()
    items.write_text("item_id\ni1\n")
    folder = tmp_path / "quarantine"
    data = Dataset.from_files(events.path, items=items, schema=SHARED, quarantine=folder)
    assert [report.source for report in data.reports] == ["log/data.csv", "shop/data.csv"]
    assert quarantine_file(folder, "log/data.csv").is_file()


@pytest.mark.parametrize("content", [b"PAR1 and no more", b"\x1f\x8b and no more", b"a\x00b"])
def test_an_error_names_a_file_by_its_distinct_name(tmp_path: Path, content: bytes) -> None:
    paths = [tmp_path / year / "events.csv" for year in ("2023", "2024")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(content)
    files = with_distinct_names({"events": [DataFile(path, SHARED) for path in paths]})
    with pytest.raises(DataError, match=r"^2023/events\.csv: "):
        Dataset.from_data_files(files, SHARED)
