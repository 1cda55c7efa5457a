"""BYTIME: every proposed retriever and the merged pipeline, in later windows of time."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.data import fingerprint, prepare, synthetic
from benchmarks.harness import Options, Result, isolated, peak_mb
from tastemaker.component import FitOptions
from tastemaker.data.sample import SHA256, sample_bytes
from tastemaker.evaluation import evaluate
from tastemaker.metrics import Estimate
from tastemaker.pipeline import Recommender
from tastemaker.project import load_project
from tastemaker.project.find_files import find_tables
from tastemaker.project.project import FILE_NAME
from tastemaker.project.project_text import project_text
from tastemaker.project.propose import propose_project
from tastemaker.split import by_time

ID = "BYTIME"
WHAT = "quality in later time windows: every proposed retriever alone, and merged"
DATA = ("ml-1m-timed", "kuairand-sample", "ml-latest-small", "sample", "synthetic")
PEERS = ()
MINUTES = 4.0
METRICS = ("ndcg@10", "recall@10")
PIPELINE = "pipeline"
_QUICK = ("sample",)


@dataclass(frozen=True, slots=True)
class Case:
    """A data set and the length of its windows; None is what `init` proposes."""

    data: str
    test: float | None = None

    @property
    def name(self) -> str:
        return self.data if self.test is None else f"{self.data} {self.test}"


CASES = (
    *(Case(data) for data in DATA),
    Case("ml-1m-timed", 0.2),
)

Figures = dict[str, dict[str, Estimate]]


@dataclass(frozen=True, slots=True)
class Quality:
    """The results of one case.

    Attributes:
        validation: system → metric → estimate.
        test: the same.
        protocol: the evaluation protocol.
        digest: of the data.
        seconds: of both evaluations.
        peak_mb: of the process.
    """

    validation: Figures
    test: Figures
    protocol: dict[str, str | int]
    digest: str
    seconds: float
    peak_mb: float


def run(options: Options) -> Result:
    """Compares the pipeline with the best retriever in the validation window."""
    cases = [case for case in CASES if not options.quick or case.data in _QUICK]
    found = {case.name: isolated(quality, case, options.seed) for case in cases}
    pipeline, single, ratio, chosen = {}, {}, {}, {}
    for name, case in found.items():
        alone = {s: m["ndcg@10"].value for s, m in case.validation.items() if s != PIPELINE}
        best = chosen[name] = max(alone, key=lambda system: alone[system])
        pipeline[name] = case.test[PIPELINE]["ndcg@10"].value
        single[name] = case.test[best]["ndcg@10"].value
        ratio[name] = pipeline[name] / single[name]
    mean = sum(ratio.values()) / len(ratio)
    return Result(
        ID,
        ours=pipeline,
        peer=single,
        ratio=ratio | {"mean": mean},
        must={"mean": 1.0},
        met=mean >= 1.0,
        seconds=sum(case.seconds for case in found.values()),
        peak_mb=max(case.peak_mb for case in found.values()),
        notes="NDCG@10 in the test window; ours = the merged pipeline, peer = the retriever that "
        f"was best in the validation window {chosen}; the bar is at least, on the mean ratio; "
        "each line: test window, value [95 % interval over users], recall@10\n"
        + "\n".join(_lines(found)),
        data={name: case.digest for name, case in found.items()},
        runs={
            name: {
                "protocol": case.protocol,
                "validation": _plain(case.validation),
                "test": _plain(case.test),
            }
            for name, case in found.items()
        },
    )


def quality(case: Case, seed: int) -> Quality:
    """Fits and evaluates what `init` would propose for a data set, in both windows."""
    folder = _folder(case.data)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / FILE_NAME
        found = propose_project(find_tables(folder))
        text, data = project_text(found, folder), found.require_data()
        path.write_text(text, encoding="utf-8")
        project = load_project(path)
        recommender = Recommender.from_project(path)
    proposed = project.file.split
    test = case.test or (proposed.test if proposed else 0.1)
    split = by_time(data, test=test, seed=seed)
    begun = perf_counter()
    options = FitOptions(seed=seed)
    validation = evaluate(recommender, split, window="validation", options=options)
    tested = evaluate(recommender, split, options=options)
    return Quality(
        dict(validation.systems),
        dict(tested.systems),
        dict(tested.protocol),
        fingerprint(folder),
        perf_counter() - begun,
        peak_mb(),
    )


def _folder(name: str) -> Path:
    """The files of a data set."""
    if name == "synthetic":
        return synthetic(users=5_000, items=3_000, events=300_000, tastes=30, days=120, seed=7)
    if name != "sample":
        return prepare(name)
    folder = Path(tempfile.mkdtemp())
    for file in SHA256:
        (folder / file).write_bytes(sample_bytes(file))
    return folder


def _plain(figures: Figures) -> dict[str, dict[str, tuple[float, float, float]]]:
    return {
        system: {metric: (m[metric].value, m[metric].low, m[metric].high) for metric in METRICS}
        for system, m in figures.items()
    }


def _lines(found: dict[str, Quality]) -> list[str]:
    lines = []
    for name, case in found.items():
        lines.append(f"{name}: {case.protocol['requests']} requests")
        for system, m in sorted(case.test.items(), key=lambda s: -s[1]["ndcg@10"].value):
            ndcg, recall = m["ndcg@10"], m["recall@10"]
            lines.append(
                f"  {system:10} {ndcg.value:.4f} [{ndcg.low:.4f}, {ndcg.high:.4f}]"
                f"  {recall.value:.4f}"
            )
    return lines
