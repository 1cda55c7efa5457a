"""S3: fitting item kNN with 100 neighbours, ours and implicit's in turn, at equal quality."""

import statistics
from functools import partial
from typing import Any

from benchmarks.comparison import OURS, Candidate, Trial, in_turn, speed_set
from benchmarks.harness import Options, Result, at_most

ID = "S3"
WHAT = "fitting item kNN, 100 neighbours; peers: implicit"
DATA = ("synthetic",)
PEERS = ("implicit==0.7.3",)
MINUTES = 12.0
MUST = {"item kNN, cosine": 0.8, "item kNN, BM25": 0.8}
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
}


def run(options: Options) -> Result:
    """Every case, ours and the peer's in turn; ratios of medians."""
    pieces = {
        name: piece
        for case, (ours, peer) in CASES.items()
        for name, piece in ((case, ours), (f"{case}: peer", peer))
    }
    load = partial(speed_set, options.quick, options.seed)
    found = in_turn(pieces, load, K, options.runs, options.peer_python)
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
        f"bars are on the ratio, and on recall@{K} of 2,000 users within {_SAME} of the peer's: "
        f"{ {name: round(value, 4) for name, value in quality.items()} }",
        runs={name: [_record(t) for t in runs] for name, runs in found.items()},
    )


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "settings": trial.settings,
        "seconds": trial.seconds,
        "peak_mb": trial.peak_mb,
        "figures": trial.figures,
    }
