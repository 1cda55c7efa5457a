"""S13: the cost of ranking 500 candidates by boosted trees in a request."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Options, Result, at_most, isolated, peak_mb

ID = "S13"
WHAT = "boosted trees on 500 rows × 60 features, one thread; peer: LightGBM's own predict"
DATA = ()
PEERS = ()
MINUTES = 2.0
MUST = {"500 trees × 63 leaves": 0.5}
MODELS = {"200 trees × 31 leaves": (200, 31), "500 trees × 63 leaves": (500, 63)}
ROWS, COLUMNS = 500, 60
CALLS = 200


def run(options: Options) -> Result:
    """Both models; ours and LightGBM's in turn, call by call, in one process a run."""
    runs, calls = max(options.runs, 3), CALLS // 4 if options.quick else CALLS
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
    for _ in range(runs):
        for name, (trees, leaves) in MODELS.items():
            found[name].append(isolated(timed, trees, leaves, calls, options.seed))
    ours = {name: _median(rows, "ours") for name, rows in found.items()}
    peer = {name: _median(rows, "peer") for name, rows in found.items()}
    ratio = {name: _median(rows, "ratio") for name, rows in found.items()}
    exact = all(row["exact"] for rows in found.values() for row in rows)
    one_row = {name: f"{_median(rows, 'one row') * 1e3:.0f} µs" for name, rows in found.items()}
    return Result(
        ID,
        ours=ours,
        peer=peer,
        ratio=ratio,
        must=MUST,
        met=at_most(ratio, MUST) and exact,
        seconds=sum(ours.values()) / 1e3,
        peak_mb=max(row["peak_mb"] for rows in found.values() for row in rows),
        notes=f"milliseconds a call, medians of {calls} calls in each of {runs} processes; the bar "
        f"is on the ratio, the median over pairs of neighbouring calls; {ROWS} rows × {COLUMNS} "
        "features float32, a third of the columns with NaN; scores equal to the bit: "
        f"{'yes' if exact else 'NO'}; peer = Booster.predict(raw_score=True, num_threads=1); "
        f"one row alone, ours: {one_row}",
        runs=found,
    )


def timed(trees: int, leaves: int, calls: int, seed: int) -> dict[str, float]:
    """Medians of one process, milliseconds."""
    import lightgbm

    from tastemaker.ranking.trees import Trees

    random = np.random.default_rng(seed)
    values = random.normal(size=(20_000, COLUMNS)).astype(np.float32)
    values[:, ::3][random.random(values[:, ::3].shape) < 0.1] = np.nan
    values[:, 1::3] = np.round(np.abs(values[:, 1::3]) * 3)
    booster = lightgbm.train(
        _settings(leaves, seed), lightgbm.Dataset(values, _labels(values, random)), trees
    )
    read, rows = Trees.read(booster.model_to_string()), values[:ROWS].copy()

    def theirs() -> Any:
        return booster.predict(rows, raw_score=True, num_threads=1)

    pairs = [(_clock(lambda: read.raw(rows)), _clock(theirs)) for _ in range(calls + 5)][5:]
    return {
        "ours": statistics.median(ours for ours, _ in pairs),
        "peer": statistics.median(peer for _, peer in pairs),
        "ratio": statistics.median(ours / peer for ours, peer in pairs),
        "one row": statistics.median(_clock(lambda: read.raw(rows[:1])) for _ in range(calls)),
        "exact": float(np.array_equal(read.raw(rows), theirs())),
        "peak_mb": peak_mb(),
    }


def _settings(leaves: int, seed: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": leaves,
        "learning_rate": 0.05,
        "feature_fraction": 0.8,
        "verbosity": -1,
        "seed": seed,
    }


def _labels(values: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.bool_]:
    """Labels that need many splits to learn."""
    known = np.nan_to_num(values)
    signal = known[:, 0] * known[:, 1] + known[:, 2] + np.sin(3 * known[:, 5])
    labels: NDArray[np.bool_] = signal + random.normal(size=len(values)) > 0
    return labels


def _clock(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3


def _median(rows: list[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rows)
