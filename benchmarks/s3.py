"""S3: fitting item kNN with 100 neighbours, and SLIM; ours and the peers' in turn."""

import statistics
from functools import partial
from typing import Any

from benchmarks.comparison import OURS, Candidate, Trial, in_turn, ml_1m, speed_set
from benchmarks.data import fingerprint, prepare
from benchmarks.harness import Options, Result, at_most

ID = "S3"
WHAT = "fitting item kNN, 100 neighbours; SLIM on ml-1m; peers: implicit, LensKit"
DATA = ("synthetic", "ml-1m")
PEERS = ("torch==2.13.0", "implicit==0.7.3", "lenskit==2025.8.0", "pyarrow==20.0.0")
MINUTES = 15.0
SLIM = "SLIM"
MUST = {"item kNN, cosine": 0.8, "item kNN, BM25": 0.8, SLIM: 0.8}
K = 20
_SAME = 0.001

Piece = tuple[Candidate, dict[str, Any]]

# implicit counts an item among its own neighbours: 101 of them leave 100 others
CASES: dict[str, tuple[Piece, Piece]] = {
    "item kNN, cosine": (
        (
            Candidate.of(OURS, "ItemKNN"),
            {"neighbors": 100, "shrinkage": 0.0, "reduce": "binary"},
        ),
        (Candidate.of("implicit", "CosineRecommender"), {"K": 101}),
    ),
    "item kNN, BM25": (
        (
            Candidate.of(OURS, "ItemKNN"),
            {"neighbors": 100, "similarity": "bm25", "shrinkage": 0.0, "k1": 1.2, "b": 0.75},
        ),
        (Candidate.of("implicit", "BM25Recommender"), {"K": 101, "K1": 1.2, "B": 0.75}),
    ),
    SLIM: (
        (Candidate.of(OURS, "SLIM"), {"l1": 5.0, "l2": 200.0}),
        (Candidate.of("lenskit", "knn.SLIMScorer"), {"l1_reg": 5.0, "l2_reg": 200.0}),
    ),
}


def run(options: Options) -> Result:
    """Every case, ours and the peer's in turn; ratios of medians."""
    found: dict[str, list[Trial]] = {}
    for case, (ours, peer) in CASES.items():
        load = ml_1m if case == SLIM else partial(speed_set, options.quick, options.seed)
        pieces = {case: ours, f"{case}: peer": peer}
        found |= in_turn(pieces, load, K, options.runs, options.peer_python)
    seconds = {name: statistics.median(t.seconds for t in runs) for name, runs in found.items()}
    compared = [case for case in CASES if f"{case}: peer" in found]
    ratio = {case: seconds[case] / seconds[f"{case}: peer"] for case in compared}
    quality = {name: runs[0].figures[f"recall@{K}"] for name, runs in found.items()}
    behind = {case: quality[f"{case}: peer"] - quality[case] for case in compared}
    own = [t for case in CASES for t in found[case]]
    return Result(
        ID,
        ours={case: seconds[case] for case in CASES},
        peer={case: seconds[f"{case}: peer"] for case in compared},
        ratio=ratio,
        must=MUST,
        met=at_most(ratio, MUST) and all(gap <= _SAME for gap in behind.values()),
        seconds=sum(seconds[case] for case in CASES),
        peak_mb=max(t.peak_mb for t in own),
        notes=f"seconds to fit, medians of {options.runs}, kernels compiled before (a first fit on "
        f"next to nothing: {max(t.compiling for t in own):.1f} s with what the cache has); the "
        f"bars are on the ratio, and on recall@{K} within {_SAME} of the peer's: "
        f"{ {name: round(value, 4) for name, value in quality.items()} }; item kNN on the set of "
        "the speed targets, asked for 2,000 users; SLIM on ml-1m, λ and β the same, each with its "
        "own rule of when to end",
        data={"ml-1m": fingerprint(prepare("ml-1m"))},
        runs={name: [_record(t) for t in runs] for name, runs in found.items()},
    )


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "settings": trial.settings,
        "seconds": trial.seconds,
        "peak_mb": trial.peak_mb,
        "figures": trial.figures,
        "version": trial.version,
    }
