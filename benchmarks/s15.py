"""S15: reading and indexing 10 M events, against a bare scan and sort of the same file."""

from pathlib import Path

import polars as pl

from benchmarks.data import fingerprint, synthetic
from benchmarks.harness import Options, Result, Stopwatch, at_most, isolated, measure, ratios
from tastemaker.data.dataset import Dataset
from tastemaker.data.synthetic import SCHEMA

ID = "S15"
WHAT = "read and index 10 M events from Parquet and from CSV; peer: polars scan + sort"
DATA = ("synthetic",)
PEERS = ()
MINUTES = 4.0
MUST = {"parquet": 2.0, "csv": 2.0}


def run(options: Options) -> Result:
    """Both files, ours and the bare scan in turn; ratios of medians."""
    size = {"users": 20_000, "items": 5_000, "events": 1_000_000}
    if not options.quick:
        size = {"users": 200_000, "items": 20_000, "events": 10_000_000}
    folder = isolated(synthetic, **size, tastes=40, days=180, repeats=True, seed=options.seed)
    digest = fingerprint(folder)  # which also brings the files into the system's cache
    pieces = {
        "parquet": ours_parquet,
        "bare parquet": bare_parquet,
        "csv": ours_csv,
        "bare csv": bare_csv,
    }
    found = measure(pieces, folder, runs=options.runs)
    ours = {name: found[name] for name in MUST}
    bare = {name: found[f"bare {name}"] for name in MUST}
    ratio = ratios(ours, bare)
    memory = {name: round(piece.peak_mb) for name, piece in found.items()}
    return Result(
        ID,
        ours={name: piece.seconds for name, piece in ours.items()},
        peer={name: piece.seconds for name, piece in bare.items()},
        ratio=ratio,
        must=MUST,
        met=at_most(ratio, MUST),
        seconds=sum(piece.seconds for piece in ours.values()),
        peak_mb=max(piece.peak_mb for piece in ours.values()),
        notes=f"{size['events']:,} events of {size['users']:,} users on {size['items']:,} items; "
        f"seconds, medians of {options.runs}; the bars are on the ratio; files in the system's "
        f"cache; peer = polars {pl.__version__} streaming; peak MB {memory}",
        data={"synthetic": digest},
        runs={name: piece.record() for name, piece in found.items()},
    )


def ours_parquet(watch: Stopwatch, folder: Path) -> int:
    """A `Dataset` from the Parquet file."""
    return _ours(watch, folder / "events.parquet")


def ours_csv(watch: Stopwatch, folder: Path) -> int:
    """A `Dataset` from the CSV file."""
    return _ours(watch, folder / "events.csv")


def _ours(watch: Stopwatch, path: Path) -> int:
    with watch.running():
        data = Dataset.from_files(path, schema=SCHEMA)
    return len(data.events)


def bare_parquet(watch: Stopwatch, folder: Path) -> int:
    """The lower bound for the Parquet file: a scan of all columns, sorted by user and time."""
    return _bare(watch, pl.scan_parquet(folder / "events.parquet"))


def bare_csv(watch: Stopwatch, folder: Path) -> int:
    """The lower bound for the CSV file."""
    return _bare(watch, pl.scan_csv(folder / "events.csv"))


def _bare(watch: Stopwatch, scan: pl.LazyFrame) -> int:
    with watch.running():
        # The streaming engine is the faster of the two here: the peer at its best.
        frame = scan.sort("user_id", "timestamp").collect(engine="streaming")
    return frame.height
