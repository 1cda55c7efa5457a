"""`serve`: errors before the server starts."""

import socket
from pathlib import Path
from typing import Any

import pytest

from tastemaker.project import load_project
from tastemaker.store import EventSource


def test_serve_is_refused_before_training(shop: Any, run: Any) -> None:
    assert "tastemaker train" in run("serve").refused(1)


def test_a_taken_port_is_reported_with_the_fix(shop: Any, run: Any) -> None:
    run("train")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        said = run("serve", "--port", port).refused(2)
    assert port in said
    assert "--port" in said


def test_the_environment_overrides_host_and_port(
    shop: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train")
    monkeypatch.setenv("TASTEMAKER_SERVER__HOST", "0.0.0.0")  # noqa: S104
    assert "'0.0.0.0'" in run("serve").refused(2)
    monkeypatch.setenv("TASTEMAKER_SERVER__PORTS", "1")
    assert "did you mean 'port'?" in run("serve").refused(2)


def test_a_bad_project_file_is_a_one_line_error(shop: Any, run: Any) -> None:
    run("train")
    with (shop.folder / "events.csv").open("a") as stream:
        stream.write("u1,i1,veiw,1700000000\n" * 50)
    assert "unknown event_type" in run("serve", "--port", "0").refused(2)


def test_all_users_can_be_scored_after_items_are_added(shop: Any, run: Any, tmp_path: Path) -> None:
    run("train")
    project = load_project(shop.folder / "tastemaker.toml")
    with EventSource(project).open() as store:
        store.put_item("brand-new", {"title": "New"}).result()
    done = run("recommend", "--all", "--output", str(tmp_path / "all.csv"))
    assert done.code == 0, done.err
