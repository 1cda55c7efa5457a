"""S5: the best 100 unseen of 20,000 items for each of 50,000 users, exactly."""

import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.data import fingerprint, synthetic
from benchmarks.harness import Options, Result, Stopwatch, at_most, isolated, measure
from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, rows_of
from tastemaker.data.requests import Requests
from tastemaker.data.synthetic import SCHEMA
from tastemaker.index import ProductIndex
from tastemaker.retrieval import ALS

ID = "S5"
WHAT = "best 100 unseen of 20,000 for each of 50,000 users; peers: implicit, faiss flat, torch"
DATA = ("synthetic",)
PEERS = ("implicit==0.7.3", "faiss-cpu==1.15.1", "numpy==2.4.6", "scipy==1.17.1")
MINUTES = 6.0
N, FACTORS, THREADS, KEEP = 100, 64, 2, 2_000
MUST = {"implicit": 1.0}


def run(options: Options) -> Result:
    """Ours and each peer in turn, each run in a separate process; ratios of medians."""
    size = {"users": 5_000, "items": 20_000, "events": 500_000}
    if not options.quick:
        size = {"users": 50_000, "items": 20_000, "events": 5_000_000}
    source = isolated(synthetic, **size, tastes=40, days=180, repeats=True, seed=options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        isolated(prepare, source, folder, options.seed)
        ours: list[float] = []
        flat: list[float] = []
        peers: dict[str, list[float]] = {}
        peak, compiling = 0.0, 0.0
        left_out: dict[str, str] = {}
        for _ in range(options.runs):
            found = measure({"ours": search, "equal lengths": search_equal}, folder, runs=1)
            ours.append(found["ours"].seconds)
            flat.append(found["equal lengths"].seconds)
            peak = max(peak, found["ours"].peak_mb)
            compiling = found["ours"].values[0]
            for peer in ("implicit", "faiss", "torch"):
                result = ask_peer(options.peer_python, peer, folder, left_out)
                if result is not None:
                    peers.setdefault(peer, []).append(result["seconds"])
        overlap = _overlap(folder) if "implicit" in peers else float("nan")
    median = statistics.median
    ratio = {peer: median(ours) / median(seconds) for peer, seconds in peers.items()}
    rates = {peer: f"{size['users'] / median(s):,.0f}" for peer, s in peers.items()}
    return Result(
        ID,
        ours={"seconds": median(ours), "users a second": size["users"] / median(ours)},
        peer={f"seconds, {peer}": median(seconds) for peer, seconds in peers.items()},
        ratio=ratio,
        must=MUST,
        met=at_most(ratio, MUST) and overlap > 0.999,
        seconds=median(ours),
        peak_mb=peak,
        notes=f"{size['users']:,} users, {size['items']:,} items, {FACTORS} factors of our ALS; "
        f"seconds, medians of {options.runs}, {THREADS} threads, laying out the items included; "
        f"the bar is on the ratio; lists of {KEEP:,} users overlap with implicit's by "
        f"{overlap:.5f}; "
        f"users a second of the peers: {rates}; ours with all item vectors of one length, "
        f"where nothing can be passed over: {median(flat):.2f} s; compiled kernels loaded in "
        f"{compiling:.2f} s; faiss leaves out nothing that was seen; left out: "
        f"{left_out or 'none'}",
        data={"synthetic": fingerprint(source)},
        runs={"ours": ours, "equal lengths": flat} | peers,
    )


def prepare(source: Path, folder: Path, seed: int) -> None:
    """The vectors of users and items, and each user's seen items."""
    data = Dataset.from_files(source / "events.parquet", schema=SCHEMA)
    model = ALS(factors=FACTORS, iterations=5).fit(data, FitOptions(seed=seed, threads=THREADS))
    users = np.arange(len(data.users))
    requests = data.requests(users, np.full(len(users), data.end))
    np.save(folder / "users.npy", model.user_factors(requests, THREADS))
    np.save(folder / "items.npy", model.item_factors)
    exclude = requests.exclude
    ones = np.ones(len(exclude.values), np.float32)
    shape = (len(users), len(model.item_factors))
    seen = sparse.csr_array((ones, (rows_of(exclude.offsets), exclude.values)), shape=shape)
    sparse.save_npz(folder / "seen.npz", seen)


def search(watch: Stopwatch, folder: Path) -> float:
    """Ours; returns the seconds of the first call, which loads compiled kernels."""
    return _search(watch, folder, np.load(folder / "items.npy"), keep=True)


def search_equal(watch: Stopwatch, folder: Path) -> float:
    """Ours on vectors of equal length, so that none can be skipped."""
    items = np.load(folder / "items.npy")
    lengths = np.linalg.norm(items, axis=1, keepdims=True)
    return _search(watch, folder, items / np.maximum(lengths, 1e-12), keep=False)


def _search(watch: Stopwatch, folder: Path, items: Any, *, keep: bool) -> float:
    users = np.load(folder / "users.npy")
    seen = sparse.csr_array(sparse.load_npz(folder / "seen.npz"))
    exclude = Ragged(seen.indptr.astype(np.int64), seen.indices.astype(np.int32))
    bare = Requests.of([[]] * len(users))
    requests = Requests(bare.time, bare.history, exclude, bare.eligible, bare.seed, bare.user_id)
    first = Stopwatch()
    with first.running():
        few = ProductIndex.of(items[:100])
        few.top_n(users[:20], requests.take(slice(20)), N, threads=THREADS)
    with watch.running():
        found = ProductIndex.of(items).top_n(users, requests, N, threads=THREADS)
    if keep:
        np.save(folder / "ours.npy", found.item[: KEEP * N].reshape(-1, N))
    return first.seconds or 0.0


def ask_peer(
    python: Path | None, peer: str, folder: Path, left_out: dict[str, str], **more: Any
) -> dict[str, Any] | None:
    """The result of a peer's run; None if it cannot run, with the reason in `left_out`."""
    if python is None:
        left_out[peer] = "no environment; --with-peers makes one"
        return None
    job = folder / f"{peer}.json"
    content = {"peer": peer, "folder": str(folder), "n": N, "threads": THREADS, "keep": KEEP} | more
    job.write_text(json.dumps(content))
    script = Path(__file__).with_name("_search_peers.py")
    one = "1"  # as implicit recommends: its own threads, and no BLAS threads
    surroundings = os.environ | ({"OPENBLAS_NUM_THREADS": one} if peer == "implicit" else {})
    run = subprocess.run(
        [python, script, job], capture_output=True, text=True, env=surroundings, check=False
    )
    if run.returncode:
        left_out[peer] = run.stderr.strip().splitlines()[-1][:120] if run.stderr else "it died"
        return None
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _overlap(folder: Path) -> float:
    """The share of our lists' items that are in implicit's lists."""
    ours, theirs = np.load(folder / "ours.npy"), np.load(folder / "implicit.npy")
    shares = [len(np.intersect1d(one, other)) / N for one, other in zip(ours, theirs)]
    return float(np.mean(shares))
