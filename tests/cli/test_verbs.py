import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tastemaker.project import Project
from tests.cli.conftest import START

VERBS = (
    "demo",
    "doctor",
    "init",
    "validate",
    "train",
    "evaluate",
    "recommend",
    "similar",
    "versions",
)


@pytest.fixture
def trained(shop: Any, run: Any) -> Any:
    assert run("train").code == 0
    return shop


# --- init ---


def test_init_writes_a_project_that_trains(shop: Any, run: Any) -> None:
    shop.project.unlink()
    done = run("init")
    assert done.code == 0
    assert done.out == shop.project.read_text()
    assert "wrote tastemaker.toml; review it, then run: tastemaker validate" in done.err
    shop.change('type = "ease"', 'type = "popular"')
    shop.change('type = "als"', 'type = "als"\nfactors = 4\niterations = 2')
    assert run("validate").code == run("train").code == 0
    assert run("recommend", "--user", "u3", "--n", "2").code == 0


def test_init_keeps_a_project_unless_forced(shop: Any, run: Any) -> None:
    before = shop.project.read_text()
    assert "already exists; edit it, or replace it with --force" in run("init").refused(2)
    assert shop.project.read_text() == before
    assert run("init", "--force").code == 0
    assert shop.project.read_text() != before


def test_init_takes_the_files_it_is_given(shop: Any, run: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run("init", elsewhere, "--events", shop.events, "--json")
    assert done.json["files"] == {"events": "events.csv"}
    assert done.json["events"]["kept"] == 84
    assert run("validate", "--project", elsewhere / "tastemaker.toml").code == 0


def test_init_needs_a_folder_and_a_log(run: Any, tmp_path: Path) -> None:
    assert "is not a folder" in run("init", tmp_path / "nowhere").refused(2)
    assert "no event log found" in run("init", tmp_path).refused(2)


# --- validate ---


def test_validate_describes_the_data(shop: Any, run: Any) -> None:
    result = run("validate", "--json").json
    assert result["events"]["read"] == result["events"]["kept"] == 84
    assert result["events"]["quarantined"] == 0
    assert result["events"]["reasons"] == {}
    assert (result["users"], result["items"]) == (12, 20)
    assert result["density"] == pytest.approx(84 / 240)
    assert result["from"] == "2023-11-14T22:13:20Z"
    assert result["to"] == "2023-11-20T22:14:37Z"
    text = run("validate").out
    assert "84 of 84 rows" in text
    assert "kind        view: 84 events, 84 liked, 0 disliked\n" in text


def test_validate_counts_replaced_events(shop: Any, run: Any) -> None:
    shop.change("[events.hide]", '[events.hide]\nreplaces = ["view"]')
    shop.write([*shop.rows, f"u0,red0,hide,{START + 86_400 * 8}"])
    assert run("validate", "--json").json["kinds"]["view"]["replaced"] == 1
    text = run("validate").out
    assert "kind        view: 84 events, 83 liked, 0 disliked, 1 replaced by a later one" in text
    assert "kind        hide: 1 events, 0 liked, 1 disliked\n" in text


# --- train, recommend ---


def test_train_makes_an_artifact_current(trained: Any, run: Any) -> None:
    result = run("train", "--json").json
    state = trained.folder / ".tastemaker"
    assert (state / "current").read_text().splitlines()[0] == result["version"]
    assert (state / "artifacts" / result["version"] / "manifest.json").is_file()
    assert result["seconds"] >= 0
    assert result["peak_mb"] > 0


def test_recommend_serves_a_known_user(trained: Any, run: Any) -> None:
    done = run("recommend", "--user", "u2", "--n", "3", "--json")
    assert done.code == 0
    result = done.json
    assert {"recommendation_id", "model_version", "variant", "degraded", "items"} == result.keys()
    assert sorted(item["item_id"] for item in result["items"]) == ["red3", "red4", "red5"]
    assert result["items"][0]["title"].startswith("Red thing ")
    text = run("recommend", "--user", "u2", "--n", "3").out
    assert "for user u2:" in text
    assert "Red thing 3" in text
    assert "because you viewed Red thing" in text


def test_recommend_serves_an_anonymous_user_with_five_events(trained: Any, run: Any) -> None:
    history = "blue0,blue1,blue2,blue3,blue4"
    done = run("recommend", "--history", history, "--n", "5", "--json")
    items = [item["item_id"] for item in done.json["items"]]
    assert sorted(items) == [f"blue{i}" for i in range(5, 10)]
    assert "for an anonymous user:" in run("recommend", "--history", history).out


def test_recommend_reports_an_unknown_user(trained: Any, run: Any) -> None:
    done = run("recommend", "--user", "nobody", "--json")
    assert done.code == 0
    assert len(done.json["items"]) == 20
    assert "user 'nobody' is not in the data and gets recommendations as a new user" in done.err


def test_recommend_reports_unknown_items_of_a_history(trained: Any, run: Any) -> None:
    done = run("recommend", "--history", "red1,gren7,red2", "--json")
    assert done.code == 0
    assert done.json["items"]
    assert "item 'gren7' is not in the catalogue and is left out of the history" in done.err


def test_recommend_adds_a_trace_on_request(trained: Any, run: Any) -> None:
    result = run("recommend", "--user", "u1", "--json", "--trace").json
    names = [stage["name"] for stage in result["trace"]["stages"]]
    assert names == ["retrieve:item_knn", "retrieve:popular", "merge", "filter", "select"]


def test_recommend_uses_the_requested_placement(trained: Any, run: Any) -> None:
    done = run("recommend", "--user", "u1", "--placement", "cart", "--json", "--trace")
    assert "retrieve:popular" not in str(done.json["trace"]["stages"])
    wrong = run("recommend", "--history", "red1", "--placement", "crt")
    assert wrong.code == 2
    assert "no placement 'crt'; did you mean 'cart'?" in wrong.err


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_recommend_all_writes_a_list_for_every_user(trained: Any, run: Any, ending: str) -> None:
    output = trained.folder / f"recs{ending}"
    result = run("recommend", "--all", "--output", output, "--n", "3", "--json").json
    frame = pl.read_parquet(output) if ending == ".parquet" else pl.read_csv(output)
    assert frame.columns == ["user_id", "rank", "item_id", "score"]
    assert result == {"users": 12, "rows": frame.height, "output": str(output)}
    assert frame["user_id"].n_unique() == 12
    mine = frame.filter(pl.col("user_id") == "u2").sort("rank")
    alone = run("recommend", "--user", "u2", "--n", "3", "--json").json["items"]
    assert mine["item_id"].to_list() == [item["item_id"] for item in alone]
    assert mine["rank"].to_list() == [1, 2, 3]
    assert [path.name for path in trained.folder.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "specify exactly one of --user ID, --history ITEM,ITEM,… and --all"),
        (["--user", "u1", "--history", "red1"], "specify exactly one of --user ID, --history"),
        (["--all"], "--all needs --output with a file name that ends in .parquet or .csv"),
        (["--all", "--output", "recs.xlsx"], "--all needs --output"),
        (["--all", "--user", "u1", "--output", "r.csv"], "--all cannot be combined with --user"),
        (["--user", "u1", "--output", "recs.csv"], "--output requires --all"),
    ],
)
def test_recommend_refuses_contradictory_options(
    trained: Any, run: Any, arguments: list[str], message: str
) -> None:
    assert message in run("recommend", *arguments).refused(2)


