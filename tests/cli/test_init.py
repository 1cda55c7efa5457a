"""`init` always leaves a project file that can be trained on, or edited until it can."""

import random
from pathlib import Path
from typing import Any

import pytest

from tastemaker.project import load_project

USERS, ITEMS = 40, 30


def retail(folder: Path, holes: bool = True) -> Path:
    """A log as a spreadsheet of a shop exports it: codes, repeats, returns, users missing."""
    draw = random.Random(0)  # noqa: S311
    lines = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    for at in range(1_200):
        user, item = draw.randrange(USERS), int(ITEMS * draw.random() ** 2)
        day, minute = 1 + at // 40 % 28, at % 60
        lines.append(
            f"{536_365 + at // 5},8{item:03}A,LANTERN No {item},{-1 if at % 50 == 0 else 6},"
            f"2010-{1 + at // 1120:02}-{day:02} 08:{minute:02}:00,2.55,"
            f"{'' if holes and at % 4 == 0 else f'{12_346 + user}.0'},United Kingdom"
        )
    path = folder / "online_retail.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_shops_spreadsheet_becomes_a_project(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    retail(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert done.code == 0
    assert 'item_id = "StockCode"' in done.out
    assert "not used: InvoiceNo, Description, UnitPrice, Country" in done.out
    assert "CustomerID: 900 rows with an id such as 12" in done.err
    file = load_project(tmp_path / "tastemaker.toml").file
    assert file.events["purchase"].strength == "log"
    assert 0.25 <= file.data.max_bad_rows.events <= 0.3
    assert file.placements["home"].seen == {"purchase": "allow"}
    assert " repeat an earlier one of the same user and item" in done.out
    facts = run("validate", "--json").told
    assert facts["users"] == USERS
    assert facts["clock"] == "absolute"
    assert facts["events"]["reasons"] == {"missing user_id": 300}
    for verb in ("train", "evaluate"):
        assert run(verb, "--json").code == 0
    assert run("recommend", "--user", "12346", "--json").told["items"]


def test_a_setting_allows_bad_rows_and_the_error_names_it(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    retail(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run("init").code == 0
    path = tmp_path / "tastemaker.toml"
    lines = path.read_text().splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("[data.max_bad_rows]"))
    path.write_text("\n".join([*lines[:at], *lines[at + 2 :]]))
    told = run("validate").err
    assert "raise 'events' under [data.max_bad_rows] (here 25% are bad)" in told


def test_options_name_the_columns(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    (tmp_path / "log.csv").write_text(
        "a,b,c\n" + "".join(f"{i},{i % 7},{i % 5}\n" for i in range(50))
    )
    monkeypatch.chdir(tmp_path)
    done = run("init", "--user-id", "c", "--item-id", "b", "--value", "a")
    assert done.code == 0
    columns = load_project(tmp_path / "tastemaker.toml").file.data.columns.events
    assert columns == {"user_id": "c", "item_id": "b", "value": "a"}
    assert "a guess" not in done.out
    told = run("init", "--force", "--item-id", "bb").refused(2)
    assert "no column 'bb' for item_id in the event log; it has a, b, c" in told


def test_an_existing_file_hints_at_the_columns(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    (tmp_path / "log.csv").write_text(
        "a,b,c\n" + "".join(f"{i},{i % 7},{i % 5}\n" for i in range(50))
    )
    (tmp_path / "tastemaker.toml").write_text(
        '[data]\nevents = "log.csv"\n[data.columns.events]\nuser_id = "c"\nitem_id = "b"\n'
        'timestamp = "gone"\n[nonsense]\n'
    )
    monkeypatch.chdir(tmp_path)
    assert run("init", "--force").code == 0
    columns = load_project(tmp_path / "tastemaker.toml").file.data.columns.events
    assert columns == {"user_id": "c", "item_id": "b"}


def test_where_no_column_fits_the_file_is_written_all_the_same(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    prose = " ".join(["words"] * 20)
    (tmp_path / "log.csv").write_text(f"user,text\n1,{prose}\n2,{prose}\n")
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert done.code == 2
    assert "no column looks like item_id: fill it in, or run init again with --force" in done.err
    assert 'item_id = "FILL IN"  # one of: user, text' in (tmp_path / "tastemaker.toml").read_text()
    told = run("validate").err
    assert "no column 'FILL IN'" in told


def test_items_that_cannot_be_read_are_left_out(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    retail(tmp_path, holes=False)
    (tmp_path / "online_retail.csv").rename(tmp_path / "orders.csv")
    (tmp_path / "items.csv").write_text('id,title\n1,"open\n')
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert done.code == 0
    assert "items are left out: items.csv line 2: a quotation mark opens here" in done.err
    assert load_project(tmp_path / "tastemaker.toml").file.data.items is None


def test_a_timestamp_that_holds_words_is_not_used_and_named(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    rows = "".join(f"{i},x{i % 7},{'good' if i % 3 else 'bad'}\n" for i in range(60))
    (tmp_path / "log.csv").write_text("user,item,timestamp\n" + rows)
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert done.code == 0
    assert "log.csv: not used: timestamp" in done.err
    assert load_project(tmp_path / "tastemaker.toml").file.data.clock == "none"


@pytest.mark.parametrize("ending", [".dat", ".txt"])
def test_several_event_files_become_one_log(
    tmp_path: Path, run: Any, monkeypatch: Any, ending: str
) -> None:
    plays = "".join(f"{u}\t{(u * 3 + i) % 9}\t{i + 0.5}\n" for u in range(20) for i in range(5))
    buys = "".join(f"{u}\t{(u * 3 + i) % 9}\t1.0\n" for u in range(20) for i in range(6))
    (tmp_path / f"game_play{ending}").write_text(f"User_ID\tGame_ID\tHours\n{plays}")
    (tmp_path / f"game_purchase{ending}").write_text(f"User_ID\tGame_ID\tPurchase\n{buys}")
    titles = "".join(f"{i}\tGame {i}\n" for i in range(9))
    (tmp_path / f"item_info{ending}").write_text(f"Game_ID\tGame Name\n{titles}")
    monkeypatch.chdir(tmp_path)
    assert run("init").code == 0
    file = load_project(tmp_path / "tastemaker.toml").file
    assert [(one.event_type, one.columns.get("value")) for one in file.data.events] == [
        ("play", "Hours"), ("purchase", None)
    ]  # fmt: skip
    assert run("train").code == 0
    answer = run("recommend", "--user", "3", "--json").told
    assert answer["items"][0]["title"].startswith("Game ")
