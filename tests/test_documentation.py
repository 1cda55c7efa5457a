"""Runs the fenced commands and Python of README and docs against a real project and server.

Commands in prose are not run; the tests check that they exist with their options."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import tastemaker as tm
from tastemaker.cli import main
from tastemaker.data.schema import EventKind
from tastemaker.project import load_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {
    "make demo": "it installs everything; tests/live runs the command behind it",
    "make test": "it runs this suite",
    "cd folder-with-events.csv": "the test is in such a folder",
    "caddy reverse-proxy --from shop.example --to 127.0.0.1:8765": "another program, a domain",
}
"""Command → why a test cannot run it."""
KNOWN_ITEMS = ("1", "260", "3114", "2571", "1196")
KNOWN_USERS = ("42",)
READY_SECONDS = 300


def blocks(language: str) -> list[tuple[str, str]]:
    """(Page, text) of every fenced block in a language, in the order of the pages."""
    return [
        (page.name, text)
        for page in PAGES
        for text in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)
    ]


def commands_in_prose() -> list[str]:
    """Every command in the text outside fenced blocks, each once."""
    prose = (re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S) for page in PAGES)
    spans = (re.findall(r"`((?:tastemaker|make) [^`]+)`", text) for text in prose)
    return sorted({" ".join(span.split()) for found in spans for span in found})


def commands(block: str) -> list[str]:
    """The commands of a shell block, with continued lines joined and comments removed."""
    lines = block.replace("\\\n", " ").splitlines()
    stripped = (re.sub(r"\s+#.*$", "", line).strip() for line in lines)
    return [" ".join(line.split()) for line in stripped if line and not line.startswith("#")]


def sample(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A part of the bundled films that trains in a second; `StockCode` repeats the item."""
    events, items = tm.load_sample()
    many = events.group_by("user_id").len().sort("len", "user_id", descending=True)
    users = [*KNOWN_USERS, *many["user_id"].cast(str).to_list()[100:150]]
    often = events.group_by("item_id").len().sort("len", "item_id", descending=True)
    films = [*KNOWN_ITEMS, *often["item_id"].cast(str).to_list()[:200]]
    kept = events.filter(
        pl.col("user_id").cast(str).is_in(users) & pl.col("item_id").cast(str).is_in(films)
    )
    described = items.filter(pl.col("item_id").cast(str).is_in(films))
    kept.with_columns(StockCode=pl.col("item_id")).write_csv(folder / "events.csv")
    described.write_csv(folder / "items.csv")
    return kept, described


