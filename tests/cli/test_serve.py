"""`serve` and `doctor`: refusals before anything is loaded, findings with their cure."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tastemaker.project import load_project
from tastemaker.store import EventSource


def findings(done: Any) -> dict[str, dict[str, str]]:
    """What was looked at → what was found; the last where there are several."""
    return {found["what"]: found for found in json.loads(done.out)["findings"]}


def test_nothing_is_served_before_a_training(shop: Any, run: Any) -> None:
    assert "tastemaker train" in run("serve").refused(1)


def test_a_port_that_is_taken_is_told_with_the_cure(shop: Any, run: Any) -> None:
    run("train")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        said = run("serve", "--port", port).refused(2)
    assert port in said
    assert "--port" in said


def test_the_environment_overrides_where_to_listen(
    shop: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train")
    monkeypatch.setenv("TASTEMAKER_SERVER__HOST", "0.0.0.0")  # noqa: S104
    assert "'0.0.0.0'" in run("serve").refused(2)
    monkeypatch.setenv("TASTEMAKER_SERVER__PORTS", "1")
    assert "did you mean 'port'?" in run("serve").refused(2)


def test_a_healthy_project_has_nothing_in_the_way(shop: Any, run: Any) -> None:
    run("train")
    done = run("doctor", "--json")
    assert done.code == 0, done.err
    told = findings(done)
    assert {"machine", "project", "disk", "events", "items", "store", "model"} <= told.keys()
    assert {found["verdict"] for found in told.values()} <= {"ok", "note"}


def test_what_is_in_the_way_is_told_with_its_cure(shop: Any, run: Any) -> None:
    (shop.folder / "items.csv").unlink()
    done = run("doctor", "--json")
    assert done.code == 1
    told = findings(done)
    assert told["items"]["verdict"] == "bad"
    assert told["items"]["cure"]
    assert "tastemaker train" in told["model"]["told"]


def test_a_project_that_changed_since_the_training_is_noticed(shop: Any, run: Any) -> None:
    run("train")
    path: Path = shop.folder / "tastemaker.toml"
    path.write_text(path.read_text().replace("popular = 10", "popular = 11"))
    cures = [found["cure"] for found in json.loads(run("doctor", "--json").out)["findings"]]
    assert "tastemaker train" in cures


def test_a_damaged_store_is_told(shop: Any, run: Any) -> None:
    run("train")
    (shop.folder / ".tastemaker" / "store.db").write_bytes(b"no database at all" * 100)
    done = run("doctor", "--json")
    assert done.code == 1
    assert findings(done)["store"]["verdict"] == "bad"


def test_doctor_reads_well(shop: Any, run: Any) -> None:
    run("train")
    lines = run("doctor").out.splitlines()
    assert all(line[:1] in ("✓", "·", "✗", " ") for line in lines)


def test_outside_a_project_doctor_says_so(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("doctor", "--json")
    assert done.code == 1
    assert "tastemaker init" in findings(done)["project"]["told"]


def test_a_bad_file_is_one_line_before_anything_is_served(shop: Any, run: Any) -> None:
    run("train")
    with (shop.folder / "events.csv").open("a") as stream:
        stream.write("u1,i1,veiw,1700000000\n" * 50)
    assert "unknown event_type" in run("serve", "--port", "0").refused(2)


def test_everybody_can_be_scored_after_items_came(shop: Any, run: Any, tmp_path: Path) -> None:
    run("train")
    project = load_project(shop.folder / "tastemaker.toml")
    with EventSource(project).open() as store:
        store.put_item("brand-new", {"title": "New"}).result()
    done = run("recommend", "--all", "--output", str(tmp_path / "all.csv"))
    assert done.code == 0, done.err
