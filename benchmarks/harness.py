"""The framework of all targets: options, measurements, results, and their output.

Each measurement runs in a separate process, so that its peak memory and caches are its own.
"""

import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.data import PROJECT

RESULTS = PROJECT / "benchmarks" / "results"
PEERS = PROJECT / ".benchmark-peers"
_PACKAGES = ("tastemaker", "numpy", "scipy", "numba", "polars", "lightgbm", "torch", "faiss-cpu")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run.

    Attributes:
        quick: a smaller version, marked as such.
        seed: for random draws of the target.
        runs: how often each piece is measured; at least 3 for a figure that counts.
        peer_python: the interpreter of the peers' environment; None where there is none.
        examples: how many examples a fuzz draws; by default its own number.
    """

    quick: bool = False
    seed: int = 0
    runs: int = 3
    peer_python: Path | None = None
    examples: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a target. `ours`, `peer`, `ratio` and `must` map a name to a number.

    Attributes:
        id: the target.
        ours: our figures.
        peer: the peers' figures under the same names.
        ratio: ours ÷ peer.
        must: the bars.
        met: whether every bar was met.
        seconds: our measured time, medians added up.
        peak_mb: the largest of our processes.
        notes: what a reader must know to judge the figures.
        data: name → SHA-256 of the data used.
        runs: every single measurement, for the saved record.
    """

    id: str
    ours: Mapping[str, float]
    peer: Mapping[str, float]
    ratio: Mapping[str, float]
    must: Mapping[str, float]
    met: bool
    seconds: float
    peak_mb: float
    notes: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """The object that is printed as the last line."""
        return {
            "id": self.id,
            "ours": _rounded(self.ours),
            "peer": _rounded(self.peer),
            "ratio": _rounded(self.ratio),
            "must": _rounded(self.must),
            "met": self.met,
            "seconds": round(self.seconds, 3),
            "peak_mb": round(self.peak_mb, 1),
            "notes": self.notes,
        }


class Target(Protocol):
    """The interface of a target's module."""

    ID: str
    WHAT: str
    DATA: tuple[str, ...]
    PEERS: tuple[str, ...]
    MINUTES: float

    def run(self, options: Options) -> Result:
        """Measures and compares."""


class Stopwatch:
    """Times the relevant part of a measurement; without a part, all of it counts."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Times a part; several parts are summed."""
        begin = time.perf_counter()
        yield
        self.seconds = (self.seconds or 0.0) + time.perf_counter() - begin


@dataclass(frozen=True, slots=True)
class Measured:
    """Several runs of one measurement.

    Attributes:
        all_seconds: of each run.
        all_peak_mb: peak resident memory of each run's process, interpreter and imports included.
        values: what each run returned.
    """

    all_seconds: list[float]
    all_peak_mb: list[float]
    values: list[Any]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.all_seconds)

    @property
    def peak_mb(self) -> float:
        """The largest."""
        return max(self.all_peak_mb)

    def record(self) -> dict[str, list[float]]:
        """The runs as a dict for the saved file."""
        return {"seconds": self.all_seconds, "peak_mb": self.all_peak_mb}


