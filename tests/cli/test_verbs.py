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
    assert "wrote tastemaker.toml; read it, then: tastemaker validate" in done.err
    shop.change('type = "ease"', 'type = "popular"')
    shop.change('type = "als"', 'type = "als"\nfactors = 4\niterations = 2')
    assert run("validate").code == run("train").code == 0
    assert run("recommend", "--user", "u3", "--n", "2").code == 0


def test_init_keeps_a_project_unless_forced(shop: Any, run: Any) -> None:
    before = shop.project.read_text()
    assert "exists; change it, or replace it with --force" in run("init").refused(2)
    assert shop.project.read_text() == before
    assert run("init", "--force").code == 0
    assert shop.project.read_text() != before


def test_init_takes_the_files_it_is_given(shop: Any, run: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run("init", elsewhere, "--events", shop.events, "--json")
    assert done.told["files"] == {"events": "events.csv"}
    assert done.told["events"]["kept"] == 84
    assert run("validate", "--project", elsewhere / "tastemaker.toml").code == 0


def test_init_needs_a_folder_and_a_log(run: Any, tmp_path: Path) -> None:
    assert "is not a folder" in run("init", tmp_path / "nowhere").refused(2)
    assert "which file holds the events?" in run("init", tmp_path).refused(2)


# --- validate ---


def test_validate_tells_what_is_in_the_data(shop: Any, run: Any) -> None:
    told = run("validate", "--json").told
    assert told["events"]["read"] == told["events"]["kept"] == 84
    assert told["events"]["quarantined"] == 0
    assert told["events"]["reasons"] == {}
    assert (told["users"], told["items"]) == (12, 20)
    assert told["density"] == pytest.approx(84 / 240)
    assert told["from"] == "2023-11-14T22:13:20Z"
    assert told["to"] == "2023-11-20T22:14:37Z"
    text = run("validate").out
    assert "84 of 84 rows" in text
    assert "kind        view: 84 events, 84 liked, 0 disliked\n" in text


def test_validate_says_how_many_events_were_replaced(shop: Any, run: Any) -> None:
    shop.change("[events.hide]", '[events.hide]\nreplaces = ["view"]')
    shop.write([*shop.rows, f"u0,red0,hide,{START + 86_400 * 8}"])
    assert run("validate", "--json").told["kinds"]["view"]["replaced"] == 1
    text = run("validate").out
    assert "kind        view: 84 events, 83 liked, 0 disliked, 1 replaced by a later one" in text
    assert "kind        hide: 1 events, 0 liked, 1 disliked\n" in text


# --- train, recommend ---


def test_train_makes_an_artifact_current(trained: Any, run: Any) -> None:
    told = run("train", "--json").told
    state = trained.folder / ".tastemaker"
    assert (state / "current").read_text().splitlines()[0] == told["version"]
    assert (state / "artifacts" / told["version"] / "manifest.json").is_file()
    assert told["seconds"] >= 0
    assert told["peak_mb"] > 0


def test_recommend_answers_a_known_user(trained: Any, run: Any) -> None:
    done = run("recommend", "--user", "u2", "--n", "3", "--json")
    assert done.code == 0
    told = done.told
    assert {"recommendation_id", "model_version", "variant", "degraded", "items"} == told.keys()
    assert sorted(item["item_id"] for item in told["items"]) == ["red3", "red4", "red5"]
    assert told["items"][0]["title"].startswith("Red thing ")
    text = run("recommend", "--user", "u2", "--n", "3").out
    assert "for user u2:" in text
    assert "Red thing 3" in text
    assert "because you viewed Red thing" in text


def test_recommend_answers_a_stranger_with_five_events(trained: Any, run: Any) -> None:
    history = "blue0,blue1,blue2,blue3,blue4"
    done = run("recommend", "--history", history, "--n", "5", "--json")
    items = [item["item_id"] for item in done.told["items"]]
    assert sorted(items) == [f"blue{i}" for i in range(5, 10)]
    assert "for a stranger:" in run("recommend", "--history", history).out


def test_recommend_answers_an_unknown_user_and_says_so(trained: Any, run: Any) -> None:
    done = run("recommend", "--user", "nobody", "--json")
    assert done.code == 0
    assert len(done.told["items"]) == 20
    assert "user 'nobody' is not in the data: answered as a new user" in done.err


def test_recommend_names_the_items_of_a_history_nobody_knows(trained: Any, run: Any) -> None:
    done = run("recommend", "--history", "red1,gren7,red2", "--json")
    assert done.code == 0
    assert done.told["items"]
    assert "item 'gren7' is not in the catalogue: left out of the history" in done.err


def test_recommend_traces_when_asked(trained: Any, run: Any) -> None:
    told = run("recommend", "--user", "u1", "--json", "--trace").told
    names = [stage["name"] for stage in told["trace"]["stages"]]
    assert names == ["retrieve:item_knn", "retrieve:popular", "merge", "filter", "select"]


def test_recommend_serves_the_placement_asked_for(trained: Any, run: Any) -> None:
    done = run("recommend", "--user", "u1", "--placement", "cart", "--json", "--trace")
    assert "retrieve:popular" not in str(done.told["trace"]["stages"])
    wrong = run("recommend", "--history", "red1", "--placement", "crt")
    assert wrong.code == 2
    assert "no placement 'crt'; did you mean 'cart'?" in wrong.err


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_recommend_all_writes_a_list_for_everybody(trained: Any, run: Any, ending: str) -> None:
    output = trained.folder / f"recs{ending}"
    told = run("recommend", "--all", "--output", output, "--n", "3", "--json").told
    frame = pl.read_parquet(output) if ending == ".parquet" else pl.read_csv(output)
    assert frame.columns == ["user_id", "rank", "item_id", "score"]
    assert told == {"users": 12, "rows": frame.height, "output": str(output)}
    assert frame["user_id"].n_unique() == 12
    mine = frame.filter(pl.col("user_id") == "u2").sort("rank")
    alone = run("recommend", "--user", "u2", "--n", "3", "--json").told["items"]
    assert mine["item_id"].to_list() == [item["item_id"] for item in alone]
    assert mine["rank"].to_list() == [1, 2, 3]
    assert [path.name for path in trained.folder.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "specify exactly one of --user ID, --history ITEM,ITEM,… and --all"),
        (["--user", "u1", "--history", "red1"], "specify exactly one of --user ID, --history"),
        (["--all"], "--all needs --output with a name that ends in .parquet or .csv"),
        (["--all", "--output", "recs.xlsx"], "--all needs --output"),
        (["--all", "--user", "u1", "--output", "r.csv"], "--all goes without --user"),
        (["--user", "u1", "--output", "recs.csv"], "--output goes with --all"),
    ],
)
def test_recommend_refuses_what_contradicts_itself(
    trained: Any, run: Any, arguments: list[str], message: str
) -> None:
    assert message in run("recommend", *arguments).refused(2)


