"""GROWTH: time and memory of `fit` at 10⁵, 10⁶, 10⁷ interactions, and rejected fits."""

import multiprocessing
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.data import DataAbsent, fingerprint, synthetic
from benchmarks.harness import RESULTS, Options, Result, isolated, peak_mb
from tastemaker import retrieval
from tastemaker.component import FitOptions, Retriever
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.synthetic import SCHEMA, SyntheticWorld
from tastemaker.errors import MemoryBudgetError, TastemakerError
from tastemaker.inventory import Inventory

ID = "GROWTH"
WHAT = "seconds and peak memory of every retriever's fit at 10⁵, 10⁶, 10⁷ interactions; a plot"
DATA = ("synthetic",)
PEERS = ()
MINUTES = 60.0
BUDGET = 16 << 30
LONGEST_SECONDS = 420.0
"""After so long, reading and compiling included, a fit is given up; the next size is not tried."""
NEAR_LINEAR = 25.0
"""Ten times the events may take so many times as long."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a data set, as a shop may have it.

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
        return f"{self.events:.0e} × {self.items:,}".replace("e+0", "e")


SIZES = (
    Size(100_000, 2_000, 2_000),
    Size(1_000_000, 20_000, 6_000),
    Size(10_000_000, 100_000, 20_000),
)
WIDE = Size(1_000_000, 100_000, 200_000)
"""A catalogue that is too large for quadratic models."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The result of one fit.

    Attributes:
        seconds: of `fit`; negative if it did not finish.
        peak_mb: peak memory of the process beyond that with the data loaded.
        request_ms: one request with 20 events, 500 items, median of ten.
        reason: why there is no figure.
        failed: whether it timed out or died, rather than being rejected.
    """

    seconds: float
    peak_mb: float
    request_ms: float
    reason: str = ""
    failed: bool = False


def run(options: Options) -> Result:
    """Every retriever at every size, each fit in a separate process."""
    if not find_spec("matplotlib"):
        raise DataAbsent("there is no matplotlib to draw with; pip install 'tastemaker[bench]'")
    sizes = SIZES[: 2 if options.quick else 3]
    folders = {size: isolated(_folder, size, options.seed) for size in (*sizes, WIDE)}
    classes: list[type[Retriever]] = [getattr(retrieval, name) for name in retrieval.__all__]
    found: dict[str, dict[Size, Fitted]] = {}
    for name in sorted(one.name for one in classes):
        found[name] = {}
        for size in (*sizes, WIDE):
            if size is WIDE or all(fit.seconds >= 0 for fit in found[name].values()):
                found[name][size] = fitted(name, folders[size], options.seed)
                text = found[name][size].reason or f"{found[name][size].seconds:.1f} s"
                sys.stderr.write(f"{name}, {size.name} items: {text}\n")
    picture = RESULTS / f"GROWTH{'-quick' if options.quick else ''}.svg"
    draw(found, sizes, picture)
    steepness = {
        name: of[sizes[-1]].seconds / of[sizes[-2]].seconds
        for name, of in found.items()
        if sizes[-1] in of and of[sizes[-1]].seconds > 1.0
    }
    return Result(
        ID,
        ours={
            f"{n} {s.name}": f.seconds
            for n, of in found.items()
            for s, f in of.items()
            if f.seconds >= 0
        },
        peer={},
        ratio=steepness,
        must=dict.fromkeys(steepness, NEAR_LINEAR),
        met=all(ratio <= NEAR_LINEAR for ratio in steepness.values())
        and not any(f.failed for of in found.values() for f in of.values()),
        seconds=sum(max(f.seconds, 0) for of in found.values() for f in of.values()),
        peak_mb=max(f.peak_mb for of in found.values() for f in of.values()),
        notes=f"seconds of fit with the default settings, memory budget {BUDGET / 1e9:.0f} GB; "
        f"ratio: the largest size over the one before, the bar {NEAR_LINEAR:g} where it takes "
        f"over a second; given up {LONGEST_SECONDS:,.0f} s after a process began; each line, for "
        f"{', '.join(f'{size.name} items' for size in (*sizes, WIDE))}: seconds, what fit held at "
        "most beyond the data, MB, and ms a request of 20 events, 500 items; or why there is no "
        f"figure; plot: {picture.name}\n" + "\n".join(_lines(found, (*sizes, WIDE))),
        data={size.name: fingerprint(folder) for size, folder in folders.items()},
        runs={
            n: {
                f"{s.events}/{s.items}": [f.seconds, f.peak_mb, f.request_ms, f.reason]
                for s, f in of.items()
            }
            for n, of in found.items()
        },
    )


def fitted(name: str, folder: Path, seed: int) -> Fitted:
    """Fits one retriever in a separate process, which is killed if it takes too long."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_fit, args=(there, name, folder, seed))
    process.start()
    there.close()
    try:
        if here.poll(LONGEST_SECONDS):
            result: Fitted = here.recv()
            return result
        return Fitted(-1.0, 0.0, 0.0, f"given up after {LONGEST_SECONDS:,.0f} s", failed=True)
    except EOFError:
        process.join()  # the exit code is set by then
        reason = f"the process ended with {process.exitcode}"
        return Fitted(-1.0, 0.0, 0.0, reason, failed=True)
    finally:
        process.kill()
        process.join()