def test_recommend_all_into_a_missing_folder_is_one_line(trained: Any, run: Any) -> None:
    done = run("recommend", "--all", "--output", "nowhere/recs.parquet")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("error: ")
    assert "nowhere" in done.err.splitlines()[-1]


# --- similar ---


def test_similar_lists_items_of_the_same_taste(trained: Any, run: Any) -> None:
    result = run("similar", "red1", "--n", "4", "--json").json
    assert result["item_id"] == "red1"
    assert result["source"] == "item_knn"
    assert [item["item_id"][:3] for item in result["items"]] == ["red"] * 4
    assert all(item["title"].startswith("Red thing") for item in result["items"])
    assert "similar to Red thing 1 (by item_knn):" in run("similar", "red1").out


def test_similar_refuses_an_unknown_item(trained: Any, run: Any) -> None:
    assert "no item has the id 'red77'" in run("similar", "red77").refused(2)


def test_similar_refuses_an_unsuitable_source(trained: Any, run: Any) -> None:
    message = run("similar", "red1", "--retriever", "popular").refused(2)
    assert "no retriever 'popular' supports similar items" in message


# --- evaluate ---


def test_evaluate_measures_each_source_and_the_whole(shop: Any, run: Any) -> None:
    result = run("evaluate", "--k", "3", "--json").json
    assert result["systems"].keys() == {"popular", "trending", "item_knn", "pipeline"}
    assert result["systems"]["pipeline"]["ndcg@3"].keys() == {"value", "low", "high"}
    assert result["protocol"]["k"] == 3
    text = run("evaluate", "--k", "3").out
    assert "ndcg@3 (95 % interval)" in text
    assert "pipeline" in text


def test_evaluate_without_times_is_refused_with_the_fix(shop: Any, run: Any) -> None:
    shop.change("[data]", '[data]\nclock = "none"')
    done = run("evaluate")
    assert done.code == 2
    assert "by_time needs points in time" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


# --- all commands ---


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", "--force"],
        ["validate"],
        ["train"],
        ["evaluate"],
        ["recommend", "--user", "u1"],
        ["recommend", "--history", "red1"],
        ["recommend", "--all", "--output", "recs.csv"],
        ["similar", "red1"],
    ],
)
def test_with_json_stdout_holds_one_document_and_nothing_else(
    trained: Any, run: Any, arguments: list[str]
) -> None:
    done = run(*arguments, "--json")
    assert done.code == 0, done.err
    assert isinstance(json.loads(done.out, parse_constant=pytest.fail), dict)


@pytest.mark.parametrize("verb", ["validate", "train", "evaluate"])
def test_progress_goes_to_stderr(trained: Any, run: Any, verb: str) -> None:
    done = run(verb, "--json")
    assert "reading events.csv … " in done.err
    assert "reading" not in done.out


