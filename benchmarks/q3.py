"""Q3: controls on Gowalla; a model off its published figure means our metric or model is wrong.

`python -m benchmarks.q3 --tune [NAME …]` chooses settings on the validation pairs anew.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from benchmarks.comparison import OURS, Candidate, Trial, best_settings, gowalla, trial, tune
from benchmarks.data import fingerprint, prepare
from benchmarks.harness import Options, Result
from tastemaker.split import Split, given

ID = "Q3"
WHAT = "controls on Gowalla (LightGCN's split): our models at their published Recall@20"
DATA = ("gowalla-lightgcn",)
PEERS = ()
MINUTES = 20.0
K, METRIC = 20, "recall"
_TOLERANCE = 0.003
_MEMORY = 16_000_000_000
_HEAD = 20


def head() -> Split:
    """Gowalla's split narrowed to the items with 20 train pairs or more, a third of them.

    λ of models whose fitting grows with items³ is chosen here, on the validation pairs.
    """
    folder = prepare("gowalla-lightgcn")
    train, valid, test = (
        pl.read_csv(folder / f"{name}.csv", infer_schema=False)
        for name in ("train", "valid", "test")
    )
    often = train.group_by("item_id").len().filter(pl.col("len") >= _HEAD)
    narrowed = (pairs.join(often, on="item_id", how="semi") for pairs in (train, test, valid))
    train, test, valid = narrowed
    return given(train, test, validation=valid)


@dataclass(frozen=True, slots=True)
class Control:
    """A model, its published figure, and on what its settings are chosen."""

    candidate: Candidate
    published: float
    tuned_on: Callable[[], Split] = gowalla


CONTROLS = {
    "EASE": Control(
        Candidate.of(OURS, "EASE", {"regularization": (25.0, 50.0, 100.0, 200.0)}), 0.1765, head
    ),
    "item kNN": Control(
        Candidate.of(
            OURS,
            "ItemKNN",
            {
                "neighbors": (20, 50, 100),
                "shrinkage": (0.0, 20.0, 50.0, 100.0),
                "normalization": ("none", "sum"),
            },
        ),
        0.157,
    ),
}


def run(options: Options) -> Result:
    """Every control with the settings chosen on validation, on the test pairs once."""
    found: dict[str, Trial] = {}
    for name, control in CONTROLS.items():
        settings = best_settings(ID, control.candidate)
        found[name] = trial(control.candidate, settings, gowalla, "test", K, memory_budget=_MEMORY)
    ours = {name: result.figures[f"{METRIC}@{K}"] for name, result in found.items()}
    published = {name: control.published for name, control in CONTROLS.items()}
    off = {name: abs(ours[name] - published[name]) for name in found}
    peak = max(result.peak_mb for result in found.values())
    return Result(
        ID,
        ours=ours,
        peer=published,
        ratio={name: ours[name] / published[name] for name in found},
        must={name: published[name] - _TOLERANCE for name in found},
        met=all(value <= _TOLERANCE for value in off.values()) and peak <= _MEMORY / 1e6,
        seconds=sum(result.seconds for result in found.values()),
        peak_mb=peak,
        notes=f"Recall@{K} divides by |T|, all items ranked, train pairs left out; peer: what is "
        f"published (BARS); the bar is within ±{_TOLERANCE}, and {_MEMORY / 1e9:.0f} GB; each "
        "line: recall, NDCG, [95 % interval of recall over users], seconds to fit, MB, settings\n"
        + "\n".join(_line(name, result) for name, result in found.items()),
        data={"gowalla-lightgcn": fingerprint(prepare("gowalla-lightgcn"))},
        runs={
            name: {
                "settings": result.settings,
                "figures": result.figures,
                "interval": result.interval[f"{METRIC}@{K}"],
                "seconds": result.seconds,
                "peak_mb": result.peak_mb,
            }
            for name, result in found.items()
        },
    )


def _line(name: str, result: Trial) -> str:
    low, high = result.interval[f"{METRIC}@{K}"]
    recall, ndcg = result.figures[f"{METRIC}@{K}"], result.figures[f"ndcg@{K}"]
    return (
        f"  {name:10} {recall:.4f} {ndcg:.4f} [{low:.4f}, {high:.4f}] {result.seconds:.1f} s, "
        f"{result.peak_mb:,.0f} MB  {result.settings}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Tunes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.q3", description=__doc__)
    parser.add_argument("--tune", nargs="*", choices=[*CONTROLS, []], metavar="NAME", required=True)
    for name in parser.parse_args(arguments).tune or CONTROLS:
        control = CONTROLS[name]
        tune(ID, [control.candidate], control.tuned_on, K, METRIC, memory_budget=_MEMORY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
