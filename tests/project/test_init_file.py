"""`init` writes a file that loads again with the proposed settings."""

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.data.dataset import Dataset
from tastemaker.errors import DataError
from tastemaker.project import Project, load_project
from tastemaker.project.find_files import find_tables
from tastemaker.project.project_text import project_text
from tastemaker.project.propose import propose_project

START = 1_700_000_000


def events(**renamed: str) -> pl.DataFrame:
    rows = [
        (f"u{user}", f"i{(user * 7 + item * item) % 12}", START + 3_600 * (9 * item + user))
        for user in range(9)
        for item in range(9)
    ]
    frame = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    return frame.rename(renamed)


def written(folder: Path, name: str, frame: pl.DataFrame, separator: str = ",") -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator=separator)
    return path


def proposed(folder: Path, **tables: Path) -> tuple[Project, Dataset]:
    """The project file of `init`, loaded again, and the data that `init` read."""
    found = propose_project({table: [path] for table, path in tables.items()})
    (folder / "tastemaker.toml").write_text(project_text(found, folder), encoding="utf-8")
    return load_project(folder / "tastemaker.toml"), found.require_data()


def assert_same_data(one: Dataset, other: Dataset) -> None:
    assert one.users.digest == other.users.digest
    assert one.catalogue.items.digest == other.catalogue.items.digest
    assert one.kinds == other.kinds
    assert one.clock == other.clock
    assert list(one.catalogue.columns) == list(other.catalogue.columns)
    for column in ("user", "item", "kind", "weight", "time"):
        assert getattr(one.events, column).tolist() == getattr(other.events, column).tolist()


def test_a_plain_log_round_trips(tmp_path: Path) -> None:
    project, data = proposed(tmp_path, events=written(tmp_path, "events.csv", events()))
    assert_same_data(project.read(), data)
    assert list(project.file.retrievers) == ["ease", "item_knn", "als", "trending", "popular"]
    assert project.file.split.test == 0.1


@pytest.mark.parametrize(
    "name", ["User ID", 'the "user"', "user\\id", "user=id", "user.id", "[user]", "usér", "u'id#"]
)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_odd_column_names_round_trip(tmp_path: Path, name: str, ending: str) -> None:
    frame = events(timestamp="Time Stamp").rename({"user_id": "User_Id"})
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(12)], name: ["Some | text"] * 12})
    project, data = proposed(
        tmp_path,
        events=written(tmp_path, f"events{ending}", frame),
        items=written(tmp_path, f"items{ending}", items),
    )
    assert_same_data(project.read(), data)
    assert name in project.read().catalogue.columns


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=8).filter(lambda name: name.strip() == name))
def test_any_event_type_name_round_trips(name: str) -> None:
    import tempfile

    if not name.isprintable() and any(0xD800 <= ord(c) <= 0xDFFF for c in name):
        return
    with tempfile.TemporaryDirectory() as folder:
        kinds = [name, "view"] * 40
        frame = events().head(80).with_columns(event_type=pl.Series(kinds))
        path = written(Path(folder), "events.parquet", frame)
        project, data = proposed(Path(folder), events=path)
        assert set(project.file.events) == {name, "view"}
        assert_same_data(project.read(), data)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_delimiters_are_found_and_kept(tmp_path: Path, separator: str) -> None:
    path = written(tmp_path, "events.csv", events(), separator)
    project, data = proposed(tmp_path, events=path)
    assert project.schema.separator == separator
    assert_same_data(project.read(), data)


def test_a_delimiter_does_not_affect_parquet(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(12)], "title": ["T"] * 12})
    project, data = proposed(
        tmp_path,
        events=written(tmp_path, "events.csv", events(), ";"),
        items=written(tmp_path, "items.parquet", items),
    )
    assert_same_data(project.read(), data)


def test_each_file_may_have_its_own_delimiter(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["i1", "i2"], "title": ["T", "S"]})
    tables = {
        "events": written(tmp_path, "events.csv", events(), ";"),
        "items": written(tmp_path, "items.csv", items),
    }
    project, data = proposed(tmp_path, **tables)
    assert_same_data(project.read(), data)
    assert project.file.data.events[0].separator == ";"


def test_a_delimiter_inside_quotes_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(["user_id", "item_id", "timestamp", "event_type"])
        for user, item, time in events().iter_rows():
            writer.writerow([f'{user}, "the one"', item, time, 'a "big" view'])
    project, data = proposed(tmp_path, events=path)
    assert_same_data(project.read(), data)
    assert 'u1, "the one"' in data.users.ids(range(9))
    assert list(data.kinds) == ['a "big" view']


def test_ratings_get_thresholds(tmp_path: Path) -> None:
    stars = pl.Series([1.0, 2.0, 3.0, 4.0, 5.0] * 16 + [5.0])
    path = written(tmp_path, "ratings.csv", events().with_columns(rating=stars))
    project, data = proposed(tmp_path, events=path)
    assert project.file.events["rating"].positive_threshold == 4
    assert project.file.events["rating"].negative_threshold == 2
    assert_same_data(project.read(), data)


