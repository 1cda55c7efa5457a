"""GROWTH: time and memory of `fit` at 10⁵, 10⁶, 10⁷ interactions, and what is refused."""

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

from benchmarks.data import fingerprint, synthetic
from benchmarks.harness import RESULTS, Options, Result, isolated, peak_mb
from tastemaker import retrieval
from tastemaker.component import FitOptions, Retriever
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.synthetic import SCHEMA
from tastemaker.errors import MemoryBudgetError, TastemakerError
from tastemaker.world import World

ID = "GROWTH"
WHAT = "seconds and peak memory of every retriever's fit at 10⁵, 10⁶, 10⁷ interactions; a plot"
DATA = ("synthetic",)
PEERS = ()
MINUTES = 90.0
BUDGET = 16 << 30
LONGEST_SECONDS = 900.0
"""After so long a fit is given up, and the next size is not tried."""
NEAR_LINEAR = 25.0
"""Ten times the events may take so many times as long."""


@dataclass(frozen=True, slots=True)
class Size:
    """A data set: what a shop of its size may have.

    Attributes:
        events: interactions.
        users: so many people.
        items: so many things.
    """

    events: int
    users: int
    items: int

    @property
    def name(self) -> str:
        return f"{self.events:.0e}".replace("e+0", "e")


SIZES = (
    Size(100_000, 2_000, 2_000),
    Size(1_000_000, 20_000, 6_000),
    Size(10_000_000, 100_000, 20_000),
)
WIDE = Size(1_000_000, 100_000, 200_000)
"""A catalogue for which quadratic models have no room."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """How one fit went.

    Attributes:
        seconds: of `fit`; negative where it did not end.
        peak_mb: most that the process held beyond what it held with the data read.
        request_ms: one request with 20 events, 500 items, median of ten.
        told: why there is no figure.
    """

    seconds: float
    peak_mb: float
    request_ms: float
    told: str = ""


def run(options: Options) -> Result:
    """Every retriever at every size, each fit in a process of its own."""
    sizes = SIZES[: 2 if options.quick else 3]
    folders = {size: isolated(_folder, size, options.seed) for size in (*sizes, WIDE)}
    classes: list[type[Retriever]] = [getattr(retrieval, name) for name in retrieval.__all__]
    found: dict[str, dict[Size, Fitted]] = {}
    for name in sorted(one.name for one in classes):
        found[name] = {}
        for size in sizes:
            found[name][size] = fitted(name, folders[size], options.seed)
            if found[name][size].seconds < 0:
                break
        found[name][WIDE] = fitted(name, folders[WIDE], options.seed)
    picture = RESULTS / f"GROWTH{'-quick' if options.quick else ''}.svg"
    draw(found, sizes, picture)
    steepness = {
        name: of[sizes[-1]].seconds / of[sizes[-2]].seconds
        for name, of in found.items()
        if sizes[-1] in of and of[sizes[-1]].seconds > 1.0
    }
    return Result(
        ID,
        ours={f"{n} {s.name}": f.seconds for n, of in found.items() for s, f in of.items()},
        peer={},
        ratio=steepness,
        must=dict.fromkeys(steepness, NEAR_LINEAR),
        met=all(ratio <= NEAR_LINEAR for ratio in steepness.values()),
        seconds=sum(max(f.seconds, 0) for of in found.values() for f in of.values()),
        peak_mb=max(f.peak_mb for of in found.values() for f in of.values()),
        notes=f"seconds of fit with the default settings, memory budget {BUDGET / 1e9:.0f} GB; "
        f"ratio: the largest size over the one before, the bar {NEAR_LINEAR:g} where it takes "
        "over a second; each line: seconds and what fit held more than the data, MB, per size; "
        f"then {WIDE.items:,} items; then ms a request of 20 events, 500 items; plot: "
        f"{picture.name}\n" + "\n".join(_lines(found, (*sizes, WIDE))),
        data={size.name: fingerprint(folder) for size, folder in folders.items()},
        runs={
            n: {f"{s.events}/{s.items}": [f.seconds, f.peak_mb, f.request_ms, f.told]}
            for n, of in found.items()
            for s, f in of.items()
        },
    )


def fitted(name: str, folder: Path, seed: int) -> Fitted:
    """Fits one retriever in a process of its own, which is ended when it takes too long."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_fit, args=(there, name, folder, seed))
    process.start()
    there.close()
    try:
        if here.poll(LONGEST_SECONDS + 120):
            told: Fitted = here.recv()
            return told
        return Fitted(-1.0, 0.0, 0.0, f"given up after {LONGEST_SECONDS:g} s")
    except EOFError:
        return Fitted(-1.0, 0.0, 0.0, f"the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _fit(told: Connection, name: str, folder: Path, seed: int) -> None:
    """Reads, fits, asks, and tells."""
    classes: list[type[Retriever]] = [getattr(retrieval, one) for one in retrieval.__all__]
    model = next(one for one in classes if one.name == name)()
    # Kernels are compiled before, on next to nothing.
    small = isolated_world(50)
    model.clone().fit(small, FitOptions(seed=seed))
    data = Dataset.from_files(
        folder / "events.parquet", items=folder / "items.csv", schema=SCHEMA
    )
    before = peak_mb()
    begun = perf_counter()
    try:
        model.fit(data, FitOptions(seed=seed, memory_budget=BUDGET))
    except MemoryBudgetError as refusal:
        told.send(Fitted(-1.0, 0.0, 0.0, str(refusal)))
        return
    except TastemakerError as refusal:
        told.send(Fitted(-1.0, 0.0, 0.0, f"not fitted: {refusal}"))
        return
    seconds, held = perf_counter() - begun, peak_mb() - before
    told.send(Fitted(seconds, held, _request_ms(model, data)))
