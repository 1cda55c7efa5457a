"""`tastemaker store`: listing and removing its content."""

from typing import Any


def test_events_are_only_counted_without_yes(shop: Any, run: Any) -> None:
    users = run("store", "users", "list", "--json").json["users"]
    user, count = users[0]["user_id"], users[0]["events"]
    dry = run("store", "events", "remove", "--user", user, "--json")
    assert dry.json == {"removed": False, "events": count}
    assert "add --yes" in dry.err
    assert run("store", "events", "remove", "--user", user, "--yes").code == 0
    assert run("store", "events", "list", "--user", user, "--json").json == {
        "count": 0,
        "events": [],
    }
    stats = run("store", "stats", "--json").json
    assert stats["removals"][0]["events"] == count
    assert f"{count:,} events" in run("store", "stats").out


def test_removing_events_needs_a_filter(shop: Any, run: Any) -> None:
    assert "specify the events" in run("store", "events", "remove", "--yes").refused(2)
    assert "specify the users" in run("store", "users", "remove", "--yes").refused(2)
    assert "specify the items" in run("store", "items", "remove", "--yes").refused(2)


def test_an_unknown_event_type_is_reported(shop: Any, run: Any) -> None:
    for verb in ("list", "remove"):
        done = run("store", "events", verb, "--event-type", "viwe")
        assert "no event of type 'viwe'; did you mean 'view'?" in done.refused(2)


def test_whether_an_item_is_described_is_shown_in_words(shop: Any, run: Any) -> None:
    shop.write([*shop.rows, "u1,undescribed,view,1700000000"])
    lines = run("store", "items", "list", "--limit", "100").out.splitlines()
    shown = {line.split()[0]: line.split()[1] for line in lines}
    assert (shown["item_id"], shown["red1"], shown["undescribed"]) == ("described", "yes", "no")
    assert run("store", "items", "list", "--json").json["items"][0]["described"] is True


def test_an_invalid_time_is_reported(shop: Any, run: Any) -> None:
    assert "--from must be a date or time" in run(
        "store", "events", "list", "--from", "then"
    ).refused(2)


def test_training_does_not_see_what_was_removed(shop: Any, run: Any) -> None:
    users = run("store", "users", "list", "--json").json["users"]
    assert run("store", "users", "remove", "--user", users[0]["user_id"], "--yes").code == 0
    assert run("train").code == 0
    left = run("store", "users", "list", "--json").json["users"]
    assert users[0]["user_id"] not in [user["user_id"] for user in left]


def test_a_removed_item_is_not_recommended(shop: Any, run: Any) -> None:
    assert run("train").code == 0
    user = run("store", "users", "list", "--json").json["users"][0]["user_id"]
    shown = [i["item_id"] for i in run("recommend", "--user", user, "--json").json["items"]]
    assert run("store", "items", "remove", "--item", shown[0], "--yes").code == 0
    again = [i["item_id"] for i in run("recommend", "--user", user, "--json").json["items"]]
    assert shown[0] not in again
    assert run("similar", shown[0]).code == 2
    output = shop.folder / "all.parquet"
    assert run("recommend", "--all", "--output", output).code == 0


def test_prune_and_compact_report_their_results(shop: Any, run: Any) -> None:
    assert run("store", "prune", "--json").json == {"removed": 0, "left": 0, "bytes": 0}
    assert run("store", "compact", "--json").json["bytes"] > 0
    assert "--older-than" in run("store", "prune", "--older-than", "x").refused(2)


def test_excluded_users_are_reported_by_every_command(shop: Any, run: Any) -> None:
    user = run("store", "users", "list", "--json").json["users"][0]["user_id"]
    path = shop.folder / "tastemaker.toml"
    text = path.read_text()
    path.write_text(
        text.replace("[items.roles]", f'[data.exclude]\nusers = ["{user}"]\n[items.roles]')
    )
    note = "they are listed in [data.exclude] users"
    assert note in run("validate").out
    trained = run("train", "--json")
    assert note in trained.err
    assert note in trained.json["notes"][0]
    assert note in run("versions").err
    assert note in run("doctor").out