class Reader:
    """Follows a page: runs commands in this process, curl and the server as processes."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self._server: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._variables: dict[str, str] = {}
        self._recommendation = ""

    def follow(self, block: str) -> None:
        """Runs the commands of one block, starting without API keys."""
        if (self.folder / ".tastemaker" / "keys.json").exists():
            for key in json.loads(self.tastemaker(["keys", "--json"]))["keys"]:
                self.tastemaker(["keys", "remove", key["name"]])
        lines = commands(block)
        if any(line.startswith("curl") for line in lines) and not any(
            line.startswith("tastemaker serve") for line in lines
        ):
            self._serve([])
        for line in lines:
            if line not in NOT_RUN:
                self.run(line)
        self.stop()

    def run(self, line: str) -> str:
        """The output of one command, which must succeed."""
        assigned = re.fullmatch(r"(\w+)=\$\((.*)\)", line)
        if assigned:
            self._variables[assigned[1]] = self.run(assigned[2]).strip()
            return ""
        program, *arguments = [self._filled(word) for word in shlex.split(line)]
        if program == "curl":
            return self._curl(arguments)
        assert program == "tastemaker", f"no test knows how to run: {line}"
        if arguments[0] == "serve":
            self._serve(arguments[1:])
            return ""
        return self.tastemaker(arguments)

    def stop(self) -> None:
        """Stops the server, if one runs."""
        if self._server is not None:
            if self._server.poll() is None:
                os.killpg(self._server.pid, signal.SIGTERM)
            assert self._server.wait(60) is not None
            self._server = None

    def _filled(self, word: str) -> str:
        """A word with its variables and placeholders replaced."""
        for name, value in self._variables.items():
            word = word.replace(f"${name}", value)
        if word == "VERSION":
            versions = json.loads(self.tastemaker(["versions", "--json"]))["versions"]
            return next(str(one["version"]) for one in versions if not one["current"])
        word = word.replace("localhost:8765", f"127.0.0.1:{self._port}")
        return re.sub(r"/ID$", f"/{self._recommendation}", word)

    def tastemaker(self, arguments: list[str]) -> str:
        """The output of a command that runs in this process and must succeed."""
        self._capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["tastemaker", *arguments])
            with pytest.raises(SystemExit) as exited:
                main()
        output = self._capsys.readouterr()
        assert not exited.value.code, f"{arguments}: {output.err}"
        return output.out

    def _curl(self, arguments: list[str]) -> str:
        command = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        body, _, status = done.stdout.rpartition("\n")
        assert status in ("200", "201", "202"), f"{arguments}: {status} {body}"
        answer = json.loads(body)
        assert not answer.get("rejected"), body
        self._recommendation = answer.get("recommendation_id", self._recommendation)
        return body

    def _serve(self, arguments: list[str]) -> None:
        self.stop()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port = listener.getsockname()[1]
        start = [sys.executable, "-c", "from tastemaker.cli import main; main()", "serve"]
        log_file = self.folder / "serve.log"
        with log_file.open("wb") as log:
            self._server = subprocess.Popen(
                [*start, *arguments, "--port", str(self._port)],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health/ready"):
                    return
            except (urllib.error.URLError, OSError):
                assert self._server.poll() is None, log_file.read_text()
                assert time.monotonic() < end, "the server did not become ready"
                time.sleep(0.1)


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Reader]:
    """A reader of the pages with a folder of files."""
    frames = sample(tmp_path)
    monkeypatch.setattr(tm, "load_sample", lambda: frames, raising=False)
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, capsys)
    yield reader
    reader.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: apt install curl")
def test_every_fenced_command_of_readme_and_docs_runs(reader: Reader) -> None:
    shell = blocks("sh") + blocks("bash") + blocks("console")
    assert len(shell) >= 4
    for _, block in shell:
        reader.follow(block)
    assert (reader.folder / "recommendations.parquet").is_file()


def test_every_fenced_python_of_readme_and_docs_runs(reader: Reader) -> None:
    reader.run("tastemaker init")
    scope: dict[str, object] = {}
    for page, block in blocks("python"):
        exec(compile(block, page, "exec"), scope)  # noqa: S102
    spans = re.findall(r"`(recommender\.[^`]+)`", (ROOT / "README.md").read_text())
    assert len(spans) >= 3
    for span in spans:
        exec(compile(span, "README.md", "exec"), scope)  # noqa: S102
    assert (reader.folder / "artifacts/v1/manifest.json").is_file()


def test_every_command_in_prose_exists_with_its_options(reader: Reader) -> None:
    """`--help` runs nothing, but refuses a command or an option that does not exist."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    found = commands_in_prose()
    assert len(found) >= 5
    for line in found:
        program, *arguments = shlex.split(line)
        if program == "make":
            assert set(arguments[:1]) <= targets, f"no such target: {line}"
        else:
            assert "Usage" in reader.tastemaker([*arguments, "--help"]), line


def test_every_command_that_is_not_run_is_on_a_page() -> None:
    shown = {line for _, block in blocks("sh") for line in commands(block)}
    assert set(NOT_RUN) <= shown
    assert all(NOT_RUN.values())


def test_every_project_file_of_the_readme_is_valid(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,event_type,timestamp\n")
    (tmp_path / "items.csv").write_text("item_id,category\n")
    base = '[data]\nevents = "events.csv"\nitems = "items.csv"\n[items.roles]\n'
    base += 'category = { role = "category" }\n[events.view]\n[events.purchase]\n'
    for name in ("als", "content", "trending"):
        base += f'[retrievers.{name}]\ntype = "{name}"\n'
    shown = [text for page, text in blocks("toml") if page == "README.md"]
    assert len(shown) == 2
    for text in shown:
        home = "" if "placements" in text else "[placements.home]\nretrievers = { als = 20 }\n"
        path = tmp_path / "tastemaker.toml"
        path.write_text(f"{base}{home}{text}")
        assert tomllib.loads(path.read_text())
        assert load_project(path).file.events["view"] == EventKind()
