"""Q1: graph filters on Gowalla compared with published figures, and a blend tuned on validation.

`python -m benchmarks.q1 --tune [NAME …]` tunes the settings on the validation pairs again, and
`--blend` the shares of the blend. The target uses only these on the test pairs.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks.comparison import (
    OURS,
    Candidate,
    best_settings,
    gowalla,
    keep_blend,
    kept_blend,
    lists_for_all,
    tune,
)
from benchmarks.data import fingerprint, prepare
from benchmarks.harness import Options, Result, isolated, peak_mb
from tastemaker import retrieval
from tastemaker.component import FitOptions, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.evaluation.measure import PER_REQUEST, per_request
from tastemaker.metrics import UserBootstrap
from tastemaker.pipeline.merge import merge

ID = "Q1"
WHAT = "graph filters on Gowalla (LightGCN's split) and a blend: Recall@20 and NDCG@20"
DATA = ("gowalla-lightgcn",)
PEERS = ()
MINUTES = 40.0
K, METRIC = 20, "recall"
MUST = {"recall": 0.1849, "ndcg": 0.1518}
PUBLISHED = {"GF-CF": (0.1849, 0.1518), "BSPM-EM": (0.1920, 0.1597)}
BLEND = "blend"
_DEPTH = 500
_SHARES = (0, 50, 100, 200, 300, 400)


PARTS = {
    "GF-CF": Candidate.of(
        OURS,
        "GraphFilter",
        {"factors": (256, 512), "passes": (2, 3), "smoothing": (0.2, 0.3)},
    ),
    "RP3β": Candidate.of(
        OURS, "RP3Beta", {"neighbors": (200, 400), "alpha": (0.7, 0.8), "beta": (0.3, 0.4)}
    ),
    "user kNN": Candidate.of(
        OURS, "UserKNN", {"neighbors": (100, 300), "amplification": (1.0, 1.5)}
    ),
    "graph": Candidate.of(
        OURS, "CooccurrenceGraph", {"degree_exponent": (0.4,), "activity_exponent": (0.5, 0.75)}
    ),
    "sparse EASE": Candidate.of(
        OURS,
        "SparseEASE",
        {"neighbors": (100, 200), "regularization": (30.0,), "dropout": (0.2, 0.35)},
    ),
}
"""The candidates for the blend; each is tuned on the validation pairs."""
CASES = {
    "GF-CF": PARTS["GF-CF"],
    "BSPM-EM": Candidate.of(
        OURS,
        "BSPM",
        {"factors": (512,), "smoothing": (0.3,), "sharpening": (1.0,)},
    ),
}
"""The models compared with published figures. BSPM is too expensive to be a part; its settings are
the best for 3,000 users on the validation pairs."""
_EVERYTHING = {**PARTS, **CASES}


@dataclass(frozen=True, slots=True)
class Found:
    """The lists of a part for every request of a task.

    Attributes:
        lists: the best 500 of each.
        seconds: of fitting.
        asking: seconds of all the lists.
        peak_mb: of the process.
    """

    lists: Candidates
    seconds: float
    asking: float
    peak_mb: float


def run(options: Options) -> Result:
    """All cases with the settings chosen by validation; the test pairs are used only here."""
    shares = kept_blend(ID)
    cases = CASES if options.quick else {**CASES, **{n: PARTS[n] for n in shares if shares[n]}}
    settings = {name: best_settings(ID, candidate) for name, candidate in cases.items()}
    found = {n: isolated(lists_of, c, settings[n], "test") for n, c in cases.items()}
    task = gowalla().test
    systems = {name: part.lists for name, part in found.items()}
    if not options.quick:
        systems[BLEND] = blended({name: part.lists for name, part in found.items()}, shares)
    figures, intervals = {}, {}
    for name, lists in systems.items():
        values = per_request(lists.head(K), task, K)
        named = dict(zip(PER_REQUEST, UserBootstrap(task.user, 0).means(values)))
        for metric in MUST:
            figures[f"{name} {metric}"] = named[metric].value
            intervals[f"{name} {metric}"] = (named[metric].low, named[metric].high)
    judged = "GF-CF" if options.quick else BLEND
    published = {
        f"{name} {metric}": value
        for name, row in PUBLISHED.items()
        for metric, value in zip(MUST, row)
    }
    return Result(
        ID,
        ours=figures,
        peer=published,
        ratio={name: figures[name] / published[name] for name in published},
        must={f"{judged} {metric}": bar for metric, bar in MUST.items()},
        met=all(figures[f"{judged} {metric}"] >= bar for metric, bar in MUST.items()),
        seconds=sum(part.seconds for part in found.values()),
        peak_mb=max(part.peak_mb for part in found.values()),
        notes=f"Recall@{K} divides by |T|, all items ranked, train pairs left out; peer: what is "
        "published with its settings, ours with what validation chose; "
        f"{BLEND}: the pipeline's own fusion of lists of {_DEPTH} by shares found on "
        f"validation, {shares}; each line: recall [95 % interval over users], NDCG, seconds to "
        "fit, ms a user, settings\n" + "\n".join(_lines(systems, found, figures, intervals)),
        data={"gowalla-lightgcn": fingerprint(prepare("gowalla-lightgcn"))},
        runs={
            "figures": figures,
            "intervals": intervals,
            "shares": dict(shares),
            "settings": settings,
            "seconds": {name: [part.seconds, part.asking] for name, part in found.items()},
        },
    )


def lists_of(candidate: Candidate, settings: Mapping[str, object], on: str) -> Found:
    """Fits a part and makes the lists of all users."""
    split = gowalla()
    task, known = (
        (split.test, split.before_test)
        if on == "test"
        else (
            split.validation,
            split.train,
        )
    )
    kind: type[Retriever] = getattr(retrieval, candidate.model)
    begun = perf_counter()
    model = kind(**settings).fit(known, FitOptions())
    seconds = perf_counter() - begun
    begun = perf_counter()
    lists = lists_for_all(model, task, _DEPTH)
    return Found(lists, seconds, perf_counter() - begun, peak_mb())


def blended(lists: Mapping[str, Candidates], shares: Mapping[str, int]) -> Candidates:
    """The merged lists of a placement with these quotas."""
    taken = {name: lists[name] for name, share in shares.items() if share}
    return merge(taken, {name: shares[name] for name in taken})


def find_blend() -> dict[str, int]:
    """Shares by coordinate ascent on the validation pairs, from the best part alone."""
    lists = {
        name: isolated(lists_of, part, best_settings(ID, part), "validation").lists
        for name, part in PARTS.items()
    }
    task = gowalla().validation
    column = list(PER_REQUEST).index(METRIC)

    def judged(shares: Mapping[str, int]) -> float:
        values = per_request(blended(lists, shares).head(K), task, K)
        return float(values[:, column].mean())

    nothing = dict.fromkeys(PARTS, 0)
    alone = {name: judged(nothing | {name: _SHARES[2]}) for name in PARTS}
    best = max(alone, key=lambda name: alone[name])
    shares, figure = nothing | {best: _SHARES[2]}, alone[best]
    improved = True
    while improved:
        improved = False
        for name in PARTS:
            for share in _SHARES:
                other = shares | {name: share}
                if other == shares or not any(other.values()):
                    continue
                value = judged(other)
                if value > figure:
                    shares, figure, improved = other, value, True
                    sys.stderr.write(f"{METRIC}@{K} {figure:.5f} {shares}\n")
    keep_blend(ID, shares, figure, alone)
    return shares


def _lines(
    systems: Mapping[str, Candidates],
    found: Mapping[str, Found],
    figures: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> list[str]:
    lines = []
    for name in sorted(systems, key=lambda name: -figures[f"{name} recall"]):
        low, high = intervals[f"{name} recall"]
        line = f"  {name:12} {figures[f'{name} recall']:.4f} [{low:.4f}, {high:.4f}] "
        line += f"{figures[f'{name} ndcg']:.4f}"
        if name in found:
            part = found[name]
            each = 1e3 * part.asking / len(part.lists)
            settings = best_settings(ID, _EVERYTHING[name])
            line += f" {part.seconds:.1f} s, {each:.2f} ms  {settings}"
        lines.append(line)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Tunes the settings and the blend."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.q1", description=__doc__)
    parser.add_argument("--tune", nargs="*", metavar="NAME")
    parser.add_argument("--blend", action="store_true")
    given = parser.parse_args(arguments)
    if given.tune is not None:
        for name in given.tune or _EVERYTHING:
            if name not in _EVERYTHING:
                parser.error(f"no model '{name}' among {', '.join(_EVERYTHING)}")
            tune(ID, [_EVERYTHING[name]], gowalla, K, METRIC)
    if given.blend:
        find_blend()
    return 0


if __name__ == "__main__":
    sys.exit(main())
