"""S10 over HTTP: the whole funnel behind a server, 100,000 items, as a load generator sees it."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import DataAbsent, synthetic
from benchmarks.harness import Options, Result, isolated
from benchmarks.s10 import BUDGETS, QUOTAS, STAGES, TREES
from benchmarks.server import Server, serving
from tastemaker.component import FitOptions
from tastemaker.data import times
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.registry import Registry
from tastemaker.store import EventSource

ID = "S10HTTP"
WHAT = "the funnel over HTTP with wrk: one connection; then 32 with two workers; 100,000 items"
DATA = ()
PEERS = ()
MINUTES = 8.0
_SECONDS = 30
_USERS = 5_000
_PROJECT = """
[data]
events = "events.parquet"
items = "items.csv"
time_unit = "us"
[items.roles]
title = {{ role = "text" }}
category = {{ role = "category" }}
tags = {{ role = "tags", separator = "|" }}
published = {{ role = "time" }}
[events.view]
[events.purchase]
weight = 6.0
[events.dislike]
role = "negative"
blocks = true
[retrievers.als]
use = "als"
[retrievers.item_knn]
use = "item_knn"
[retrievers.content]
use = "content"
[retrievers.trending]
use = "trending"
half_life = "7d"
[retrievers.popular]
use = "popular"
[rankers.main]
use = "gbm"
trees = {trees}
early_stopping = 0
[rerankers.diverse]
use = "mmr"
[rerankers.house]
use = "rules"
caps = {{ category = 8 }}
[training]
window = 0.1
requests = 4000
must_earn = false
[placements.home]
retrievers = {{ {quotas} }}
ranker = "main"
rerankers = ["diverse", "house"]
"""
_SCRIPT = """
local users = {%s}
local headers = {["Content-Type"] = "application/json"}
request = function()
  local user = users[math.random(#users)]
  return wrk.format("POST", "/v1/recommendations", headers, '{"user_id":"' .. user .. '"}')
end
response = function(status, headers, body)
  if status ~= 200 then io.write("status " .. status .. "\\n") end
end
"""


def run(options: Options) -> Result:
    """p50 and p99 as wrk sees them, and of every stage as the log of decisions tells them."""
    if shutil.which("wrk") is None:
        raise DataAbsent("wrk is not installed")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        isolated(train, folder, options.quick, options.seed)
        users = isolated(some_users, folder, options.seed)
        script = folder / "ask.lua"
        script.write_text(_SCRIPT % ", ".join(f'"{user}"' for user in users))
        seconds = 5 if options.quick else _SECONDS
        with serving(folder / "tastemaker.toml") as server:
            _wrk(server, script, 1, 5)
            one, cpu = _measured(server, script, 1, seconds)
            peak = server.peak_mb()
        stages = isolated(stage_milliseconds, folder, int(one["requests"]))
        with serving(folder / "tastemaker.toml", workers=2) as server:
            _wrk(server, script, 32, 5)
            many, _ = _measured(server, script, 32, seconds)
    ours = {"whole p50 ms": one["p50"], "whole p99 ms": one["p99"], "CPU ms a request": cpu}
    must = {"whole p50 ms": 10.0, "whole p99 ms": 20.0, "CPU ms a request": 6.0}
    for part, (p50, p99) in BUDGETS.items():
        if part in stages:
            for name, bar, share in (("p50", p50, 50), ("p99", p99, 99)):
                ours[f"{part} {name} ms"] = float(np.percentile(stages[part], share))
                must[f"{part} {name} ms"] = bar
    rest = one["p50"] - float(np.percentile(stages["pipeline"], 50))
    ours["HTTP, history, log p50 ms"] = rest
    ratio = {name: ours[name] / bar for name, bar in must.items()}
    return Result(
        ID,
        ours=ours
        | {f"32 connections, 2 workers: {name}": value for name, value in many.items()}
        | {"one connection: requests a second": one["rate"]},
        peer={},
        ratio=ratio,
        must=must,
        met=all(value <= 1 for value in ratio.values()),
        seconds=2.0 * seconds,
        peak_mb=peak,
        notes="wrk on the same two cores; stages from the decision log of the same requests; "
        "ratio = ours ÷ budget",
        runs={"one": one, "many": many},
    )


def train(folder: Path, quick: bool, seed: int) -> None:
    """A project of 100,000 items whose events end now, trained and imported."""
    items = 10_000 if quick else 100_000
    made = synthetic(users=20_000, items=items, events=1_000_000, tastes=100, seed=seed)
    shutil.copy(made / "items.csv", folder)
    events = pl.read_parquet(made / "events.parquet")
    shift = times.now() - int(events["timestamp"].to_numpy().max()) - 1
    moved = events.with_columns(pl.col("timestamp") + shift)
    moved.write_parquet(folder / "events.parquet")
    quotas = ", ".join(f"{name} = {quota}" for name, quota in QUOTAS.items())
    path = folder / "tastemaker.toml"
    path.write_text(_PROJECT.format(quotas=quotas, trees=TREES))
    project = load_project(path)
    EventSource(project).open().close()
    recommender = Recommender.from_project(path)
    recommender.fit(EventSource(project).read(), FitOptions(seed=seed))
    registry = Registry(project.state)
    registry.promote(registry.add(recommender))


def some_users(folder: Path, seed: int) -> list[str]:
    """Users to ask for."""
    users = pl.read_parquet(folder / "events.parquet")["user_id"].unique().sort().cast(pl.String)
    return users.sample(min(_USERS, len(users)), seed=seed).to_list()


def stage_milliseconds(folder: Path, most: int) -> dict[str, list[float]]:
    """Part → milliseconds of each of the latest requests, from the log of decisions."""
    found: dict[str, list[float]] = {}
    with EventSource(load_project(folder / "tastemaker.toml")).open_as_it_is() as store:
        for decision in store.latest_decisions(most):
            told = dict.fromkeys(["retrieve and merge", "features", "rank", "rerank"], 0.0)
            for stage in decision.stages:
                told[STAGES.get(stage["name"], "retrieve and merge")] += stage["ms"]
            told["pipeline"] = sum(told.values())
            for part, value in told.items():
                found.setdefault(part, []).append(value)
    return found


def _measured(
    server: Server, script: Path, connections: int, seconds: int
) -> tuple[dict[str, float], float]:
    """What wrk saw, and the server's CPU milliseconds a request."""
    before = server.cpu_seconds()
    seen = _wrk(server, script, connections, seconds)
    return seen, (server.cpu_seconds() - before) * 1e3 / seen["requests"]


def _wrk(server: Server, script: Path, connections: int, seconds: int) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    told = subprocess.run([*command, server.url], capture_output=True, text=True, check=True).stdout
    if "status" in told or "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(f"not every request was answered: {told}")
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = {}
    for share in (50, 90, 99):
        match = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", told)
        assert match, told
        found[f"p{share}"] = float(match[1]) * scale[match[2]]
    done, rate = (re.search(p, told) for p in (r"(\d+) requests in", r"Requests/sec:\s+([\d.]+)"))
    assert done is not None, told
    assert rate is not None, told
    return found | {"requests": float(done[1]), "rate": float(rate[1])}
