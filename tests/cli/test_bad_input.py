"""Unusable input is a one-line error with exit code 2, or is quarantined and counted."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

Change = Callable[[Any], object]
FUTURE = 4_000_000_000  # 2096
HEADER = "user_id,item_id,event_type,timestamp"


def raw(content: bytes) -> Change:
    return lambda shop: shop.events.write_bytes(content)


def spoiled(every: int, row: str) -> Change:
    """Replaces every n-th row."""
    return lambda shop: shop.write(
        [row if place % every == 0 else good for place, good in enumerate(shop.rows)]
    )


def cut_gzip(shop: Any) -> None:
    packed = gzip.compress(shop.events.read_bytes())
    (shop.folder / "events.csv.gz").write_bytes(packed[: len(packed) // 2])
    shop.change('"events.csv"', '"events.csv.gz"')


def columns(mapping: str) -> Change:
    return lambda shop: shop.change(
        "[items.roles]", f"[data.columns.events]\n{mapping}\n[items.roles]"
    )


UNUSABLE = {
    "empty": (raw(b""), "events.csv: the file is empty; it needs a header line and rows"),
    "header only": (raw(HEADER.encode() + b"\n"), "events.csv: has a header but no rows"),
    "wrong delimiter": (
        lambda shop: shop.write([r.replace(",", ";") for r in shop.rows], HEADER.replace(",", ";")),
        "the fields seem to be separated by ';': set separator = \";\" under [data]",
    ),
    "misspelt column": (
        columns('user_id = "usr_id"'),
        "no column 'usr_id'; did you mean 'user_id'?",
    ),
    "misspelt name of ours": (columns('usr_id = "user_id"'), "'usr_id'; did you mean 'user_id'?"),
    "missing column": (
        lambda shop: shop.write(shop.rows, HEADER.replace("item_id", "itm_id")),
        "events.csv: no column 'item_id'; did you mean 'itm_id'?",
    ),
    "float ids": (
        lambda shop: shop.write([r.replace("u", "", 1).replace(",", ".5,", 1) for r in shop.rows]),
        "the column 'user_id' (user_id) holds floats such as 0.5; write ids as integers or text",
    ),
    "30 % bad": (
        spoiled(3, "u1,,view,1700000000"),
        "28 of 84 rows cannot be used (28 missing item_id)",
    ),
    "unknown kinds": (spoiled(20, "u1,red1,veiw,1700000000"), "unknown event_type"),
    "times in the future": (spoiled(20, f"u1,red1,view,{FUTURE}"), "timestamp in the future"),
    "times before 1970": (spoiled(20, "u1,red1,view,-86400"), "timestamp before 1970"),
    "unreadable times": (spoiled(20, "u1,red1,view,yesterday"), "unreadable timestamp"),
    "binary": (raw(bytes(range(256)) * 9), "events.csv: looks like binary, not UTF-8 text"),
    "a spreadsheet": (raw(b"PK\x03\x04" + bytes(99)), "looks like a zip or spreadsheet"),
    "UTF-16": (raw(f"{HEADER}\nu,i,view,1\n".encode("utf-16")), "UTF-16"),
    "an unclosed quote": (
        lambda shop: shop.write([*shop.rows[:3], '"u1,red1,view,1700000000', *shop.rows[3:]]),
        "events.csv line 5: a quotation mark opens here and does not close",
    ),
    "a gzip cut short": (cut_gzip, "events.csv.gz: the gzip file is truncated; download it again"),
    "no such file": (lambda shop: shop.events.unlink(), "events.csv: no such file"),
    "a folder": (
        lambda shop: (shop.events.unlink(), shop.events.mkdir()),
        "events.csv: is a folder",
    ),
    "not Parquet": (raw(b"PAR1 and nothing more"), "events.csv: not a readable Parquet file"),
    "malformed TOML": (
        lambda shop: shop.change("[data]", "[data"),
        "tastemaker.toml: malformed TOML",
    ),
    "unknown key": (
        lambda shop: shop.change("[split]", "[split]\nhorizn = '3d'"),
        "[split]: unknown setting 'horizn'; did you mean 'horizon'?",
    ),
    "unknown retriever": (
        lambda shop: shop.change('"item_knn"', '"item_kn"'),
        "no retriever is called 'item_kn'; did you mean 'item_knn'?",
    ),
    "unknown item column": (
        lambda shop: shop.change("title =", "titel ="),
        "items.csv: no column 'titel'; did you mean 'title'?",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("verb", ["validate", "train", "evaluate"])
def test_unusable_files_are_a_one_line_error_with_exit_code_2(
    shop: Any, run: Any, verb: str, case: str
) -> None:
    spoil, message = UNUSABLE[case]
    spoil(shop)
    assert message in run(verb, "--json").refused(2)


@pytest.mark.parametrize(
    "case",
    ["empty", "header only", "float ids", "binary", "an unclosed quote", "a gzip cut short"],
)
def test_init_refuses_unusable_files(shop: Any, run: Any, case: str) -> None:
    UNUSABLE[case][0](shop)
    done = run("init", "--force", "--events", next(shop.folder.glob("events.csv.gz"), shop.events))
    done.refused(2)


def test_init_detects_another_delimiter(shop: Any, run: Any) -> None:
    UNUSABLE["wrong delimiter"][0](shop)
    assert run("init", "--force", "--events", shop.events).code == 0
    assert run("validate", "--json").json["events"]["kept"] == 84


def test_a_missing_project_is_a_one_line_error(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no tastemaker.toml here or in a parent folder" in run("train").refused(2)
    assert "no such file" in run("train", "--project", tmp_path / "x.toml").refused(2)


def wired(old: str, new: str) -> Change:
    """A project with a ranker, a reranker and one error."""

    def change(shop: Any) -> None:
        shop.change("[placements.home]", WIRING + "[placements.home]\n" + WIRED)
        shop.change("[placements.cart]", AFTER + "[placements.cart]")
        if old:
            shop.change(old, new)

    return change


WIRING = """[rankers.main]
type = "gbm"
trees = 5
objectives = ["view"]
[rerankers.rules]
type = "rules"
[training]
slices = 2
window = 0.1
require_improvement = false
"""
WIRED = 'ranker = "main"\nrerankers = ["rules"]\n'
AFTER = "[placements.home.objective_weights]\nview = 1.0\n[placements.home.budget]\ntotal = 50\n"

MISWIRED = {
    "unknown ranker": (wired('ranker = "main"', 'ranker = "man"'), "did you mean 'main'?"),
    "unknown reranker": (wired('["rules"]', '["rule"]'), "unknown reranker 'rule'; did you mean"),
    "no such component": (wired('"gbm"', '"gbn"'), "no ranker is called 'gbn'; did you mean 'gbm'"),
    "a wrong setting": (wired("trees = 5", "tree = 5"), "[rankers.main]: unknown setting 'tree'"),
    "a wrong value": (
        wired("trees = 5", "trees = -5"),
        "[rankers.main] trees must be greater than or equal to 1",
    ),
    "an unknown objective": (wired('["view"]', '["viev"]'), "'viev' is not a positive event type"),
    "a negative objective": (wired('["view"]', '["hide"]'), "'hide' is not a positive event type"),
    "a value nobody predicts": (
        wired("view = 1.0", "buy = 1.0"),
        "does not predict 'buy'; known: view",
    ),
    "a value without ranker": (
        wired('ranker = "main"\n', ""),
        "no ranker predicts these",
    ),
    "a budget of nothing": (
        wired("total = 50", "total = 0"),
        "[placements.home.budget] total must be greater than 0",
    ),
    "an odd window": (wired("window = 0.1", 'window = "soon"'), "[training] window must be a dura"),
    "too few windows": (wired("slices = 2", "slices = 1"), "[training] slices must be greater"),
    "a shared ranker": (
        wired("[placements.cart]", '[placements.cart]\nranker = "main"'),
        "share the ranker 'main'; declare one for each",
    ),
}


@pytest.mark.parametrize("case", MISWIRED)
@pytest.mark.parametrize("verb", ["validate", "train"])
def test_invalid_rankers_are_a_one_line_error_with_exit_code_2(
    shop: Any, run: Any, verb: str, case: str
) -> None:
    spoil, message = MISWIRED[case]
    spoil(shop)
    assert message in run(verb, "--json").refused(2)


def test_a_ranker_needs_absolute_times(shop: Any, run: Any) -> None:
    wired('events = "events.csv"', 'events = "events.csv"\nclock = "ordinal"')(shop)
    assert run("validate").code == 0
    assert "a ranker" in last_line(run("train"), 2)


@pytest.mark.parametrize("window", ["0.6", '"40d"'])
def test_too_short_a_log_for_a_ranker_is_a_one_line_error(shop: Any, run: Any, window: str) -> None:
    wired("window = 0.1", f"window = {window}")(shop)
    message = last_line(run("train"), 2)
    assert "[training]" in message
    assert "window" in message


# --- quarantine ---

BAD = {
    ",red1,view,1700000000": "missing user_id",
    "u1,NaN,view,1700000000": "missing item_id",
    "u1,3.5,view,1700000000": "float item_id",
    "u1,red1,stare,1700000000": "unknown event_type",
    f"u1,red1,view,{FUTURE}": "timestamp in the future",
    "u1,red1,view,-5": "timestamp before 1970",
    "u1,red1,view,soon": "unreadable timestamp",
    "u1,red1": "2 fields instead of 4",
}


def quarantine(shop: Any) -> pl.DataFrame:
    """The one file of the quarantine folder."""
    (path,) = (shop.folder / ".tastemaker" / "quarantine").iterdir()
    assert path.name.startswith("events.csv")
    return pl.read_csv(path)


def test_a_few_bad_rows_are_quarantined_with_line_and_reason(shop: Any, run: Any) -> None:
    good = [row for _ in range(12) for row in shop.rows]
    shop.write([*good, *BAD])
    done = run("validate", "--json")
    assert done.code == 0
    result = done.json["events"]
    assert (result["read"], result["kept"]) == (len(good) + len(BAD), len(good))
    assert result["quarantined"] == len(BAD)
    assert result["reasons"] == dict.fromkeys(BAD.values(), 1)
    assert f"{len(BAD)} of 1,016 rows cannot be used" in done.err
    kept = quarantine(shop)
    assert kept.columns == ["line", "reason", "row"]
    first = 2 + len(good)
    assert kept["line"].to_list() == list(range(first, first + len(BAD)))
    assert kept["reason"].to_list() == list(BAD.values())
    assert all("red1" in row or "u1" in row for row in kept["row"])
    assert run("train").code == 0


def test_the_quarantine_is_emptied_when_the_rows_are_fixed(shop: Any, run: Any) -> None:
    good = [row for _ in range(12) for row in shop.rows]
    shop.write([*good, *BAD])
    run("validate")
    assert quarantine(shop).height == len(BAD)
    shop.write(good)
    assert run("validate", "--json").json["events"]["quarantined"] == 0
    assert list((shop.folder / ".tastemaker" / "quarantine").iterdir()) == []


def test_too_many_bad_rows_can_be_inspected(shop: Any, run: Any) -> None:
    UNUSABLE["30 % bad"][0](shop)
    run("train").refused(2)
    kept = quarantine(shop)
    assert kept.height == 28


def test_the_first_event_with_an_id_counts(shop: Any, run: Any) -> None:
    rows = [f"{row},e{place}" for place, row in enumerate(shop.rows)]
    other = "fresh,red1,view,1700000000,e0"
    shop.change("[data]\n", "[data]\nmax_bad_rows = { events = 0.05 }\n")
    shop.write([*rows, *rows[:2], other], f"{HEADER},event_id")
    done = run("validate", "--json")
    assert done.json["events"]["duplicates"] == 2
    assert done.json["events"]["reasons"] == {"event_id of another event": 1}
    assert done.json["events"]["kept"] == 84
    assert done.json["users"] == 12
    assert "events.csv: 2 rows with a duplicate id left out" in done.err
    assert "1 of 87 rows cannot be used (1 event_id of another event)" in done.err


def test_unusual_ids_are_accepted(shop: Any, run: Any) -> None:
    odd = ["1", "01", "ünï", "a b", "x;y", "1e5", "-7", "'q'"]
    rows = [row.replace("u1,", f"{odd[place % 8]},", 1) for place, row in enumerate(shop.rows)]
    shop.write(rows)
    result = run("validate", "--json").json
    assert result["events"]["kept"] == 84
    assert run("train").code == 0
    for user in ("01", "ünï", "a b"):
        done = run("recommend", f"--user={user}", "--json")
        if any(row.startswith(f"{user},") for row in rows):
            assert "not in the data" not in done.err
        assert done.code == 0


# --- too little data, and much data ---

LACKING = {
    "one user": (lambda row: "u1" + row[row.index(",") :], "only one user has events"),
    "one item": (
        lambda row: row.split(",")[0] + ",red1,view,1700000000",
        "only one item has events",
    ),
    "nothing liked": (lambda row: row.replace("view", "hide"), "no event is positive"),
}


@pytest.mark.parametrize("case", LACKING)
def test_too_little_training_data_is_reported(shop: Any, run: Any, case: str) -> None:
    change, message = LACKING[case]
    shop.write([change(row) for row in shop.rows])
    validated = run("validate")
    assert validated.code == 0
    assert f"not enough to train on: {message}" in validated.err
    trained = run("train")
    assert trained.code == 2
    assert trained.out == ""
    assert "Traceback" not in trained.err
    assert trained.err.splitlines()[-1].startswith(f"error: not enough to train on: {message}")
    assert not (shop.folder / ".tastemaker" / "current").exists()


def test_users_without_events_do_not_count_for_training(shop: Any, run: Any) -> None:
    shop.write([LACKING["one user"][0](row) for row in shop.rows])
    (shop.folder / "users.csv").write_text("user_id,age\nu1,30\nu2,40\nu3,50\n")
    shop.change('items = "items.csv"', 'items = "items.csv"\nusers = "users.csv"')
    assert "only one user has events" in run("train").err


@pytest.mark.parametrize("case", LACKING)
def test_too_little_data_to_evaluate_is_not_a_traceback(shop: Any, run: Any, case: str) -> None:
    shop.write([LACKING[case][0](row) for row in shop.rows])
    done = run("evaluate")
    assert done.code in (0, 2)
    assert "Traceback" not in done.err
    assert done.code == 0 or done.err.splitlines()[-1].startswith("error: ")


def test_a_user_with_100_000_events_is_handled(shop: Any, run: Any) -> None:
    random = np.random.default_rng(3)
    items = random.integers(0, 900, 100_000)
    times = 1_690_000_000 + np.arange(100_000) * 90
    rows = [f"bot,thing{item},view,{time}" for item, time in zip(items, times)]
    shop.write([*rows, *shop.rows])
    assert run("train").code == 0
    done = run("recommend", "--user", "bot", "--n", "30", "--json")
    found = {item["item_id"] for item in done.json["items"]}
    assert found
    assert not found & {f"thing{item}" for item in items}
    shop.change("test = 0.2", 'test = "2d"')
    assert run("evaluate", "--k", "5").code == 0


# --- the state folder ---


def last_line(done: Any, code: int) -> str:
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    line: str = done.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_a_state_folder_that_cannot_be_created_is_one_line(shop: Any, run: Any) -> None:
    (shop.folder / ".tastemaker").write_text("in the way")
    assert ".tastemaker" in last_line(run("train"), 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(shop: Any, run: Any) -> None:
    shop.folder.chmod(0o555)
    try:
        assert "Permission denied" in last_line(run("train"), 1)
        assert "Permission denied" in last_line(run("init", "--force"), 1)
    finally:
        shop.folder.chmod(0o755)


def current(shop: Any) -> Path:
    state: Path = shop.folder / ".tastemaker"
    return state / "artifacts" / (state / "current").read_text().splitlines()[0]


def test_a_damaged_artifact_is_refused(shop: Any, run: Any) -> None:
    run("train")
    target = current(shop) / "components" / "popular" / "users.npy"
    target.write_bytes(target.read_bytes()[:-1] + b"\x07")
    message = last_line(run("recommend", "--history", "red1"), 1)
    assert "'components/popular/users.npy' is damaged" in message
    assert run("train").code == 0
    assert run("recommend", "--history", "red1").code == 0


@pytest.mark.parametrize("version", ["../../elsewhere", "", "gone", "a/b", "\x00", "."])
def test_a_pointer_to_a_missing_version_is_refused(shop: Any, run: Any, version: str) -> None:
    run("train")
    (shop.folder / ".tastemaker" / "current").write_text(version)
    last_line(run("recommend", "--history", "red1"), 1)


def test_a_pointer_that_is_not_text_is_refused(shop: Any, run: Any) -> None:
    run("train")
    (shop.folder / ".tastemaker" / "current").write_bytes(b"\xff\xfe\xfa")
    last_line(run("recommend", "--history", "red1"), 1)


def test_events_of_items_newer_than_the_training_are_left_out(shop: Any, run: Any) -> None:
    run("train")
    before = run("recommend", "--user", "u1").out
    shop.write([*shop.rows, "u1,violet1,view,1700000001"])
    assert run("recommend", "--user", "u1").out == before


def test_data_with_missing_items_needs_a_new_training(shop: Any, run: Any) -> None:
    shop.write([*shop.rows, *(f"{user},violet1,view,1700000001" for user in ("u1", "u2"))])
    run("train")
    shop.write(shop.rows)
    message = last_line(run("recommend", "--user", "u1"), 1)
    assert "the data has changed since training; train again" in message
    assert run("recommend", "--history", "red1").code == 0


def test_events_after_the_training_count_at_once(shop: Any, run: Any) -> None:
    run("train")
    first = run("recommend", "--user", "u2", "--n", "1", "--json").json["items"][0]["item_id"]
    shop.write([*shop.rows, f"u2,{first},view,1701000000"])
    again = run("recommend", "--user", "u2", "--n", "20", "--json").json["items"]
    assert first not in [item["item_id"] for item in again]


def test_a_system_error_is_one_line(shop: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/data/.tastemaker")

    monkeypatch.setattr("tastemaker.cli.verbs.train_project", refused)
    assert last_line(run("train"), 1) == "error: /data/.tastemaker: Permission denied"


@pytest.mark.parametrize("options", [["--user"], ["--history"]])
def test_an_id_that_is_not_text_is_refused(shop: Any, run: Any, options: list[str]) -> None:
    run("train")
    message = last_line(run("recommend", *options, "caf\udce9"), 2)
    assert r"unpaired surrogate in" in message
    assert r"'caf\udce9': send valid UTF-8" in message


def test_names_with_brackets_are_shown_unchanged(shop: Any, run: Any) -> None:
    shop.events.rename(shop.folder / "log [old] [bold]:cat:.csv")
    shop.change('"events.csv"', '"log [old] [bold]:cat:.csv"')
    done = run("validate")
    assert done.code == 0
    assert "reading log [old] [bold]:cat:.csv … " in done.err