def test_kinds_get_roles_and_weights(tmp_path: Path) -> None:
    kinds = pl.Series(["view", "purchase", "dislike", "impression"] * 20)
    path = written(tmp_path, "log.csv", events().head(80).with_columns(event_type=kinds))
    project, data = proposed(tmp_path, events=path)
    roles = {name: (kind.role, kind.weight) for name, kind in project.file.events.items()}
    assert roles["dislike"][0] == "negative"
    assert roles["impression"][0] == "exposure"
    assert roles["purchase"] == ("positive", 6.0)
    assert_same_data(project.read(), data)


def test_without_times_nothing_that_needs_a_clock_is_proposed(tmp_path: Path) -> None:
    path = written(tmp_path, "events.csv", events().drop("timestamp"))
    project, data = proposed(tmp_path, events=path)
    assert project.schema.clock == "none"
    assert "trending" not in project.file.retrievers
    assert_same_data(project.read(), data)


def many_events(users: int = 120, items: int = 60) -> pl.DataFrame:
    rows = [
        (f"u{user}", f"i{(user * 7 + item) % items}", START + 900 * (users * item + user))
        for user in range(users)
        for item in range(items - 8)
    ]
    return pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")


def labelled(items: int = 60) -> pl.DataFrame:
    genres = ["Drama|War", "Horror", "Comedy|Romance"] * (items // 3)
    return pl.DataFrame({"item_id": [f"i{item}" for item in range(items)], "genres": genres})


def test_a_large_catalogue_gets_the_sparse_form_of_ease(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(20_001)]})
    tables = {
        "events": written(tmp_path, "events.csv", events()),
        "items": written(tmp_path, "items.csv", items),
    }
    project = proposed(tmp_path, **tables)[0]
    assert "sparse_ease" in project.file.retrievers
    assert "ease" not in project.file.retrievers
    assert "sparse_ease" in project.file.placements["home"].retrievers


def test_sources_are_listed_and_their_quotas_are_learned(tmp_path: Path) -> None:
    project, _ = proposed(
        tmp_path,
        events=written(tmp_path, "events.csv", many_events()),
        items=written(tmp_path, "items.csv", labelled()),
    )
    home = project.file.placements["home"]
    assert home.retrievers == ("ease", "item_knn", "als", "trending", "popular", "content")
    assert home.learns_fusion
    assert home.ranker == "main"


def test_exploration_is_optional_and_its_cost_is_stated(tmp_path: Path) -> None:
    project, _ = proposed(
        tmp_path,
        events=written(tmp_path, "events.csv", many_events()),
        items=written(tmp_path, "items.csv", labelled()),
    )
    assert "new_items" not in project.file.retrievers
    assert not project.file.placements["home"].rerankers
    text = (tmp_path / "tastemaker.toml").read_text(encoding="utf-8")
    assert "explore" in text
    assert "2 % of NDCG@10" in text


@pytest.mark.parametrize("lacking", ["labels", "times", "events"])
def test_without_a_ranker_exploration_is_not_proposed(tmp_path: Path, lacking: str) -> None:
    log = many_events().head(800) if lacking == "events" else many_events()
    log = log.drop("timestamp") if lacking == "times" else log
    items = labelled().drop("genres") if lacking == "labels" else labelled()
    project, _ = proposed(
        tmp_path,
        events=written(tmp_path, "events.csv", log),
        items=written(tmp_path, "items.csv", items),
    )
    assert "new_items" not in project.file.retrievers
    assert not project.file.rerankers
    assert not project.file.placements["home"].rerankers


def test_files_in_other_folders_round_trip(tmp_path: Path) -> None:
    (tmp_path / "my data").mkdir()
    (tmp_path / "project").mkdir()
    path = written(tmp_path / "my data", "events of mine.csv", events())
    found = propose_project({"events": [path]})
    data, text = found.require_data(), project_text(found, tmp_path / "project")
    (tmp_path / "project" / "tastemaker.toml").write_text(text)
    assert_same_data(load_project(tmp_path / "project" / "tastemaker.toml").read(), data)


# --- recognizing files ---


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["events.csv", "items.csv", "users.csv"], ("events.csv", "items.csv", "users.csv")),
        (["ratings.csv", "movies.csv"], ("ratings.csv", "movies.csv", None)),
        (["Orders.PARQUET", "products.tsv"], ("Orders.PARQUET", "products.tsv", None)),
        (["anything.csv"], ("anything.csv", None, None)),
        (["notes.txt", "clicks.csv.gz", "articles.csv"], ("clicks.csv.gz", "articles.csv", None)),
        (["events_old.csv", "events.csv"], ("events.csv", None, None)),
    ],
)
def test_tables_are_found_by_their_names(
    tmp_path: Path, names: list[str], expected: tuple[Any, ...]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = find_tables(tmp_path)
    shown = tuple(found[t][0].name if t in found else None for t in ("events", "items", "users"))
    assert shown == expected


@pytest.mark.parametrize("names", [[], ["a.csv", "b.csv"], ["notes.txt"]])
def test_without_an_event_log_the_fix_is_reported(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=r"no (event log found|file is clearly the event log): .*; specify --events"
    ):
        find_tables(tmp_path)
