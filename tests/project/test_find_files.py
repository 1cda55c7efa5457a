"""The files of a folder that are read, and those that are only reported."""

from pathlib import Path

import pytest

from tastemaker.errors import DataError
from tastemaker.project.file_words import event_word, is_copy_of
from tastemaker.project.find_files import FoundFiles, find_files

HEAD = "user_id,item_id,timestamp\n"
LOG = HEAD + "".join(f"u{i % 7},i{i % 5},{1_700_000_000 + i}\n" for i in range(30))


def folder_of(folder: Path, **files: str) -> FoundFiles:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return find_files(folder)


def events_of(found: FoundFiles) -> list[str]:
    return [path.stem for path in found.tables.get("events", ())]


def not_read(found: FoundFiles) -> list[str]:
    return [path.name for path in found.not_read]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("dislikes.csv", "dislike"),
        ("dislikes_log.csv", "dislike"),
        ("log_of_skips.jsonl", "skip"),
        ("order_returns.csv", "return"),
        ("ProductRefunds.parquet", "refund"),
        ("impressions.csv.gz", "impression"),
        ("hidden.csv", "hide"),
        ("play_history.csv", "play"),
        ("subscriptions.csv", "subscription"),
        ("watches.csv", "watch"),
        ("activities.csv", "activity"),
        ("likes_dislikes.csv", "interaction"),
        ("orders_and_returns.csv", "interaction"),
        ("data.csv", "interaction"),
    ],
)
def test_a_file_name_suggests_the_event_type(name: str, word: str) -> None:
    assert event_word(Path(name)) == word


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("events_old.csv", "events.csv", True),
        ("events.csv", "events_old.csv", False),
        ("orders - Copy.csv", "orders.csv", True),
        ("orders (1).csv", "orders.csv", True),
        ("ratings.parquet", "ratings.csv", True),
        ("ratings.csv.gz", "ratings.csv", True),
        ("events_jan.csv", "events.csv", False),
        ("events_2024.csv", "events.csv", False),
        ("orders.csv", "orders.csv", False),
    ],
)
def test_copies_are_recognized_by_their_names(one: str, other: str, expected: bool) -> None:
    assert is_copy_of(Path(one), Path(other)) is expected


@pytest.mark.parametrize(
    ("first", "second"), [("likes", "dislikes"), ("orders", "returns"), ("plays", "skips")]
)
def test_files_of_opposite_words_are_both_read(tmp_path: Path, first: str, second: str) -> None:
    found = folder_of(tmp_path, **{first: LOG, second: LOG})
    assert events_of(found) == sorted([first, second])
    assert not_read(found) == []


@pytest.mark.parametrize(
    "names",
    [("orders_de", "orders_fr"), ("events_jan", "events_feb"), ("events_train", "events_test")],
)
def test_files_of_one_word_and_one_header_are_one_log(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    assert events_of(folder_of(tmp_path, **dict.fromkeys(names, LOG))) == sorted(names)


def test_a_copy_of_a_log_is_reported_but_not_read(tmp_path: Path) -> None:
    found = folder_of(tmp_path, events=LOG, events_sample=LOG, events_backup=LOG)
    assert events_of(found) == ["events"]
    assert not_read(found) == ["events_backup.csv", "events_sample.csv"]


def test_a_log_in_two_formats_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "orders.tsv").write_text(LOG.replace(",", "\t"))
    found = folder_of(tmp_path, orders=LOG)
    assert events_of(found) == ["orders"]
    assert not_read(found) == ["orders.tsv"]


def test_of_one_word_the_file_with_users_and_items_is_read(tmp_path: Path) -> None:
    found = folder_of(
        tmp_path, orders="order_id,total\n1,2\n2,5\n", order_items=LOG.replace("user", "customer")
    )
    assert events_of(found) == ["order_items"]
    assert not_read(found) == ["orders.csv"]


def test_files_that_are_not_read_are_reported(tmp_path: Path) -> None:
    for name in ("u.item", "README.md", "notes.txt", ".hidden.csv", "more.zip", "plot.png"):
        (tmp_path / name).write_text("1|x\n")
    found = folder_of(tmp_path, events=LOG, ratings=LOG, friends="a,b\n1,2\n")
    assert events_of(found) == ["events"]
    assert not_read(found) == ["friends.csv", "more.zip", "ratings.csv", "u.item"]


@pytest.mark.parametrize("name", ["songs.csv", "tracks.tsv", "user_ratedmovies.dat", "friends.csv"])
def test_a_single_table_is_the_log_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(LOG)
    assert [path.name for path in find_files(tmp_path).tables["events"]] == [name]


def test_without_an_event_word_columns_identify_the_log(tmp_path: Path) -> None:
    steam = "app_id,helpful,date,is_recommended,user_id\n" + "".join(
        f"{i % 5},{i},2024-03-{1 + i % 28:02},true,{i % 7}\n" for i in range(40)
    )
    games = "app_id,title,price\n" + "".join(f"{i},Game {i},{i}.5\n" for i in range(5))
    found = folder_of(tmp_path, recommendations=steam, games=games)
    assert events_of(found) == ["recommendations"]
    assert [path.name for path in found.tables["items"]] == ["games.csv"]


def test_train_and_test_of_one_header_are_one_log(tmp_path: Path) -> None:
    assert events_of(folder_of(tmp_path, train=LOG, test=LOG)) == ["test", "train"]


def test_a_test_file_with_fewer_columns_is_not_read(tmp_path: Path) -> None:
    found = folder_of(tmp_path, train=LOG, test="user_id,item_id\nu1,i1\nu2,i2\n")
    assert events_of(found) == ["train"]
    assert not_read(found) == ["test.csv"]


def test_in_unclear_cases_no_file_is_the_log(tmp_path: Path) -> None:
    found = folder_of(tmp_path, a=LOG, b="user_id,item_id,stars\nu1,i1,2\nu2,i2,3\n")
    assert "events" not in found.tables
    assert not_read(found) == ["a.csv", "b.csv"]


def test_known_files_are_not_found_again(tmp_path: Path) -> None:
    for name in ("songs.csv", "plays.csv"):
        (tmp_path / name).write_text(LOG)
    found = find_files(tmp_path, {"events": [tmp_path / "songs.csv"]})
    assert events_of(found) == ["songs"]
    assert not_read(found) == ["plays.csv"]


def test_archives_and_spreadsheets_must_be_extracted_first(tmp_path: Path) -> None:
    for name in ("ml-1m.zip", "Online Retail.xlsx"):
        (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=r"extract ml-1m\.zip and export Online Retail\.xlsx as CSV first"
    ):
        find_files(tmp_path)
