"""The data sets of the benchmarks: their location and file formats.

`python -m benchmarks.data NAME FOLDER` writes a data set as UTF-8 CSV with headers. Data is never
downloaded; `TASTEMAKER_BENCH_DATA` selects another source folder. Prepared data is cached in
`.benchmark-data/`; remove a folder there if its preparation has changed.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tastemaker.data.synthetic import SyntheticSettings, SyntheticWorld

PROJECT = Path(__file__).resolve().parents[1]
CACHE = PROJECT / ".benchmark-data"
_WHOLE_USERS = 2998  # of ml-1m's timed half; user 2999 is cut off in the middle


class DataAbsent(Exception):  # noqa: N818 - the name describes the problem
    """A benchmark's data is missing; the message states how to fix it."""


def sources() -> Path:
    """The folder of source folders."""
    given = os.environ.get("TASTEMAKER_BENCH_DATA")
    return Path(given) if given else PROJECT.parent / "shared" / "data"


def prepare(name: str, folder: Path | None = None) -> Path:
    """A data set as UTF-8 CSV files with headers.

    Args:
        name: one of `NAMES`.
        folder: where to write them; by default a cache, written once.

    Returns:
        The folder that holds the files.

    Raises:
        DataAbsent: the sources are not there.
    """
    source_name, write = NAMES[name]
    source = sources() / source_name
    try:
        if folder is None:
            return kept(name, lambda target: write(source, target))
        folder.mkdir(parents=True, exist_ok=True)
        write(source, folder)
        return folder
    except FileNotFoundError as problem:
        raise DataAbsent(
            f"the data '{name}' is absent: no file {problem.filename}; set TASTEMAKER_BENCH_DATA "
            f"to the folder that holds '{source_name}' (nothing is downloaded)"
        ) from None


def synthetic(**settings: Any) -> Path:
    """A synthetic data set as events.parquet, events.csv and items.csv, created once and cached."""
    whole = SyntheticSettings.checked(settings, owner="synthetic").model_dump_json()
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]

    def write(target: Path) -> None:
        synthetic = SyntheticWorld(**settings)
        synthetic.events.write_parquet(target / "events.parquet")
        synthetic.events.write_csv(target / "events.csv")
        synthetic.items.write_csv(target / "items.csv")

    return kept(f"synthetic-{digest}", write)


def raw(name: str, folder: Path) -> Path:
    """Copies a source's files unchanged to a folder; archives are extracted, as a user would do.

    Raises:
        DataAbsent: the source is not there.
    """
    source = sources() / name
    if not source.is_dir():
        raise DataAbsent(f"the data '{name}' is absent: no folder {source}")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if not member.is_dir():
                        (folder / Path(member.filename).name).write_bytes(archive.read(member))
        elif path.name != "SOURCE.txt":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            digest.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def kept(name: str, write: Callable[[Path], None]) -> Path:
    """The cached folder `name`, which appears complete or not at all."""
    folder = CACHE / name
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=CACHE))
        try:
            write(building)
            building.rename(folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    return folder


def _fields(path: Path, separator: str, *columns: str, encoding: str = "utf-8") -> pl.DataFrame:
    """A gzipped file without a header, with a separator of any length, as text."""
    with gzip.open(path, "rt", encoding=encoding) as stream:
        rows = [line.rstrip("\n").split(separator) for line in stream]
    return pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")


def _ml_1m_timed(source: Path, target: Path) -> None:
    columns = ("user_id", "item_id", "rating", "timestamp")
    ratings = _fields(source / "ratings_first487650_with_timestamps.dat.gz", "::", *columns)
    whole = pl.col("user_id").cast(pl.Int64) <= _WHOLE_USERS
    ratings.filter(whole).write_csv(target / "ratings.csv")
    movies = ("item_id", "title", "genres")
    _fields(source / "movies.dat.gz", "::", *movies, encoding="latin-1").write_csv(
        target / "movies.csv"
    )
    people = ("user_id", "gender", "age", "occupation", "zip_code")
    users = _fields(source / "users.dat.gz", "::", *people, encoding="latin-1")
    users.filter(whole).write_csv(target / "users.csv")


def _ml_1m(source: Path, target: Path) -> None:
    _fields(source / "ml-1m.txt.gz", " ", "user_id", "item_id").write_csv(target / "events.csv")


def _kuairand(source: Path, target: Path) -> None:
    """One row per signal of an impression, ordered by time."""
    path = source / "kuairand27k_standard_kcore15.tsv.gz"
    shown = pl.read_csv(path, separator="\t", infer_schema=False)
    signals = {
        "click": pl.col("is_click") == "1",
        "long_view": pl.col("long_view") == "1",
        "follow": pl.col("is_follow") == "1",
        "comment": pl.col("is_comment") == "1",
        "forward": pl.col("is_forward") == "1",
        "like": pl.col("label") == "1",
        "hate": pl.col("label") == "0",
    }
    rows = shown.select(
        "user_id",
        pl.col("video_id").alias("item_id"),
        pl.concat_list(pl.when(on).then(pl.lit(kind)) for kind, on in signals.items())
        .list.drop_nulls()
        .alias("event_type"),
        pl.col("time_ms").cast(pl.Int64).alias("timestamp"),
    )
    events = rows.explode("event_type").drop_nulls("event_type")
    events.sort("timestamp", maintain_order=True).write_csv(target / "events.csv")
    length = pl.col("duration_ms").cast(pl.Int64).max()
    items = shown.group_by(pl.col("video_id").alias("item_id"), maintain_order=True).agg(length)
    known = pl.when(pl.col("duration_ms") > 0).then("duration_ms").alias("duration_ms")
    items.select("item_id", known).write_csv(target / "items.csv")


def _ml_latest_small(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source / "ml-latest-small.zip") as packed:
        for name in ("ratings.csv", "movies.csv", "tags.csv"):
            (target / name).write_bytes(packed.read(f"ml-latest-small/{name}"))


def _gowalla(source: Path, target: Path) -> None:
    """train.csv holds valid.csv's pairs too: tune on train without valid, refit on train."""
    for name, packed in (
        ("train", "train.txt.gz"),
        ("valid", "valid_tenth_of_train.txt.gz"),
        ("test", "test.txt.gz"),
    ):
        with gzip.open(source / packed, "rt") as stream:
            rows = [line.split() for line in stream]
        pairs = pl.DataFrame(
            {"user_id": [row[0] for row in rows if row], "item_id": [r[1:] for r in rows if r]},
            {"user_id": pl.String, "item_id": pl.List(pl.String)},
        )
        pairs.explode("item_id").drop_nulls("item_id").write_csv(target / f"{name}.csv")


NAMES: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "ml-1m-timed": ("ml-1m", _ml_1m_timed),
    "ml-1m": ("ml-1m", _ml_1m),
    "kuairand-sample": ("kuairand-sample", _kuairand),
    "ml-latest-small": ("ml-latest-small", _ml_latest_small),
    "gowalla-lightgcn": ("gowalla-lightgcn", _gowalla),
}


def main(arguments: list[str] | None = None) -> int:
    """Writes one data set into a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("name", choices=sorted(NAMES), metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    given = parser.parse_args(arguments)
    try:
        folder = prepare(given.name, given.folder)
    except DataAbsent as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    for path in sorted(folder.iterdir()):
        sys.stdout.write(f"{path.name}\t{path.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