def test_recommend_all_into_a_folder_that_is_not_there_is_one_line(trained: Any, run: Any) -> None:
    done = run("recommend", "--all", "--output", "nowhere/recs.parquet")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("error: ")
    assert "nowhere" in done.err.splitlines()[-1]


# --- similar ---


def test_similar_names_items_of_the_same_taste(trained: Any, run: Any) -> None:
    told = run("similar", "red1", "--n", "4", "--json").told
    assert told["item_id"] == "red1"
    assert told["source"] == "item_knn"
    assert [item["item_id"][:3] for item in told["items"]] == ["red"] * 4
    assert all(item["title"].startswith("Red thing") for item in told["items"])
    assert "like Red thing 1 (by item_knn):" in run("similar", "red1").out


def test_similar_refuses_an_item_nobody_knows(trained: Any, run: Any) -> None:
    assert "no item has the id 'red77'" in run("similar", "red77").refused(2)


def test_similar_refuses_a_source_that_cannot_answer(trained: Any, run: Any) -> None:
    message = run("similar", "red1", "--retriever", "popular").refused(2)
    assert "no retriever 'popular' can name similar items" in message


# --- evaluate ---


def test_evaluate_measures_each_source_and_the_whole(shop: Any, run: Any) -> None:
    told = run("evaluate", "--k", "3", "--json").told
    assert told["systems"].keys() == {"popular", "trending", "item_knn", "pipeline"}
    assert told["systems"]["pipeline"]["ndcg@3"].keys() == {"value", "low", "high"}
    assert told["protocol"]["k"] == 3
    text = run("evaluate", "--k", "3").out
    assert "ndcg@3 (95 % interval)" in text
    assert "pipeline" in text


def test_evaluate_without_moments_is_refused_with_the_cure(shop: Any, run: Any) -> None:
    shop.change("[data]", '[data]\nclock = "none"')
    done = run("evaluate")
    assert done.code == 2
    assert "by_time needs moments in time" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


# --- what holds for every verb ---


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
def test_before_training_the_cure_is_told(shop: Any, run: Any, arguments: list[str]) -> None:
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
def test_every_verb_explains_itself(run: Any, verb: str) -> None:
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


# --- true processes ---


def process(folder: Path, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "tastemaker", *arguments]
    return subprocess.run(command, cwd=folder, check=False, timeout=300, **options)


def test_as_a_process_results_and_remarks_part_ways(shop: Any) -> None:
    done = process(shop.folder, "validate", "--json", capture_output=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["events"]["kept"] == 84
    assert b"reading events.csv" in done.stderr


def test_as_a_process_a_mistake_is_one_line_and_exit_code_2(shop: Any) -> None:
    shop.change("[split]", "[splitt]")
    done = process(shop.folder, "validate", capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == [
        "error: tastemaker.toml: unknown section [splitt]; did you mean [split]?"
    ]


def test_a_reader_who_has_gone_is_no_reason_for_a_traceback(shop: Any) -> None:
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
def test_a_demo_is_told_in_the_agreed_shape_and_reused(demo_folder: Path, run: Any) -> None:
    done = run("demo", "--no-serve", "--json")
    assert done.code == 0, done.err
    told = done.told
    assert told.keys() == {"evaluation", "recommendations", "seconds", "peak_mb"}
    assert told["seconds"].keys() == {"prepare", "train", "evaluate"}
    assert {"popular", "als", "pipeline"} <= told["evaluation"]["systems"].keys()
    assert [answer["user_id"] for answer in told["recommendations"]] == ["42", "564", "671", None]
    assert all(len(answer["items"]) == 5 for answer in told["recommendations"])
    trained = (demo_folder / ".tastemaker" / "current").read_text()
    text = run("demo", "--no-serve")
    assert "for user 42:" in text.out
    assert "for a stranger who liked The Matrix and Star Wars:" in text.out
    assert "ndcg@10 (95 % interval)" in text.out
    assert (demo_folder / ".tastemaker" / "current").read_text() == trained
    settings = (demo_folder / "tastemaker.toml").read_text()
    (demo_folder / "tastemaker.toml").write_text(settings.replace("factors = 8", "factors = 4"))
    assert run("demo", "--json").code == 0
    assert (demo_folder / ".tastemaker" / "current").read_text() != trained
