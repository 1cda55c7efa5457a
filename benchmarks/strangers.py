"""STRANGERS: trains, evaluates and serves a store of a million events, 300,000 of them on invented
item ids, within the default memory budget.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Options, Result, isolated
from benchmarks.server import Caller, serving
from tastemaker.data import times
from tastemaker.project import load_project
from tastemaker.store import EventRow, EventSource

ID = "STRANGERS"
WHAT = "train, evaluate and serve a store of 10⁶ events, 300,000 of them on invented item ids"
DATA = ()
PEERS = ()
MINUTES = 10.0
EVENTS, INVENTED, USERS, ITEMS = 1_000_000, 300_000, 20_000, 6_000
_BOTS = 30
_BATCH = 10_000
_DAY = 86_400_000_000
PROJECT = """
[data]
events = "events.parquet"
items = "items.csv"
time_unit = "us"
{rule}
[data.defaults]
event_type = "click"
[items.roles]
title = {{ role = "text" }}
genre = {{ role = "category" }}
[events.click]
[retrievers.ease]
type = "ease"
[retrievers.als]
type = "als"
[retrievers.item_knn]
type = "item_knn"
[retrievers.popular]
type = "popular"
[placements.home]
retrievers = ["ease", "als", "item_knn", "popular"]
"""


def run(options: Options) -> Result:
    """With the default rule, and without it, so that every invented id is in the catalogue."""
    share = 10 if options.quick else 1
    ours: dict[str, float] = {}
    codes, notes, runs = [], [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        isolated(make, folder, share, options.seed)
        for name, rule in (("", ""), ("every id: ", "min_item_users = 1")):
            # ten times fewer ids would fit, and take long
            memory = '[training]\nmemory = "4GiB"\n' if rule and options.quick else ""
            (folder / "tastemaker.toml").write_text(PROJECT.format(rule=rule) + memory)
            verbs = ["train", "evaluate"] if not rule else ["train"]
            for verb in verbs:
                ran = verb_run(folder, verb)
                codes.append(ran["code"])
                ours[f"{name}{verb} seconds"] = ran["seconds"]
                ours[f"{name}{verb} peak MB"] = ran["peak_mb"]
                notes += [f"  {name}{verb}: {line}" for line in ran["told"]]
                runs[f"{name}{verb}"] = ran
            with serving(folder / "tastemaker.toml") as server:
                caller = Caller(server)
                status, _ = caller.call("POST", "/v1/recommendations", {"user_id": "u1"})
                codes.append(0 if status == 200 else 1)
                caller.close()
                ours[f"{name}serve ready seconds"] = server.ready_seconds
                ours[f"{name}serve peak MB"] = server.peak_mb()
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio={},
        must={},
        met=not any(codes),
        seconds=sum(value for what, value in ours.items() if "seconds" in what),
        peak_mb=max(value for what, value in ours.items() if what.endswith("MB")),
        notes=f"{EVENTS // share:,} events, {INVENTED // share:,} of them served on as many "
        f"invented ids by {_BOTS} users; {ITEMS:,} described items; default memory budget; the bar "
        "is that each verb ends with 0 and the server answers; what was left out:\n"
        + "\n".join(notes),
        runs=runs,
    )


def make(folder: Path, share: int, seed: int) -> None:
    """Creates files of real events, and a store with these and the invented events."""
    rng = np.random.default_rng(seed)
    honest, invented = (EVENTS - INVENTED) // share, INVENTED // share
    users = rng.integers(0, USERS, honest)
    genre = rng.integers(0, 20, ITEMS)
    rank = np.minimum(rng.zipf(1.3, honest), ITEMS // 20) - 1
    own = np.where(rng.random(honest) < 0.8, users % 20, rng.integers(0, 20, honest))
    by_genre = [np.flatnonzero(genre == one) for one in range(20)]
    item = np.array([by_genre[g][r % len(by_genre[g])] for g, r in zip(own, rank)])
    end = times.now() - _DAY
    moment = np.sort(end - rng.integers(0, 90 * _DAY, honest))
    pl.DataFrame(
        {
            "user_id": [f"u{one}" for one in users],
            "item_id": [f"i{one}" for one in item],
            "timestamp": moment,
        }
    ).write_parquet(folder / "events.parquet")
    rows = [f"i{one},Film {one},g{genre[one]}" for one in range(ITEMS)]
    (folder / "items.csv").write_text("item_id,title,genre\n" + "\n".join(rows) + "\n")
    (folder / "tastemaker.toml").write_text(PROJECT.format(rule=""))
    with EventSource(load_project(folder / "tastemaker.toml")).open() as store:
        for start in range(0, invented, _BATCH):
            now = times.now()
            batch = [
                EventRow(f"bot{n}", f"bot{n % _BOTS}", f"invented-{n}", "click", None, now, now)
                for n in range(start, min(start + _BATCH, invented))
            ]
            store.append(batch).result()


def verb_run(folder: Path, verb: str) -> dict[str, Any]:
    """One run of a command: exit code, seconds, peak memory, messages."""
    program = "from tastemaker.cli import main; main()"
    command = [sys.executable, "-c", program, verb, "--project", str(folder / "tastemaker.toml")]
    begun = perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=errors)
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        lines = errors.read().splitlines()
    found = json.loads(output) if process.returncode == 0 else {}
    return {
        "code": process.returncode,
        "seconds": perf_counter() - begun,
        "peak_mb": usage.ru_maxrss / 1024,
        "told": [line for line in lines if "left out" in line or "error" in line],
        "left_out": found.get("left_out", {}),
    }
