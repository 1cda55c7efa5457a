"""Q7: linear, neighbour and factor models compared with those of peers, on one random split.

`python -m benchmarks.q7 --tune [NAME …]` tunes the settings on the validation pairs again.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.comparison import OURS, TWIN, Candidate, Trial, best_settings, ml_1m, trial, tune
from benchmarks.data import fingerprint, prepare
from benchmarks.harness import Options, Result, peer_python

ID = "Q7"
WHAT = "EASE, iALS, item kNN, SLIM, RP3β beside implicit, LensKit, RecTools on ml-1m"
DATA = ("ml-1m",)
PEERS = ("torch==2.13.0", "lenskit==2025.8.0", "rectools==0.19.0", "pyarrow==20.0.0")
MINUTES = 15.0
K, METRIC = 10, "ndcg"
_BAR = 0.99
_REGULARIZATION = (500.0, 700.0, 1000.0, 1500.0, 2500.0, 4000.0)
_NEIGHBORS = (20, 50, 100, 200)
_WALKS = {"neighbors": (100, 200), "alpha": (0.7, 1.0), "beta": (0.5, 0.7)}

CASES: dict[str, tuple[Candidate, ...]] = {
    "EASE": (
        Candidate.of(OURS, "EASE", {"regularization": _REGULARIZATION}),
        Candidate.of("lenskit", "knn.EASEScorer", {"regularization": _REGULARIZATION}),
        Candidate.of("rectools", "EASEModel", {"regularization": _REGULARIZATION}),
    ),
    "iALS, 128 factors": (
        Candidate.of(
            OURS,
            "ALS",
            {
                "factors": (128,),
                "iterations": (15,),
                "alpha": (1.0, 4.0),
                "frequency_scaling": (0.25,),
                "regularization": (10.0, 30.0),
            },
            {
                "factors": (128,),
                "iterations": (15,),
                "alpha": (1.0, 4.0),
                "frequency_scaling": (1.0,),
                "regularization": (0.003, 0.01),
            },
        ),
        Candidate.of(
            "implicit",
            "AlternatingLeastSquares",
            {
                "factors": (128,),
                "iterations": (15,),
                "alpha": (1.0, 4.0),
                "regularization": (10.0, 30.0, 100.0),
            },
        ),
        Candidate.of(
            "lenskit",
            "als.ImplicitMFScorer",
            {
                "embedding_size": (128,),
                "epochs": (15,),
                "weight": (1.0,),
                "regularization": (3.0, 10.0, 30.0),
            },
        ),
    ),
    "item kNN": (
        Candidate.of(
            OURS,
            "ItemKNN",
            {"neighbors": (20, 50, 100), "shrinkage": (10.0, 50.0)},
            {"neighbors": (50, 200), "shrinkage": (50.0,), "normalization": ("sum",)},
            {
                "neighbors": (100, 200, 400),
                "similarity": ("bm25",),
                "shrinkage": (0.0,),
                "k1": (1.2,),
                "b": (0.75, 1.0),
            },
            {
                "neighbors": (200, 400),
                "similarity": ("bm25",),
                "shrinkage": (0.0,),
                "b": (0.75,),
                "normalization": ("sum",),
            },
        ),
        Candidate.of("implicit", "CosineRecommender", {"K": _NEIGHBORS}),
        Candidate.of("implicit", "TFIDFRecommender", {"K": _NEIGHBORS}),
        Candidate.of(
            "implicit",
            "BM25Recommender",
            {"K": (100, 200, 400), "K1": (1.2, 100.0), "B": (0.2, 0.75, 1.0)},
        ),
        Candidate.of(
            "rectools",
            "ImplicitItemKNNWrapperModel",
            {"model": ("TFIDFRecommender",), "K": _NEIGHBORS},
        ),
        Candidate.of(
            "lenskit",
            "knn.ItemKNNScorer",
            {"feedback": ("implicit",), "max_nbrs": (20, 50)},
        ),
    ),
}


CASES |= {
    "SLIM": (
        Candidate.of(OURS, "SLIM", {"l1": (1.0, 2.0, 5.0), "l2": (100.0, 200.0)}),
        Candidate.of(
            "lenskit", "knn.SLIMScorer", {"l1_reg": (1.0, 2.0, 5.0), "l2_reg": (100.0, 200.0)}
        ),
    ),
    "RP3β": (
        Candidate.of(OURS, "RP3Beta", _WALKS | {"normalization": ("none", "sum")}),
        Candidate.of(TWIN, "RP3Beta", _WALKS),
    ),
}


def run(options: Options) -> Result:
    """Evaluates every candidate once on the test pairs, with the best settings on validation."""
    # all of them before the first fit, so that missing settings are reported immediately
    pieces_by_case = {
        case: [
            (candidate, best_settings(ID, candidate))
            for candidate in candidates
            if candidate.library in (OURS, TWIN) or options.peer_python is not None
        ]
        for case, candidates in CASES.items()
    }
    found: dict[str, dict[str, Trial]] = {
        case: {
            candidate.name: trial(candidate, settings, ml_1m, "test", K, python=options.peer_python)
            for candidate, settings in pieces
        }
        for case, pieces in pieces_by_case.items()
    }
    figure = f"{METRIC}@{K}"
    best = {
        (case, ours): max(
            (
                result.figures[figure]
                for name, result in results.items()
                if name.startswith(OURS) == ours
            ),
            default=float("nan"),
        )
        for case, results in found.items()
        for ours in (True, False)
    }
    peers = [case for case in found if options.peer_python is not None]
    ratio = {case: best[case, True] / best[case, False] for case in peers}
    must = dict.fromkeys(ratio, _BAR)
    own = [r for results in found.values() for n, r in results.items() if n.startswith(OURS)]
    return Result(
        ID,
        ours={case: best[case, True] for case in found},
        peer={case: best[case, False] for case in peers},
        ratio=ratio,
        must=must,
        met=bool(ratio) and all(value >= _BAR for value in ratio.values()),
        seconds=sum(result.seconds for result in own),
        peak_mb=max(result.peak_mb for result in own),
        notes=f"NDCG@{K}, all items ranked, train pairs left out; peer = the best of the peers' "
        "implementations on the test pairs, of RP3β, which none has, a twin of ten lines; each "
        "with the best on the same validation pairs of as many settings as told; the bar is at "
        "least, on the ratio; each line: value [95 % interval over users], seconds to fit, "
        "settings, of how many\n" + "\n".join(_lines(found, figure)),
        data={"ml-1m": fingerprint(prepare("ml-1m"))},
        runs={
            f"{case}: {name}": {
                "settings": result.settings,
                "figures": result.figures,
                "interval": result.interval[figure],
                "seconds": result.seconds,
                "peak_mb": result.peak_mb,
                "version": result.version,
            }
            for case, results in found.items()
            for name, result in results.items()
        },
    )


def _lines(found: dict[str, dict[str, Trial]], figure: str) -> list[str]:
    tried = {c.name: len(c.combinations()) for each in CASES.values() for c in each}
    lines = []
    for case, results in found.items():
        lines.append(f"{case}:")
        for name, result in sorted(results.items(), key=lambda r: -r[1].figures[figure]):
            low, high = result.interval[figure]
            lines.append(
                f"  {name:40} {result.figures[figure]:.4f} [{low:.4f}, {high:.4f}] "
                f"{result.seconds:7.1f} s  {result.settings} of {tried[name]}"
            )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Tunes the settings."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.q7", description=__doc__)
    parser.add_argument("--tune", nargs="*", metavar="NAME", required=True)
    names = parser.parse_args(arguments).tune
    everyone = {c.name: c for candidates in CASES.values() for c in candidates}
    for name in names:
        if name not in everyone:
            parser.error(f"no candidate '{name}' among {', '.join(everyone)}")
    chosen = [everyone[name] for name in names or everyone]
    tune(ID, chosen, ml_1m, K, METRIC, python=peer_python(ID, PEERS, make=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