@pytest.mark.parametrize(
    "arguments", [["recommend", "--user", "u1"], ["recommend", "--history", "red1"],
                  ["similar", "red1"], ["recommend", "--all", "--output", "recs.csv"]]
)  # fmt: skip
def test_before_training_the_fix_is_reported(shop: Any, run: Any, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 1
    assert done.out == ""
    last = done.err.splitlines()[-1]
    assert last == "error: nothing is trained yet: run `tastemaker train` first"


def test_a_project_is_found_from_a_folder_inside(
    trained: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trained.folder / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(trained.folder / "deep" / "er")
    assert run("recommend", "--user", "u1").code == 0


@pytest.mark.parametrize("name", ["tastemaker.toml", "other shop.toml"])
def test_a_project_may_be_named_from_anywhere(
    shop: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = shop.project.rename(shop.folder / name)
    monkeypatch.chdir(tmp_path)
    for arguments in (["validate"], ["train"], ["evaluate"], ["recommend", "--user", "u1"]):
        done = run(*arguments, "--project", path, "--json")
        assert done.code == 0, done.err
    assert run("similar", "red1", "--project", path).code == 0
    assert list(tmp_path.glob("**/current")) == [shop.folder / ".tastemaker" / "current"]


@pytest.mark.parametrize("n", ["0", "1001", "-1", "many"])
def test_n_outside_1_and_1000_is_bad_usage(trained: Any, run: Any, n: str) -> None:
    done = run("recommend", "--user", "u1", "--n", n)
    assert done.code == 2
    assert done.out == ""
    assert "--n" in done.err


@pytest.mark.parametrize("arguments", [["recommand"], ["train", "--fast"], ["similar"]])
def test_bad_usage_exits_with_2(shop: Any, run: Any, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help(run: Any, verb: str) -> None:
    done = run(verb, "--help")
    assert done.code == 0
    assert "--json" in done.out


@pytest.mark.parametrize("verb", ["validate", "train", "evaluate"])
def test_an_interrupted_run_ends_quietly(
    shop: Any, run: Any, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Project, "read", interrupted)
    done = run(verb)
    assert done.code == 130
    assert "Traceback" not in done.err + done.out


# --- separate processes ---


def process(folder: Path, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "tastemaker", *arguments]
    return subprocess.run(command, cwd=folder, check=False, timeout=300, **options)


def test_a_process_separates_results_and_messages(shop: Any) -> None:
    done = process(shop.folder, "validate", "--json", capture_output=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["events"]["kept"] == 84
    assert b"reading events.csv" in done.stderr


def test_in_a_process_a_user_error_is_one_line_with_exit_code_2(shop: Any) -> None:
    shop.change("[split]", "[splitt]")
    done = process(shop.folder, "validate", capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == [
        "error: tastemaker.toml: unknown section [splitt]; did you mean [split]?"
    ]


def test_a_closed_pipe_is_not_a_traceback(shop: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = process(shop.folder, "validate", stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


# --- demo ---

SMALL = """
[data]
events = "events.parquet"
items = "items.parquet"
[data.columns.events]
value = "rating"
[data.defaults]
event_type = "rating"
[items.roles]
title = { role = "text" }
[events.rating]
positive_threshold = 4.0
negative_threshold = 2.0
[retrievers.popular]
type = "popular"
[retrievers.als]
type = "als"
factors = 8
iterations = 2
[placements.home]
retrievers = { als = 50, popular = 10 }
[split]
test = 0.02
"""


@pytest.fixture
def demo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "tastemaker" / "demo"
    folder.mkdir(parents=True)
    (folder / "tastemaker.toml").write_text(SMALL)
    return folder


@pytest.mark.slow
def test_demo_json_has_the_documented_shape_and_is_reused(demo_folder: Path, run: Any) -> None:
    done = run("demo", "--no-serve", "--json")
    assert done.code == 0, done.err
    result = done.json
    assert result.keys() == {"evaluation", "recommendations", "seconds", "peak_mb"}
    assert result["seconds"].keys() == {"prepare", "train", "evaluate"}
    assert {"popular", "als", "pipeline"} <= result["evaluation"]["systems"].keys()
    assert [answer["user_id"] for answer in result["recommendations"]] == ["42", "564", "671", None]
    assert all(len(answer["items"]) == 5 for answer in result["recommendations"])
    trained = (demo_folder / ".tastemaker" / "current").read_text()
    text = run("demo", "--no-serve")
    assert "for user 42:" in text.out
    assert "for an anonymous user who liked The Matrix and Star Wars:" in text.out
    assert "ndcg@10 (95 % interval)" in text.out
    assert (demo_folder / ".tastemaker" / "current").read_text() == trained
    settings = (demo_folder / "tastemaker.toml").read_text()
    (demo_folder / "tastemaker.toml").write_text(settings.replace("factors = 8", "factors = 4"))
    assert run("demo", "--json").code == 0
    assert (demo_folder / ".tastemaker" / "current").read_text() != trained
