"""Columns are recognized by their names, or else by their values."""

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from tastemaker.data.recognize import recognize_events, recognize_id, title_column
from tastemaker.errors import DataError

N = 60
DATES = [f"2010-12-{1 + i % 28:02} 08:{i % 60:02}:00" for i in range(N)]


def shop(**changes: Any) -> pl.DataFrame:
    """A log with the columns of a well-known retail data set."""
    columns = {
        "InvoiceNo": [536_365 + i // 3 for i in range(N)],
        "StockCode": [f"8{i % 20}A" for i in range(N)],
        "Description": [f"WHITE METAL LANTERN No {i % 20} of many" for i in range(N)],
        "Quantity": [6 if i % 7 else -2 for i in range(N)],
        "InvoiceDate": DATES,
        "UnitPrice": [2.55] * N,
        "CustomerID": [17850.0 + i % 9 for i in range(N)],
        "Country": ["United Kingdom"] * N,
    }
    return pl.DataFrame({**columns, **changes})


def test_a_retail_log_is_recognized() -> None:
    found = recognize_events(shop())
    assert found.columns == {
        "user_id": "CustomerID", "item_id": "StockCode", "value": "Quantity",
        "timestamp": "InvoiceDate",
    }  # fmt: skip
    assert found.guessed == set()


@pytest.mark.parametrize("column", ["InvoiceDate", "day", "Zeitpunkt"])
@pytest.mark.parametrize("values", [DATES, [datetime(2020, 1, 1 + i % 28) for i in range(N)]])
def test_a_column_of_dates_is_the_clock(column: str, values: list[Any]) -> None:
    frame = pl.DataFrame({"user": range(N), "item": range(N), column: values})
    assert recognize_events(frame).columns["timestamp"] == column


def test_the_date_format_is_detected_with_the_column() -> None:
    frame = pl.DataFrame({"user": [1], "item": [1], "InvoiceDate": ["12/13/2010 8:26"]})
    assert recognize_events(frame).forms == {"InvoiceDate": "%m/%d/%Y %H:%M"}


@pytest.mark.parametrize("name", ["Game_ID", "WidgetCode", "hotel", "Produkt-Nr"])
def test_items_of_an_unusual_name_are_a_marked_guess(name: str) -> None:
    frame = pl.DataFrame({"User_ID": [1, 2], name: ["a1", "b2"], "note": ["long text " * 9] * 2})
    found = recognize_events(frame)
    assert found.columns["item_id"] == name
    if name != "Game_ID":
        assert found.guessed == {"item_id"}


def test_hints_override_names() -> None:
    found = recognize_events(shop(), {"item_id": "Description", "user_id": "InvoiceNo"})
    assert found.columns["item_id"] == "Description"
    assert found.columns["user_id"] == "InvoiceNo"


def test_a_hint_for_a_missing_column_names_the_near_miss() -> None:
    with pytest.raises(DataError, match=r"no column 'StockCod' for item_id; did you mean 'StockC"):
        recognize_events(shop(), {"item_id": "StockCod"})


def test_a_number_of_an_event_is_not_its_type() -> None:
    frame = pl.DataFrame({"visitorid": [1, 2], "itemid": [1, 2], "event": [1, 3]})
    assert recognize_events(frame).columns == {
        "user_id": "visitorid", "item_id": "itemid", "value": "event"
    }  # fmt: skip


def test_friends_are_not_items() -> None:
    frame = pl.DataFrame({"userID": [2, 2], "friendID": [275, 428]})
    assert "item_id" not in recognize_events(frame).columns


def test_unnamed_columns_are_recognized_by_values() -> None:
    frame = pl.DataFrame(
        {
            "column_1": [196, 186, 22], "column_2": [242, 302, 377], "column_3": [3, 3, 1],
            "column_4": [1_181_250_949, 1_191_717_742, 1_178_887_116],
        }
    )  # fmt: skip
    found = recognize_events(frame)
    assert found.columns == {
        "timestamp": "column_4", "user_id": "column_1", "item_id": "column_2", "value": "column_3"
    }  # fmt: skip
    assert found.guessed == set(found.columns)


def test_the_ids_of_items_are_found_in_the_event_log() -> None:
    items = pl.DataFrame({"price": [1, 2], "key": ["a", "b"]})
    assert recognize_id(items, "item_id", pl.Series(["b", "a", "a"])) == ("key", True)
    with pytest.raises(DataError, match="no column looks like 'item_id' among price, key"):
        recognize_id(items, "item_id", pl.Series(["x", "y", "z"]))


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (["ISBN", "Book-Title", "Book-Author"], "Book-Title"),
        (["Game_ID", "Game Name"], "Game Name"),
        (["name", "title"], "title"),
        (["plot", "subtitle"], "subtitle"),
        (["plot"], None),
    ],
)
def test_the_title_has_many_names(columns: list[str], title: str | None) -> None:
    assert title_column(columns) == title


@pytest.mark.parametrize(
    ("name", "values"),
    [("date", [44_927.61, 44_928.2]), ("date", [0, 192]), ("time", [916, 1444]), ("time", [9, 10])],
)
def test_numbers_that_are_not_moments_are_not_the_clock(name: str, values: list[float]) -> None:
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 2], name: values})
    assert "timestamp" not in recognize_events(frame).columns
    dated = frame.with_columns(bought_date=pl.Series(["2024-01-01", "2024-01-02"]))
    assert recognize_events(dated).columns["timestamp"] == "bought_date"


def test_a_timestamp_in_1970_is_a_guess() -> None:
    found = recognize_events(pl.DataFrame({"user": [1], "item": [1], "timestamp": [500]}))
    assert found.columns["timestamp"] == "timestamp"
    assert found.guessed == {"timestamp"}


@pytest.mark.parametrize("other", ["birth_date", "expiry_date", "last_update", "delivery_date"])
def test_other_dates_are_not_the_clock(other: str) -> None:
    dates = ["1990-01-01", "1991-02-03"]
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 2], other: dates})
    assert "timestamp" not in recognize_events(frame).columns
    later = frame.with_columns(bought_on=pl.Series(["2024-01-01", "2024-01-02"]))
    found = recognize_events(later)
    assert found.columns["timestamp"] == "bought_on"
    assert "timestamp" in found.guessed


def test_dates_that_are_often_missing_are_not_the_clock() -> None:
    dates = ["2024-01-01", None]
    assert (
        "timestamp"
        not in recognize_events(
            pl.DataFrame({"user": [1, 2], "item": [1, 2], "seen": dates})
        ).columns
    )


def test_words_for_missing_do_not_hide_a_rating() -> None:
    frame = pl.DataFrame(
        {"user": range(6), "item": range(6), "rating": ["4", "NULL", "1", "N/A", "5", "-"]}
    )
    assert recognize_events(frame).columns["value"] == "rating"


def test_an_invented_name_does_not_join_items() -> None:
    items = pl.DataFrame({"column_1": ["10", "11"], "column_2": ["Toy Story", "Heat"]})
    assert recognize_id(items, "item_id", pl.Series([10, 11]), "column_2") == ("column_1", True)