def _fit(pipe: Connection, name: str, folder: Path, seed: int) -> None:
    """Reads, fits, requests, and sends the result."""
    classes: list[type[Retriever]] = [getattr(retrieval, one) for one in retrieval.__all__]
    model = next(one for one in classes if one.name == name)()
    small = SyntheticWorld(users=50, items=50, events=500, tastes=3).dataset()
    with suppress(TastemakerError):  # compiles the kernels
        model.clone().fit(small, FitOptions(seed=seed))
    data = Dataset.from_files(folder / "events.parquet", items=folder / "items.csv", schema=SCHEMA)
    _forget_peak()
    before = peak_mb()
    begun = perf_counter()
    try:
        model.fit(data, FitOptions(seed=seed, memory_budget=BUDGET))
    except MemoryBudgetError as refusal:
        pipe.send(Fitted(-1.0, 0.0, 0.0, str(refusal)))
        return
    except TastemakerError as refusal:
        pipe.send(Fitted(-1.0, 0.0, 0.0, f"not fitted: {refusal}"))
        return
    seconds, held = perf_counter() - begun, peak_mb() - before
    pipe.send(Fitted(seconds, held, _request_ms(model, data)))


def _forget_peak() -> None:
    """Resets the peak to the current memory; otherwise it may be that of reading the data."""
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5")


def _request_ms(model: Retriever, data: Dataset) -> float:
    """Milliseconds of an anonymous request with a user's first 20 events; median of ten."""
    log, inventory = data.events, Inventory.of(data)
    users = np.flatnonzero(np.diff(log.offsets) >= 20)[:11]
    taken = []
    for start in log.offsets[users]:
        requests = Requests.of([log.item[start : start + 20].tolist()], time=data.end)
        begun = perf_counter()
        model.retrieve(requests, 500, inventory)
        taken.append(1e3 * (perf_counter() - begun))
    return statistics.median(taken[1:])


def _folder(size: Size, seed: int) -> Path:
    """The files of a data set, created once."""
    return synthetic(users=size.users, items=size.items, events=size.events, tastes=40, seed=seed)


def draw(found: Mapping[str, Mapping[Size, Fitted]], sizes: Sequence[Size], path: Path) -> None:
    """Plots seconds and memory by interactions, a line per retriever; tiny values are clipped."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    drawn = (("seconds", "seconds of fit", 0.01), ("peak_mb", "MB held by fit", 1.0))
    for place, (what, label, least) in enumerate(drawn):
        axes = figure.add_subplot(1, 2, place + 1)
        for line, (name, of) in enumerate(found.items()):
            done = [size for size in sizes if size in of and of[size].seconds >= 0]
            heights = [max(getattr(of[size], what), least) for size in done]
            style = ("-", "--", ":", "-.")[line // 10 % 4]
            axes.plot([size.events for size in done], heights, style, marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel="interactions", ylabel=label)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _lines(found: Mapping[str, Mapping[Size, Fitted]], sizes: Sequence[Size]) -> list[str]:
    return [
        f"  {name:18} " + " | ".join(_cell(of.get(size)) for size in sizes)
        for name, of in found.items()
    ]


def _cell(fit: Fitted | None) -> str:
    if fit is None:
        return "not tried"
    if fit.seconds < 0:
        return fit.reason
    return f"{fit.seconds:.1f} s {fit.peak_mb:,.0f} MB {fit.request_ms:.1f} ms"
