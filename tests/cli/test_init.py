"""`init` always writes a project file that is ready for training or for editing."""

import random
from pathlib import Path
from typing import Any

import pytest

from tastemaker.project import load_project

USERS, ITEMS = 40, 30


def retail(folder: Path, holes: bool = True) -> Path:
    """An event log exported from a spreadsheet: codes, repeats, returns, missing users."""
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
    facts = run("validate", "--json").json
    assert facts["users"] == USERS
    assert facts["clock"] == "absolute"
    assert facts["events"]["reasons"] == {"missing user_id": 300}
    for verb in ("train", "evaluate"):
        assert run(verb, "--json").code == 0
    assert run("recommend", "--user", "12346", "--json").json["items"]


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
    message = run("validate").err
    assert "raise 'events' under [data.max_bad_rows] (here 25% are bad)" in message


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
    message = run("init", "--force", "--item-id", "bb").refused(2)
    assert "no column 'bb' for item_id in the event log; its columns are a, b, c" in message


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


def test_the_file_is_written_even_without_a_matching_column(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    prose = " ".join(["words"] * 20)
    (tmp_path / "log.csv").write_text(f"user,text\n1,{prose}\n2,{prose}\n")
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert done.code == 2
    assert "no column looks like item_id: fill it in, or run init again with --force" in done.err
    assert 'item_id = "FILL IN"  # one of: user, text' in (tmp_path / "tastemaker.toml").read_text()
    message = run("validate").err
    assert "no column 'FILL IN'" in message


def test_items_that_cannot_be_read_are_left_out(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    retail(tmp_path, holes=False)
    (tmp_path / "online_retail.csv").rename(tmp_path / "orders.csv")
    (tmp_path / "items.csv").write_text('id,title\n1,"open\n')
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert done.code == 0
    assert "the items table is left out: items.csv line 2: a quotation mark opens here" in done.err
    assert load_project(tmp_path / "tastemaker.toml").file.data.items is None


def test_a_timestamp_column_with_words_is_reported_as_unused(
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
    answer = run("recommend", "--user", "3", "--json").json
    assert answer["items"][0]["title"].startswith("Game ")


def yearly(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)


def test_two_files_may_write_their_times_differently(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    rows = [(f"u{i % 7}", f"i{i % 11}", 1 + i % 28) for i in range(60)]
    yearly(
        tmp_path,
        purchases="user,item,time\n" + "".join(f"{u},{i},2024-03-{d:02}\n" for u, i, d in rows),
        views="user,item,time\n" + "".join(f"{u},{i},{d}/3/2024\n" for u, i, d in rows),
        clicks="user,item,time\n" + "".join(f"{u},{i},Mar {d}, 2024\n".replace("Mar ", '"Mar ')
                                            .replace("2024\n", '2024"\n') for u, i, d in rows),
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run("init").code == 0
    facts = run("validate", "--json").json
    assert facts["events"]["kept"] == 180
    assert (facts["from"], facts["to"]) == ("2024-03-01T00:00:00Z", "2024-03-28T00:00:00Z")


def test_files_of_one_name_share_the_scale_of_all(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    head = "user,item,rating\n"
    yearly(
        tmp_path,
        ratings_2023=head + "".join(f"u{i % 9},i{i % 13},{4 + i % 2}\n" for i in range(80)),
        ratings_2024=head + "".join(f"u{i % 9},i{i % 11},{1 + i % 10}\n" for i in range(80)),
    )
    monkeypatch.chdir(tmp_path)
    assert run("init").code == 0
    kind = load_project(tmp_path / "tastemaker.toml").file.events["rating"]
    assert (kind.positive_threshold, kind.negative_threshold) == (8, 4)


def test_a_file_without_ratings_does_not_make_them_likes(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    yearly(
        tmp_path,
        events_1="user,item\n" + "".join(f"u{i % 9},i{i % 13}\n" for i in range(80)),
        events_2="user,item,rating\n" + "".join(f"u{i},i{i % 11},{1 + i % 5}\n" for i in range(50)),
    )
    monkeypatch.chdir(tmp_path)
    assert run("init").code == 0
    facts = run("validate", "--json").json["kinds"]
    assert facts["interaction"]["liked"] == 80
    rated = next(facts[name] for name in facts if name != "interaction")
    assert (rated["liked"], rated["disliked"]) == (20, 20)


def test_corrections_of_a_file_without_a_header_survive_init(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    rows = (f"{i % 7} {i % 50} {1 + i % 5}\n" for i in range(99))
    (tmp_path / "ratings.txt").write_text("".join(rows))
    monkeypatch.chdir(tmp_path)
    assert run("init").code == 0
    path = tmp_path / "tastemaker.toml"
    text = path.read_text()
    assert 'header = ["user_id", "item_id", "value"]' in text
    path.write_text(text.replace('"user_id", "item_id"', '"item_id", "user_id"'))
    assert run("init", "--force").code == 0
    assert 'header = ["item_id", "user_id", "value"]' in path.read_text()


def test_days_and_months_that_may_be_swapped_are_a_marked_guess(
    tmp_path: Path, run: Any, monkeypatch: Any
) -> None:
    rows = "".join(f"u{i % 7},i{i % 11},{1 + i % 12}/{1 + i % 9}/2024\n" for i in range(60))
    (tmp_path / "log.csv").write_text("user,item,date\n" + rows)
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert 'time_format = "%m/%d/%Y"  # a guess: day and month' in done.out
    assert "timestamp is a guess: check the time_format %m/%d/%Y" in done.err


def test_rows_that_cannot_be_used_are_reported(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    retail(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "300 of 1,200 rows cannot be used (300 missing user_id)" in run("init").err
