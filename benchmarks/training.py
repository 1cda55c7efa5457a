"""TRAIN: the cost of fitting each retriever and the whole project that `init` proposes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.data import fingerprint, prepare, synthetic
from benchmarks.harness import Measured, Options, Result, Stopwatch, at_most, isolated, measure
from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.sample import SHA256, sample_bytes
from tastemaker.pipeline import Recommender
from tastemaker.project.find_files import find_tables
from tastemaker.project.project import FILE_NAME
from tastemaker.project.project_text import project_text
from tastemaker.project.propose import propose_project

ID = "TRAIN"
WHAT = "fit every retriever and the whole proposed project: ml-1m's timed half, and 10 M events"
DATA = ("ml-1m-timed", "synthetic")
PEERS = ()
MINUTES = 8.0
MUST = {"10 M events, whole, peak MB": 6 * 2**30 / 1e6}
NAMES = ("popular", "trending", "item_knn", "als", "ease")
WHOLE = "whole"


def run(options: Options) -> Result:
    """Each piece in a separate process; seconds without reading and without compiling."""
    size = {"users": 20_000, "items": 5_000, "events": 1_000_000}
    large = "1 M events"
    if not options.quick:
        size = {"users": 200_000, "items": 20_000, "events": 10_000_000}
        large = "10 M events"
    made = isolated(synthetic, **size, tastes=40, days=180, repeats=True, seed=options.seed)
    folders = {"ml-1m": isolated(prepare, "ml-1m-timed"), large: made}
    found: dict[str, Measured] = {}
    for inventory, folder in folders.items():
        pieces = {f"{inventory}, {name}": partial(fit, name=name) for name in (*NAMES, WHOLE)}
        found |= measure(pieces, folder, runs=options.runs)
        with empty_kernel_cache():
            cold = {f"{inventory}, {WHOLE}, empty cache": partial(fit, name=WHOLE, warm=False)}
            found |= measure(cold, folder, runs=1)
    seconds = {name: piece.seconds for name, piece in found.items()}
    memory = {f"{name}, peak MB": piece.peak_mb for name, piece in found.items() if WHOLE in name}
    must = {} if options.quick else MUST
    each = {name: round(piece.peak_mb) for name, piece in found.items()}
    return Result(
        ID,
        ours=seconds | memory,
        peer={},
        ratio={},
        must=must,
        met=at_most(memory, must),
        seconds=sum(seconds.values()),
        peak_mb=max(piece.peak_mb for piece in found.values()),
        notes=f"{size['events']:,} events of {size['users']:,} users on {size['items']:,} items; "
        f"seconds of `fit`, medians of {options.runs}, kernels compiled before but for the rows "
        f"on the empty cache (one run); peak MB holds interpreter and data, reading included: "
        f"{each}",
        data={inventory: fingerprint(folder) for inventory, folder in folders.items()},
        runs={name: piece.record() for name, piece in found.items()},
    )


def fit(watch: Stopwatch, folder: Path, name: str, warm: bool = True) -> None:
    """Fits one retriever of the proposed project, or all of them.

    Args:
        watch: runs while fitting alone.
        folder: where the data lies.
        name: the retriever, or `whole`.
        warm: whether the kernels are compiled, by a fit on the bundled sample, before.
    """
    if warm:
        with tempfile.TemporaryDirectory() as small:
            for file in SHA256:
                (Path(small) / file).write_bytes(sample_bytes(file))
            _fit(*_proposed(Path(small)), name)
    recommender, data = _proposed(folder)
    with watch.running():
        _fit(recommender, data, name)


def _fit(recommender: Recommender, data: Dataset, name: str) -> None:
    options = FitOptions()
    if name == WHOLE:
        recommender.fit(data, options)
    else:
        recommender.retrievers[name].fit(data, options)


def _proposed(folder: Path) -> tuple[Recommender, Dataset]:
    """The unfitted project that `init` would propose for a folder, and its data."""
    tables = find_tables(folder)
    if (folder / "events.parquet").exists():
        tables["events"] = [folder / "events.parquet"]
    proposed = propose_project(tables)
    text, data = project_text(proposed, folder), proposed.require_data()
    with tempfile.TemporaryDirectory() as project:
        path = Path(project) / FILE_NAME
        path.write_text(text, encoding="utf-8")
        return Recommender.from_project(path), data


@contextmanager
def empty_kernel_cache() -> Iterator[None]:
    """Makes spawned processes compile all kernels, as in a new user's first run."""
    before = os.environ.get("NUMBA_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["NUMBA_CACHE_DIR"]
            if before is not None:
                os.environ["NUMBA_CACHE_DIR"] = before
