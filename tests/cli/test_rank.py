"""`tastemaker rank`, and the effect of an edited project file on the command line."""

from typing import Any

from tastemaker.project import load_project
from tastemaker.store import EventSource


def test_given_items_are_ranked_for_a_user(shop: Any, run: Any) -> None:
    run("train")
    result = run("rank", "u0", "blue1", "red1", "blue2", "--json").json
    assert sorted(item["item_id"] for item in result["items"]) == ["blue1", "blue2", "red1"]
    assert result["items"][0]["item_id"] == "red1"
    assert "recommendation_id" not in result
    lines = run("rank", "u0", "blue1", "red1").out.splitlines()
    assert lines[0] == "for user u0:"
    assert "Red thing 1" in lines[1]


def test_the_store_ranks_as_the_files_do(shop: Any, run: Any) -> None:
    run("train")
    items = ("blue1", "red1", "red9", "blue2")
    files = run("rank", "u0", *items, "--json").json
    EventSource(load_project(shop.project)).open().close()
    assert run("rank", "u0", *items, "--json").json == files


def test_seen_items_are_left_out_on_request(shop: Any, run: Any) -> None:
    run("train")
    result = run("rank", "u0", "red0", "blue1", "--exclude-seen", "--json").json
    assert [item["item_id"] for item in result["items"]] == ["blue1"]


def test_an_unknown_item_to_rank_is_reported(shop: Any, run: Any) -> None:
    run("train")
    done = run("rank", "u0", "red1", "purple1")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == "error: no item has the id 'purple1'"


RULES = (
    '[rerankers.rules]\ntype = "rules"\nblocked = ["red3"]\n'
    '[placements.home]\nrerankers = ["rules"]'
)


def test_an_edited_rule_applies_without_training(shop: Any, run: Any) -> None:
    run("train")
    before = run("recommend", "--history", "red1,red2", "--json")
    assert "red3" in [item["item_id"] for item in before.json["items"]]
    shop.change("[placements.home]", RULES)
    after = run("recommend", "--history", "red1,red2", "--json")
    assert "red3" not in [item["item_id"] for item in after.json["items"]]
    assert after.err == ""


def test_an_edit_that_needs_training_is_reported_in_one_line(shop: Any, run: Any) -> None:
    version = run("train", "--json").json["version"]
    shop.change("popular = 10", "popular = 11")
    message = (
        f"the project file differs from what version {version} was trained with: "
        "placements.home.retrievers.popular is 11, was 10; run `tastemaker train`\n"
    )
    assert run("recommend", "--history", "red1").err == message
    assert run("similar", "red1").err == message
    run("train")
    assert run("recommend", "--history", "red1").err == ""


def test_rules_that_do_not_fit_are_an_error(shop: Any, run: Any) -> None:
    run("train")
    shop.change("[placements.home]", RULES.replace('blocked = ["red3"]', "caps = { genre = 1 }"))
    refused = run("recommend", "--history", "red1").refused(2)
    assert "the rerankers in the project file do not fit version" in refused
    assert run("doctor").code == 1


RANKER = """[rankers.main]
type = "gbm"
trees = 1
[training]
slices = 2
window = 0.1
require_improvement = {}
[placements.home]
ranker = "main"
"""


def test_a_ranker_below_the_fusion_reports_why_it_is_used(shop: Any, run: Any) -> None:
    shop.change("[placements.home]\n", RANKER.format("false"))
    run("train")
    result = run("train", "--json").json
    use, notes = result["rankers"]["main"], result["learned"]["main"]
    assert use["used"] is True
    assert use["better"] is notes["better"]
    figures = [notes[name] for name in ("ranked", "merged", "single")]
    assert [use[name] for name in ("ranker", "fusion", "source")] == figures
    assert run("versions", "--json").json["versions"][0]["rankers"] == {"main": use}
    line = run("train").out.splitlines()[0]
    assert ("used (require_improvement = false), although" in line) is not use["better"]


def test_text_columns_of_users_are_refused(shop: Any, run: Any) -> None:
    (shop.folder / "users.csv").write_text("user_id,bio,age\nu0,likes red,30\n")
    shop.change('items = "items.csv"\n', 'items = "items.csv"\nusers = "users.csv"\n')
    shop.change("[items.roles]", '[users.roles]\nbio = { role = "text" }\n[items.roles]')
    refused = run("validate").refused(2)
    assert "bio" in refused
    assert 'role "text" is not supported for user columns' in refused


def test_init_proposes_vectors_but_no_text_columns_of_users(shop: Any, run: Any) -> None:
    titles = [f'{t}{i},{t} thing {i},"[0.{i}, 1.5]"' for t in ("red", "blue") for i in range(10)]
    (shop.folder / "items.csv").write_text("\n".join(["item_id,title,embedding", *titles]) + "\n")
    words = "abcdefghijkl"
    users = [f"u{u},who {words[u]} is {words[-u]} {u},{20 + u},{'de' if u % 2 else 'fr'}"
             for u in range(12)]  # fmt: skip
    (shop.folder / "users.csv").write_text("\n".join(["user_id,bio,age,country", *users]) + "\n")
    shop.project.unlink()
    run("init", "--events", "events.csv", "--items", "items.csv", "--users", "users.csv")
    text = shop.project.read_text()
    assert 'embedding = { role = "vector" }' in text
    assert 'age = { role = "number" }' in text
    assert 'role = "text"' not in text.split("[users.roles]")[1].split("[events")[0]
    assert run("train").code == 0


def test_user_columns_without_a_ranker_are_reported_as_unused(shop: Any, run: Any) -> None:
    (shop.folder / "users.csv").write_text("user_id,age\nu0,30\n")
    shop.change('items = "items.csv"\n', 'items = "items.csv"\nusers = "users.csv"\n')
    shop.change("[items.roles]", '[users.roles]\nage = { role = "number" }\n[items.roles]')
    assert "[users.roles] age: no effect, because only a ranker" in run("train").err
    shop.change("[placements.home]\n", RANKER.format("false"))
    assert "no effect" not in run("train").err
