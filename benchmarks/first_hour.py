"""FIRSTHOUR: runs every command on raw data sets without edits, as a new user would."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data import fingerprint, raw
from benchmarks.harness import Options, Result
from benchmarks.server import Caller, serving

ID = "FIRSTHOUR"
WHAT = "six raw data sets: init, validate, train, evaluate, recommend, serve, without an edit"
DATA = (
    "bookcrossing-raw",
    "steam-raw",
    "retailrocket",
    "hetrec-lastfm-2k",
    "filmtrust",
    "amazon-musical-instruments",
)
PEERS = ()
MINUTES = 10.0
MUST = {"sets_without_an_edit": float(len(DATA))}
_COMMAND = (sys.executable, "-c", "from tastemaker.cli import main; main()")
_LONGEST_SECONDS = 1_200


def run(options: Options) -> Result:
    """Each data set in a separate folder; every command in a separate process."""
    figures: dict[str, float] = {}
    runs: dict[str, Any] = {}
    passed, prints = 0, {}
    begun = time.perf_counter()
    for name in DATA[-2:] if options.quick else DATA:
        with tempfile.TemporaryDirectory() as home:
            folder = raw(name, Path(home) / name)
            prints[name] = fingerprint(folder)
            found = _walk(folder)
        runs[name] = found
        passed += found["problem"] == ""
        for key in ("seconds", "pipeline", "popular"):
            if key in found:
                figures[f"{name}_{key}"] = found[key]
    figures["sets_without_an_edit"] = float(passed)
    problems = [f"{name}: {found['problem']}" for name, found in runs.items() if found["problem"]]
    return Result(
        ID,
        ours=figures,
        peer={},
        ratio={},
        must=MUST,
        met=passed >= MUST["sets_without_an_edit"],
        seconds=time.perf_counter() - begun,
        peak_mb=0.0,
        notes="NDCG@10 of the whole pipeline and of popularity, by the protocol that init "
        f"proposes (holdout where there are no times); problems: {'; '.join(problems) or 'none'}",
        data=prints,
        runs=runs,
    )


def _walk(folder: Path) -> dict[str, Any]:
    """Runs all commands in order; stops at the first that fails."""
    found: dict[str, Any] = {"problem": ""}
    begun = time.perf_counter()
    try:
        found["init"] = _facts(_answer(folder, "init"))
        found["validate"] = _facts(_answer(folder, "validate"))
        found["train_seconds"] = _answer(folder, "train")["seconds"]
        evaluation = _answer(folder, "evaluate")
        for system in ("pipeline", "popular"):
            found[system] = evaluation["systems"][system]["ndcg@10"]["value"]
        user = _a_user(folder)
        answer = _answer(folder, "recommend", "--user", user)
        found["recommended"] = [item.get("title") or item["item_id"] for item in answer["items"]][
            :5
        ]
        with serving(folder / "tastemaker.toml") as server:
            caller = Caller(server)
            status, served = caller.call("POST", "/v1/recommendations", {"user_id": user, "n": 10})
            caller.close()
            if status != 200 or not served["items"]:
                found["problem"] = f"serve: {status} {str(served)[:200]}"
    except RuntimeError as problem:
        found["problem"] = str(problem)
    found["seconds"] = time.perf_counter() - begun
    return found


def _answer(folder: Path, *arguments: str) -> Any:
    """The JSON a command prints.

    Raises:
        RuntimeError: it failed; with its last line.
    """
    done = subprocess.run(
        [*_COMMAND, *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"{' '.join(arguments)}: exit {done.returncode}: {last}")
    return json.loads(done.stdout)


def _facts(answer: dict[str, Any]) -> dict[str, Any]:
    kept = ("events", "users", "items", "clock", "kinds", "files", "guessed")
    return {key: answer[key] for key in kept if key in answer}


def _a_user(folder: Path) -> str:
    """A user with events: the first one in the recommendations for all users."""
    done = _answer(folder, "recommend", "--all", "--n", "1", "--output", "everybody.csv")
    assert done
    return (folder / "everybody.csv").read_text().splitlines()[1].split(",")[0]
