"""S4: fitting EASE on 20,000 items, ours and LensKit's in turn, then the plain SciPy recipe."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from benchmarks.comparison import OURS, Candidate, Trial, in_turn, speed_set
from benchmarks.harness import Measured, Options, Result, Stopwatch, measure
from tastemaker.split import Split

ID = "S4"
WHAT = "fitting EASE on 20,000 items; peers: LensKit, and SciPy step by step"
DATA = ("synthetic",)
PEERS = ("torch==2.13.0", "lenskit==2025.8.0", "pyarrow==20.0.0")
MINUTES = 20.0
MUST = {"ours ÷ LensKit": 0.8}
K = 20
_SAME = 0.001
_REGULARIZATION = 200.0
_SETTINGS = {"regularization": _REGULARIZATION}
_PIECES: dict[str, tuple[Candidate, dict[str, Any]]] = {
    "EASE": (Candidate.of(OURS, "EASE"), _SETTINGS),
    "LensKit": (Candidate.of("lenskit", "knn.EASEScorer"), _SETTINGS),
}


def run(options: Options) -> Result:
    """Ours and LensKit's in turn, then SciPy's."""
    load = partial(speed_set, options.quick, options.seed)
    found = in_turn(_PIECES, load, K, options.runs, options.peer_python)
    plain: Measured = measure({"SciPy": by_scipy}, load, runs=options.runs)["SciPy"]
    seconds = {name: statistics.median(t.seconds for t in runs) for name, runs in found.items()}
    peak = {name: max(t.peak_mb for t in runs) for name, runs in found.items()}
    quality = {name: runs[0].figures[f"recall@{K}"] for name, runs in found.items()}
    ratio = {"ours ÷ SciPy": seconds["EASE"] / plain.seconds}
    peer = {"SciPy": plain.seconds}
    met = False
    if "LensKit" in found:
        ratio["ours ÷ LensKit"] = seconds["EASE"] / seconds["LensKit"]
        peer["LensKit"] = seconds["LensKit"]
        behind = quality["LensKit"] - quality["EASE"]
        met = ratio["ours ÷ LensKit"] <= MUST["ours ÷ LensKit"] and behind <= _SAME
    return Result(
        ID,
        ours={"EASE": seconds["EASE"], "peak MB": peak["EASE"]},
        peer=peer | {f"peak MB {name}": value for name, value in peak.items() if name != "EASE"},
        ratio=ratio,
        must=MUST,
        met=met,
        seconds=seconds["EASE"],
        peak_mb=peak["EASE"],
        notes=f"seconds to fit, medians of {options.runs}; λ = {_REGULARIZATION:g}; SciPy: XᵀX as "
        "a dense float32 matrix, Cholesky factor, solved for the identity, its runs after the "
        "others'; the bars are on the "
        f"ratio to LensKit, and on recall@{K} of 2,000 users within {_SAME} of its: "
        f"{ {name: round(value, 4) for name, value in quality.items()} }",
        runs={name: [_record(t) for t in runs] for name, runs in found.items()}
        | {"SciPy": plain.record()},
    )


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "seconds": trial.seconds,
        "peak_mb": trial.peak_mb,
        "figures": trial.figures,
        "version": trial.version,
    }


def by_scipy(watch: Stopwatch, load: Callable[[], Split]) -> None:
    """The recipe of the paper's listing, in float32."""
    users = load().before_test.interactions(reduce="binary")
    with watch.running():
        gram = (users.T @ users).toarray()
        gram[np.diag_indices(len(gram))] += np.float32(_REGULARIZATION)
        factor = cho_factor(gram, overwrite_a=True, check_finite=False)
        identity = np.eye(len(gram), dtype=np.float32)
        inverse = cho_solve(factor, identity, overwrite_b=True, check_finite=False)
        inverse /= -np.diag(inverse)
        np.fill_diagonal(inverse, 0)
