"""Titles and ids from outside cannot control a terminal, whichever command prints them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\u200f\x7f"
TITLE = f'"Red {EVIL}\nerror: forged"'
ID = "red\u202e0"
"""Direction marks occur in real ids; only control characters are refused."""


@pytest.fixture
def evil(shop: Any, run: Any) -> Callable[..., Any]:
    """Runs commands on a trained project with control characters in its data."""
    items = shop.folder / "items.csv"
    items.write_text(
        "\n".join([f"item_id,title,odd{EVIL}", f"{ID},{TITLE},", f"red1,{TITLE},"])
        + "\n"
        + "\n".join(f"{t}{i},{t} {i}," for t in ("red", "blue") for i in range(2, 10))
        + "\n"
    )
    shop.write([row.replace("red0", ID) for row in shop.rows] + [f"u1,,view,1700000000{EVIL}"])
    shop.change("test = 0.2", "test = 0.2\n[data.max_bad_rows]\nevents = 0.5")
    assert run("train").code == 0
    return run  # type: ignore[no-any-return]


def lines_of(done: Any) -> Iterator[str]:
    yield from done.out.split("\n")
    yield from done.err.split("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend", "--user", "u0"),
        ("recommend", "--user", EVIL),
        ("recommend", "--user", "nobody\u202e"),
        ("recommend", "--history", f"red1,{ID},no\u202esuch"),
        ("recommend", "--user", "u0", "--placement", EVIL),
        ("recommend", "--user", "u0", "--n", f"1{EVIL}"),
        ("rank", "u0", "red1", ID),
        ("rank", "u0", f"none{EVIL}"),
        ("rank", "u0", "none\u202e"),
        ("similar", "red1"),
        ("similar", ID),
        ("similar", "none\u202e"),
        ("similar", "red1", "--retriever", EVIL),
        ("evaluate",),
        ("evaluate", "--window", EVIL),
        ("validate",),
        ("validate", "--project", f"no{EVIL}.toml"),
        ("versions",),
        ("versions", "promote", EVIL),
        ("keys", "add", EVIL),
        ("keys", "remove", EVIL),
        ("train",),
        ("train", "--no-promote", "--json"),
        ("recommend", "--all", "--output", "out.csv"),
        ("recommend", "--all", "--output", f"{EVIL}.csv".replace("\x1b", "")),
        ("recommend", "--all", "--output", "out.parquet", "--placement", EVIL),
        ("store", "stats"),
        ("store", "events", "list", "--limit", "1000"),
        ("store", "events", "list", "--item", ID),
        ("store", "events", "list", "--event-type", EVIL),
        ("store", "events", "list", "--from", EVIL),
        ("store", "events", "remove", "--user", EVIL),
        ("store", "users", "list", "--user", "u\u202e0"),
        ("store", "users", "remove", "--user", EVIL, "--yes"),
        ("store", "items", "list", "--limit", "100"),
        ("store", "items", "remove", "--item", ID, "--yes"),
        ("store", "prune", "--older-than", EVIL),
        ("store", "compact"),
        ("store", EVIL),
        ("doctor",),
        ("init", "--force"),
        (EVIL,),
        (f"--{EVIL}",),
    ],
    ids=lambda arguments: ascii(" ".join(arguments)[:30]),
)
def test_no_command_prints_control_characters(evil: Any, arguments: tuple[str, ...]) -> None:
    done = evil(*arguments)
    for line in lines_of(done):
        assert line.isprintable(), ascii(line)
        assert not line.startswith("error: forged")


def test_removals_are_listed_without_control_characters(evil: Any) -> None:
    for what, ids in (("users", ("--user", EVIL)), ("events", ("--item", ID, "--until", "1990"))):
        assert evil("store", what, "remove", *ids, "--yes").code == 0
    assert evil("store", "items", "remove", "--item", ID, "--yes").code == 0
    shown = evil("store", "stats")
    assert "removed" in shown.out
    assert all(line.isprintable() for line in lines_of(shown))


def test_an_unexpected_error_is_printed_escaped(
    shop: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError(f"{EVIL}\nerror: forged") from ValueError(f"{EVIL}\nerror: forged")

    monkeypatch.setattr("tastemaker.cli.verbs.validate", fail)
    done = run("validate")
    assert done.code == 1
    assert done.err.startswith("error: unexpected KeyError: ")
    assert "Traceback (most recent call last):" in done.err
    assert "in fail" in done.err
    for line in lines_of(done):
        assert line.isprintable(), ascii(line)
        assert not line.startswith("error: forged")


@pytest.mark.parametrize(
    "arguments",
    [("recommend", "--user", "u1", "--n", "20"), ("similar", "red2"), ("rank", "u1", ID)],
)
def test_json_has_titles_and_ids_exactly(evil: Any, arguments: tuple[str, ...]) -> None:
    done = evil(*arguments, "--json")
    assert all(line.isprintable() for line in done.out.split("\n"))
    assert "\\u001b" in done.out
    found = {item["item_id"]: item.get("title") for item in json.loads(done.out)["items"]}
    assert ID in found or "red1" in found
    assert f"Red {EVIL}\nerror: forged" in found.values()


def test_ids_with_controls_go_to_the_quarantine(shop: Any, run: Any) -> None:
    shop.write([*shop.rows, "u1,red\x9b31m,view,1700000000", "u\x1b,red1,view,1700000000"])
    shop.change("test = 0.2", "test = 0.2\n[data.max_bad_rows]\nevents = 0.5")
    reasons = run("validate", "--json").json["events"]["reasons"]
    assert reasons == {
        "line break or control character in item_id": 1,
        "line break or control character in user_id": 1,
    }


def test_a_csv_of_recommendations_contains_no_formulas(shop: Any, run: Any) -> None:
    shop.write([row.replace("u0,", "=1+1,").replace("u2,", "-2,") for row in shop.rows])
    run("train")
    csv, parquet = shop.folder / "out.csv", shop.folder / "out.parquet"
    done = run("recommend", "--all", "--output", csv, "--n", "2")
    assert done.code == 0
    assert "2 rows have an id that a spreadsheet would run as a formula" in done.err
    users = set(pl.read_csv(csv, infer_schema=False)["user_id"])
    assert {"'=1+1", "-2"} <= users
    assert "=1+1" not in users
    assert "formula" not in run("recommend", "--all", "--output", parquet, "--n", "2").err
    assert "=1+1" in set(pl.read_parquet(parquet)["user_id"])