def isolated(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a module's function in a spawned process that ends with it, or with this one."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_end_with_parent) as process:
        return process.submit(function, *args, **kwargs).result()


def _end_with_parent() -> None:
    """Stops this process when its parent has been killed."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def measure(pieces: Mapping[str, Callable[..., Any]], *args: Any, runs: int) -> dict[str, Measured]:
    """Runs measurements in turn, each run in a separate process.

    In turn, so that a noisy stretch of the machine meets all of them.

    Args:
        pieces: name → a module's function, called with a `Stopwatch` and `args`; returns something
            small, or None.
        args: what the pieces work on.
        runs: how often each.
    """
    found: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in pieces}
    for _ in track(range(runs), "measuring", console=Console(stderr=True), transient=True):
        for name, piece in pieces.items():
            found[name].append(isolated(_one_run, piece, args))
    return {name: Measured(*map(list, zip(*rows))) for name, rows in found.items()}


def _one_run(piece: Callable[..., Any], args: tuple[Any, ...]) -> tuple[float, float, Any]:
    watch = Stopwatch()
    begin = time.perf_counter()
    value = piece(watch, *args)
    whole = time.perf_counter() - begin
    return whole if watch.seconds is None else watch.seconds, peak_mb(), value


def peak_mb() -> float:
    """The peak resident memory of this process, MB (10⁶ bytes).

    Linux's VmHWM rather than getrusage, whose peak a spawned process inherits from its parent.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def ratios(ours: Mapping[str, Measured], peer: Mapping[str, Measured]) -> dict[str, float]:
    """Median seconds, ours ÷ peer, for every name both have."""
    return {name: ours[name].seconds / peer[name].seconds for name in ours if name in peer}


def at_most(figures: Mapping[str, float], must: Mapping[str, float]) -> bool:
    """Whether every bar has its figure at or below it."""
    return all(name in figures and figures[name] <= bar for name, bar in must.items())


def peer_python(id_: str, requirements: Sequence[str], *, make: bool) -> Path | None:
    """The interpreter of a target's peers, in a separate environment.

    Args:
        id_: the target.
        requirements: the packages that pip installs.
        make: create the environment when it is missing; otherwise None is returned.
    """
    folder = PEERS / id_.lower()
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not requirements or not (make or complete.exists()):
        return None
    text = "\n".join(requirements)
    if not complete.exists() or complete.read_text() != text:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        complete.write_text(text)
    return python


def probe() -> dict[str, Any]:
    """The machine's current performance, so that figures of different days can be compared."""
    flops, copied = isolated(_probe_speed)
    return {
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "gemm_gflops": round(flops / 1e9, 1),
        "memory_gb_s": round(copied / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "architecture": platform.machine(),
        "system": platform.system(),
    }


def _probe_speed() -> tuple[float, float]:
    """Floating-point operations a second (float32, 2,048³), and bytes read and written a second."""
    n = 2048
    a, b = (np.random.default_rng(s).standard_normal((n, n), np.float32) for s in (1, 2))
    source = np.ones(1 << 25)
    target = np.zeros_like(source)
    multiplied = _fastest(lambda: a @ b)
    copied = _fastest(lambda: np.copyto(target, source))
    return 2 * n**3 / multiplied, 2 * source.nbytes / copied


def _fastest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def save(result: Result, options: Options, machine: Mapping[str, Any]) -> None:
    """Writes the complete record of a run, one JSON file per target."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{result.id}{'-quick' if options.quick else ''}.json"
    record = result.line() | {
        "quick": options.quick,
        "seed": options.seed,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": dict(machine),
        "versions": _versions(),
        "data": dict(result.data),
        "runs": dict(result.runs),
    }
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def show(result: Result, options: Options, machine: Mapping[str, Any]) -> None:
    """Prints a table for people, then one JSON line for programs."""
    names = dict.fromkeys([*result.ours, *result.peer, *result.ratio, *result.must])
    columns = ("ours", "peer", "ratio", "must")
    title = (
        f"{result.id}{' (quick)' if options.quick else ''}: {'met' if result.met else 'NOT met'}"
    )
    table = Table("", title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    for name in names:
        table.add_row(name, *(_cell(getattr(result, column).get(name)) for column in columns))
    console = Console(width=100, highlight=False)
    console.print(table)
    console.print(
        f"{result.seconds:.2f} s, peak {result.peak_mb:,.0f} MB; {machine['cores']} cores, "
        f"{machine['gemm_gflops']} GFLOP/s, {machine['memory_gb_s']} GB/s, load "
        f"{machine['load_before']}"
    )
    if result.notes:
        console.print(result.notes, markup=False)
    sys.stdout.write(json.dumps(result.line(), ensure_ascii=False) + "\n")


def _cell(figure: float | None) -> str:
    return "" if figure is None else f"{figure:,.4g}"


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{figure:.6g}") for name, figure in figures.items()}


def _commit() -> str:
    """The measured commit; with `+` if files differ from it."""

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True)
        return run.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "benchmarks/*.py")
    return (git("rev-parse", "HEAD") or "unknown") + ("+" if changed else "")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
