"""Runs another library's search on saved vectors: `PYTHON _search_peers.py JOB.json`.

Runs in the peers' environment, which does not contain this package, so it imports nothing of it.
The job has `peer` and `folder`, and further parameters of the peer. The last line printed is JSON:
seconds, the peak memory in MB, and further results of the peer.
"""

import importlib
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Job = dict[str, Any]


def implicit(job: Job) -> dict[str, Any]:
    """implicit's kernel: the best n unseen items of each user, all users at once."""
    topk = importlib.import_module("implicit.cpu.topk").topk
    users, items, seen = _vectors(job)
    topk(items, users[:100], job["n"], filter_query_items=seen[:100], num_threads=job["threads"])
    begin = time.perf_counter()
    found, _ = topk(items, users, job["n"], filter_query_items=seen, num_threads=job["threads"])
    return _told(job, time.perf_counter() - begin, found)


def torch(job: Job) -> dict[str, Any]:
    """A matrix product with seen items masked, then the best n, a thousand users at a time."""
    library = importlib.import_module("torch")
    library.set_num_threads(job["threads"])
    users, items, seen = _vectors(job)
    found = np.empty((len(users), job["n"]), np.int64)
    left, right = library.from_numpy(users), library.from_numpy(items).T.contiguous()
    begin = time.perf_counter()
    for start in range(0, len(users), 1_000):
        rows = slice(start, start + 1_000)
        scores = left[rows] @ right
        struck = seen[rows].tocoo()
        scores[
            library.from_numpy(struck.row).long(), library.from_numpy(struck.col).long()
        ] = -library.inf
        found[rows] = library.topk(scores, job["n"]).indices.numpy()
    return _told(job, time.perf_counter() - begin, found)


def faiss(job: Job) -> dict[str, Any]:
    """faiss's flat index, which cannot exclude each user's seen items."""
    library = importlib.import_module("faiss")
    library.omp_set_num_threads(job["threads"])
    users, items, _ = _vectors(job)
    begin = time.perf_counter()
    index = library.IndexFlatIP(items.shape[1])
    index.add(items)
    _, found = index.search(users, job["n"])
    return _told(job, time.perf_counter() - begin, found)


def hnswlib(job: Job) -> dict[str, Any]:
    """hnswlib: built with M 16 and ef 200, then the smallest ef that reaches the recall."""
    library = importlib.import_module("hnswlib")
    folder = Path(job["folder"])
    items, queries = np.load(folder / "items.npy"), np.load(folder / "queries.npy")
    right = np.load(folder / "right.npy")
    index = library.Index(space="ip", dim=items.shape[1])
    begin = time.perf_counter()
    index.init_index(max_elements=len(items), M=16, ef_construction=200, random_seed=100)
    index.add_items(items, num_threads=job["threads"])
    built = time.perf_counter() - begin
    index.set_num_threads(1)
    for ef in (100, 120, 150, 200, 300, 500, 800, 1_200, 2_000, 4_000):
        index.set_ef(ef)
        found, _ = index.knn_query(queries, k=100)
        hits = [len(np.intersect1d(one, other)) for one, other in zip(found, right)]
        recall = float(np.mean(hits)) / 100
        if recall >= job["recall"]:
            break
    seconds = []
    for row in range(len(queries)):
        begin = time.perf_counter()
        index.knn_query(queries[row : row + 1], k=100)
        seconds.append(time.perf_counter() - begin)
    return {
        "seconds": statistics.median(seconds),
        "build": built,
        "recall": recall,
        "ef": ef,
        "peak_mb": _peak_mb(),
    }


def _vectors(job: Job) -> tuple[Any, Any, Any]:
    sparse = importlib.import_module("scipy.sparse")
    folder = Path(job["folder"])
    users, items = np.load(folder / "users.npy"), np.load(folder / "items.npy")
    seen = sparse.load_npz(folder / "seen.npz")
    return users, items, sparse.csr_matrix(seen)


def _told(job: Job, seconds: float, found: Any) -> dict[str, Any]:
    np.save(Path(job["folder"]) / f"{job['peer']}.npy", found[: job["keep"]].astype(np.int32))
    return {"seconds": seconds, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


PEERS = {"implicit": implicit, "torch": torch, "faiss": faiss, "hnswlib": hnswlib}

if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout.write(json.dumps(PEERS[job["peer"]](job)) + "\n")
