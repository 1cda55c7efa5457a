"""S10: one request through the whole pipeline in process, per stage, with 100,000 items."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from benchmarks.harness import Options, Result, isolated, peak_mb
from tastemaker.component import FitOptions
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.reranking import MMR, Rules
from tastemaker.retrieval import ALS, Content, ItemKNN, Popular, Trending
from tastemaker.threads import blas_threads

ID = "S10"
WHAT = "one request through the funnel in process: 500 candidates to 20, 100,000 items"
DATA = ()
PEERS = ()
MINUTES = 6.0
QUOTAS = {"als": 150, "item_knn": 150, "content": 100, "trending": 80, "popular": 20}
TREES = 200
_N = 20
_WARM_UP, _REQUESTS = 100, 1_000
BUDGETS = {
    "history": (0.5, 2.0),
    "retrieve and merge": (3.0, 6.0),
    "features": (1.5, 3.0),
    "rank": (2.0, 4.0),
    "rerank": (1.0, 2.0),
    "whole": (10.0, 20.0),
}
"""Milliseconds at p50 and p99; `whole` is the budget over HTTP, of which this is a part."""
STAGES = {
    "features": "features",
    "rank": "rank",
    "rerank:rules": "rerank",
    "rerank:diverse": "rerank",
    "rerank:house": "rerank",
}


@dataclass(frozen=True, slots=True)
class Timed:
    """The measurements.

    Attributes:
        milliseconds: part → of each request.
        candidates: how many were ranked, of each request.
        features: how many describe a candidate.
        fit_seconds: of the whole recommender.
        peak_mb: of the process.
    """

    milliseconds: dict[str, list[float]]
    candidates: list[int]
    features: int
    fit_seconds: float
    peak_mb: float


def run(options: Options) -> Result:
    """p50 and p99 of every part against its budget."""
    timed = isolated(measure, options.quick, options.seed)
    ours, ratio, must = {}, {}, {}
    for part, (p50, p99) in BUDGETS.items():
        for name, budget, share in (("p50", p50, 50), ("p99", p99, 99)):
            key = f"{part} {name} ms"
            ours[key] = float(np.percentile(timed.milliseconds[part], share))
            must[key] = budget
            ratio[key] = ours[key] / budget
    parts = {
        part: [round(float(np.percentile(values, q)), 3) for q in (50, 99)]
        for part, values in timed.milliseconds.items()
    }
    return Result(
        ID,
        ours=ours,
        peer={},
        ratio=ratio,
        must=must,
        met=all(value <= 1 for value in ratio.values()),
        seconds=sum(timed.milliseconds["whole"]) / 1e3,
        peak_mb=timed.peak_mb,
        notes=f"one request at a time, one thread for linear algebra; {_REQUESTS} users; median "
        f"{np.median(timed.candidates):.0f} candidates of {timed.features} features; trained in "
        f"{timed.fit_seconds:.0f} s; ratio = ours ÷ budget; every part, p50 and p99: {parts}",
        runs={"milliseconds": timed.milliseconds},
    )


def measure(quick: bool, seed: int) -> Timed:
    """Fits, then sends requests for one user after another."""
    items = 10_000 if quick else 100_000
    synthetic = SyntheticWorld(users=20_000, items=items, events=1_000_000, tastes=100, seed=seed)
    data = synthetic.dataset()
    retrievers = [ALS(), ItemKNN(), Content(), Trending(half_life="7d"), Popular()]
    recommender = Recommender(
        {part.name: part for part in retrievers},
        {
            "home": Placement(
                retrievers=QUOTAS, ranker="main", rerankers=("diverse", "rules"), seen={}
            )
        },
        {"main": GBM(trees=TREES, early_stopping=0)},
        {"diverse": MMR(), "rules": Rules(caps={"category": 8})},
        Training(window=0.1, requests=4_000, require_improvement=False),
    )
    begun = perf_counter()
    recommender.fit(data, FitOptions(seed=seed))
    fitted = perf_counter() - begun
    pipeline, policy = recommender.pipeline(), SeenPolicy.of(data.kinds)
    assert pipeline.ranking is not None
    users = np.random.default_rng(seed).integers(0, len(data.users), _WARM_UP + _REQUESTS)
    moment = np.array([data.end])
    milliseconds: dict[str, list[float]] = {}
    candidates = []
    with blas_threads(1):
        for turn, user in enumerate(users):
            start = perf_counter()
            request = data.requests(np.array([user]), moment, seen=policy)
            history = perf_counter()
            answer = pipeline.recommend(request, _N, inventory=recommender.inventory)
            end = perf_counter()
            if turn < _WARM_UP:
                continue
            timings = {"history": (history - start) * 1e3, "whole": (end - start) * 1e3}
            timings |= dict.fromkeys(["retrieve and merge", "features", "rank", "rerank"], 0.0)
            for stage in answer.trace.stages:
                timings[STAGES.get(stage.name, "retrieve and merge")] += stage.milliseconds
                timings[f"stage {stage.name}"] = stage.milliseconds
                if stage.name == "rank":
                    candidates.append(int(stage.n_in[0]))
            for part, value in timings.items():
                milliseconds.setdefault(part, []).append(value)
    features = len(pipeline.ranking.features.names)
    return Timed(milliseconds, candidates, features, fitted, peak_mb())
