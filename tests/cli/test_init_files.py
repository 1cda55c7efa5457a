"""The files that `init` reads and reports, and its output in unclear cases."""

from pathlib import Path
from typing import Any

import pytest

from tastemaker.project import load_project

HEAD = "user,item,timestamp\n"
ROWS = [f"u{i % 9},i{i % 13},{1_700_000_000 + 60 * i}\n" for i in range(90)]
LOG = HEAD + "".join(ROWS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)


def project(folder: Path) -> Any:
    return load_project(folder / "tastemaker.toml").file


@pytest.mark.parametrize(
    ("name", "kind", "role"),
    [
        ("dislikes_log", "dislike", "negative"),
        ("skips", "skip", "negative"),
        ("impressions", "impression", "exposure"),
        ("unlikes", "unlike", "neutral"),
    ],
)
def test_a_single_file_of_unliked_events_gives_no_likes(
    folder: Path, run: Any, name: str, kind: str, role: str
) -> None:
    write(folder, **{name: LOG})
    assert run("init").code in (0, 2)
    assert project(folder).events[kind].role == role
    facts = run("validate", "--json").json["kinds"]
    assert facts[kind]["liked"] == 0


def test_a_single_file_of_returns_gives_no_likes(folder: Path, run: Any) -> None:
    rows = "".join(f"u{i % 9},i{i % 13},{1 + i % 3}\n" for i in range(90))
    write(folder, returns="user,item,quantity\n" + rows)
    run("init")
    kind = project(folder).events["return"]
    assert (kind.role, kind.strength) == ("negative", "log")


def test_a_single_file_of_another_word_holds_interactions(folder: Path, run: Any) -> None:
    write(folder, clicks=LOG)
    assert run("init").code == 0
    assert list(project(folder).events) == ["interaction"]


@pytest.mark.parametrize("options", [(), ("--events", "likes.csv", "--events", "dislikes.csv")])
def test_likes_and_dislikes_in_two_files_stay_separate(
    folder: Path, run: Any, options: tuple[str, ...]
) -> None:
    write(folder, likes=LOG, dislikes=HEAD + "".join(ROWS[:20]))
    assert run("init", *options).code == 0
    kinds = project(folder).events
    assert kinds["dislike"].role == "negative"
    assert kinds["dislike"].replaces == ("like",)
    facts = run("validate", "--json").json["kinds"]
    assert facts["dislike"]["liked"] == 0


def test_files_that_are_not_read_are_reported(folder: Path, run: Any) -> None:
    write(folder, events=LOG, ratings=LOG)
    (folder / "u.item").write_text("1|x\n")
    done = run("init")
    assert done.code == 0
    text = (
        "not read: ratings.csv, u.item; add event files under [[data.events]] or with --events FILE"
    )
    assert text in done.err
    assert f"# {text}" in (folder / "tastemaker.toml").read_text()


def test_parts_of_one_log_are_read_together(folder: Path, run: Any) -> None:
    write(folder, orders_de=LOG, orders_fr=LOG.replace("u", "f").replace("fser", "user"))
    done = run("init")
    assert "not read" not in done.err
    assert run("validate", "--json").json["events"]["read"] == 180


def test_where_it_is_unclear_a_file_to_fill_in_is_written(folder: Path, run: Any) -> None:
    write(
        folder,
        a=LOG,
        b="user,item,stars\n" + "".join(f"u{i % 9},i{i % 13},{1 + i % 5}\n" for i in range(90)),
    )
    message = run("init").err
    assert (
        "tastemaker.toml, but no file is clearly the event log: found a.csv, b.csv; fill it in"
        in message
    )
    text = (folder / "tastemaker.toml").read_text()
    assert 'events = "FILL IN"  # one of: a.csv, b.csv' in text
    (folder / "tastemaker.toml").write_text(text.replace("FILL IN", "b.csv"))
    assert run("init", "--force").code == 0
    assert 'events = "b.csv"' in (folder / "tastemaker.toml").read_text()


def test_a_table_named_like_items_may_hold_the_events(folder: Path, run: Any) -> None:
    odd = "a,b\n" + "".join(f"{i % 9},{i % 13}\n" for i in range(90))
    write(folder, songs=odd, users="user,age\n" + "".join(f"{i},{20 + i}\n" for i in range(9)))
    assert "found songs.csv, users.csv; fill it in" in run("init").err
    path = folder / "tastemaker.toml"
    path.write_text(path.read_text().replace("FILL IN", "songs.csv"))
    done = run("init", "--force")
    assert done.code == 0
    assert 'events = "songs.csv"' in done.out
    assert "items =" not in done.out


def test_force_keeps_the_files_of_the_project(folder: Path, run: Any) -> None:
    write(
        folder,
        events=LOG,
        chosen=LOG,
        things="item,title\n" + "".join(f"i{i},T {i}\n" for i in range(13)),
    )
    assert run("init", "--events", "chosen.csv", "--items", "things.csv").code == 0
    done = run("init", "--force")
    assert 'events = "chosen.csv"' in done.out
    assert 'items = "things.csv"' in done.out
    (folder / "chosen.csv").unlink()
    assert 'events = "events.csv"' in run("init", "--force").out


def test_a_table_given_as_items_is_not_the_log(folder: Path, run: Any) -> None:
    write(folder, things="item,title\n" + "".join(f"i{i},T {i}\n" for i in range(13)), data=LOG)
    assert 'events = "data.csv"' in run("init", "--items", "things.csv").out


def test_a_column_with_too_many_event_types_is_not_used(folder: Path, run: Any) -> None:
    rows = "".join(f"u{i % 9},i{i % 13},t{i % 60}\n" for i in range(180))
    write(folder, log="user,item,type\n" + rows)
    done = run("init")
    assert done.code == 0
    assert "the column 'type' has more than 50 kinds of event" in done.err
    assert "the column 'type' has more than 50" in (folder / "tastemaker.toml").read_text()
    assert run("validate", "--json").json["events"]["kept"] == 180


def test_too_many_event_types_still_leave_a_file_to_edit(folder: Path, run: Any) -> None:
    rows = "".join(f"u{i % 9},i{i % 13},t{i % 60}\n" for i in range(180))
    write(folder, log="user,item,event_type\n" + rows)
    done = run("init")
    assert done.code == 2
    assert "the column 'event_type' has more than 50 kinds of event" in done.err
    assert (folder / "tastemaker.toml").is_file()


def test_many_rare_event_types_leave_a_file_to_edit(
    folder: Path, run: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tastemaker.project.propose.ROWS_TO_LOOK_AT", 60)
    monkeypatch.setattr("tastemaker.project.look.read_preview.__defaults__", (60,))
    kinds = ["view"] * 60 + [f"t{i}" for i in range(60)]
    rows = "".join(f"u{i % 9},i{i % 13},{kind}\n" for i, kind in enumerate(kinds))
    write(folder, log="user,item,event_type\n" + rows)
    run("init")
    assert list(project(folder).events) == ["view"]


def test_items_without_ids_are_left_out(folder: Path, run: Any) -> None:
    write(folder, events=LOG, items="label,size\n" + "".join(f"x{i},{i}.5\n" for i in range(13)))
    done = run("init")
    assert done.code == 0
    assert "the items table is left out: items.csv: no column looks like 'item_id'" in done.err


def test_a_name_that_occurs_twice_in_a_header_is_refused(folder: Path, run: Any) -> None:
    write(folder, log=LOG.replace("user,item,timestamp", "user,item,item"))
    message = run("init").err
    assert "the column 'item' occurs twice in the header; rename one of them in the file" in message


def test_a_header_over_two_lines_is_refused_with_its_reason(folder: Path, run: Any) -> None:
    write(folder, log=LOG.replace("timestamp", '"my\ntime",timestamp'))
    message = run("init").err
    assert (
        "the header has a line break inside a quoted name; write the names on one line" in message
    )
    assert "does not close" not in message


def test_a_column_without_a_name_is_reported_by_its_place(folder: Path, run: Any) -> None:
    rows = "".join(f"{i},{row}" for i, row in enumerate(ROWS))
    write(folder, log="," + HEAD + rows)
    assert "log.csv: not used: column_1" in run("init").err


def test_a_guess_is_reported_with_its_place(folder: Path, run: Any) -> None:
    text = "a,b\n" + "".join(f"{i % 9},{i % 13}\n" for i in range(90))
    write(folder, clicks=text)
    assert "check [data.columns.events], or specify the column: --item-id" in run("init").err
    write(folder, views=text)
    (folder / "tastemaker.toml").unlink()
    assert "check columns under [[data.events]], or specify the column" in run("init").err


def things(ids: list[str]) -> str:
    return "item,title\n" + "".join(f"{one},Thing {one}\n" for one in ids)


def test_items_with_other_ids_are_reported(folder: Path, run: Any) -> None:
    write(folder, events=LOG, items=things([f"SKU-{i}" for i in range(13)]))
    note = (
        "0 of 13 items occur in the event log; ids such as SKU-0 against i0: check "
        "[data.columns.items] and [data.columns.events]"
    )
    assert f"items.csv: {note}" in run("init").err
    assert f"items.csv: {note}" in run("validate").out
    assert run("validate", "--json").json["tables"]["items.csv"]["notes"] == [note]


def test_users_with_other_ids_are_reported(folder: Path, run: Any) -> None:
    write(folder, events=LOG, users="user,age\n" + "".join(f"{i},{20 + i}\n" for i in range(9)))
    assert "users.csv: 0 of 9 users occur in the event log" in run("init").err


def test_a_large_catalogue_with_a_small_log_is_fine(folder: Path, run: Any) -> None:
    write(folder, events=LOG, items=things([f"i{i}" for i in range(2_000)]))
    assert "occur in the event log" not in run("init").err
