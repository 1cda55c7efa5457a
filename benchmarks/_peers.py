"""Runs another library's model on a training matrix: `PYTHON _peers.py JOB.json`.

Runs in the peers' environment, which does not contain this package, so it imports nothing of it.
The job has `library`, `model`, `settings`, `train` (an .npz of users × items), `threads`, `seed`,
and optionally, to write lists, `users` (.npy, rows of the matrix), `k` and `lists` (the path for
int32[users × k], −1 after the end). The last line printed is JSON: seconds to fit, seconds to make
the lists, the peak memory in MB, and versions.

Every library is fed what it documents: implicit a CSR matrix of users × items with OpenBLAS on one
thread (the caller's environment sets it), LensKit and RecTools a table of pairs.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

Job = dict[str, Any]
Lists = Callable[[Any, int], Any]


def implicit(job: Job, train: Any) -> tuple[float, Lists]:
    """A model of implicit; fits on users × items."""
    fit, model = _implicit_model(job)
    begin = time.perf_counter()
    fit(train)
    seconds = time.perf_counter() - begin

    def lists(users: Any, k: int) -> Any:
        found, _ = model.recommend(users, train[users], N=k, filter_already_liked_items=True)
        return found

    return seconds, lists


def _implicit_model(job: Job) -> tuple[Callable[[Any], None], Any]:
    settings = dict(job["settings"])
    if job["model"] == "AlternatingLeastSquares":
        module = importlib.import_module("implicit.cpu.als")
        settings |= {"random_state": job["seed"]}
    else:
        module = importlib.import_module("implicit.nearest_neighbours")
    model = getattr(module, job["model"])(num_threads=job["threads"], **settings)
    return lambda train: model.fit(train, show_progress=False), model


def lenskit(job: Job, train: Any) -> tuple[float, Lists]:
    """A scorer of LensKit; lists come from its own top-n pipeline."""
    data = importlib.import_module("lenskit.data")
    pipelines = importlib.import_module("lenskit.pipeline")
    training = importlib.import_module("lenskit.training")
    batch = importlib.import_module("lenskit.batch")
    module, _, name = job["model"].rpartition(".")
    settings = dict(job["settings"])
    scorer = getattr(importlib.import_module(f"lenskit.{module}"), name)(**settings)
    dataset = data.from_interactions_df(_table(train))
    options = training.TrainingOptions(rng=job["seed"])
    begin = time.perf_counter()
    scorer.train(dataset, options)
    seconds = time.perf_counter() - begin

    def lists(users: Any, k: int) -> Any:
        weights = _products(scorer, users)
        if weights is not None:
            return _best(train, scorer.items.ids(), users, *weights, k)
        pipeline = pipelines.topn_pipeline(scorer, n=k)
        pipeline.train(dataset, training.TrainingOptions(retrain=False))
        answers = batch.recommend(pipeline, users.tolist(), n_jobs=1)
        found = np.full((len(users), k), -1, np.int32)
        for row, user in enumerate(users.tolist()):
            ids = answers.lookup(user_id=user).ids()
            found[row, : len(ids)] = ids
        return found

    return seconds, lists


def _products(scorer: Any, users: Any) -> tuple[Any, Any] | None:
    """The left and right factor of a LensKit scorer's scores, if they are a matrix product.

    The left is None where it is the history. LensKit makes this product a user at a time, a dense
    row at that: minutes for what takes seconds at once.
    """
    if hasattr(scorer, "weights"):
        return None, scorer.weights
    if hasattr(scorer, "item_embeddings"):
        return scorer.user_embeddings[scorer.users.numbers(users)], scorer.item_embeddings.T
    return None


def _best(train: Any, ids: Any, users: Any, left: Any, right: Any, k: int) -> Any:
    """The k best items of each user that are not in the history."""
    found = np.empty((len(users), k), np.int32)
    known = train[:, ids]
    for start in range(0, len(users), 500):
        rows = users[start : start + 500]
        by = known[rows] if left is None else left[start : start + 500]
        scores = by @ right
        scores = np.asarray(scores.toarray() if hasattr(scores, "toarray") else scores)
        scores[known[rows].nonzero()] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found[start : start + 500] = np.asarray(ids)[order]
    return found


def rectools(job: Job, train: Any) -> tuple[float, Lists]:
    """A model of RecTools; the wrapped model is created from `model` in its settings."""
    models = importlib.import_module("rectools.models")
    settings = dict(job["settings"])
    if job["model"].startswith("Implicit"):
        inner = {**job, "model": settings.pop("model"), "settings": settings}
        model = getattr(models, job["model"])(_implicit_model(inner)[1])
    else:
        model = getattr(models, job["model"])(**settings)
    table = _table(train)
    table["weight"], table["datetime"] = 1.0, "2020-01-01"
    dataset = importlib.import_module("rectools.dataset").Dataset.construct(table)
    begin = time.perf_counter()
    model.fit(dataset)
    seconds = time.perf_counter() - begin

    def lists(users: Any, k: int) -> Any:
        answers = model.recommend(users, dataset, k=k, filter_viewed=True)
        found = np.full((len(users), k), -1, np.int32)
        row = np.searchsorted(users, answers["user_id"])
        found[row, answers["rank"] - 1] = answers["item_id"]
        return found

    return seconds, lists


def _table(train: Any) -> Any:
    pairs = train.tocoo()
    columns = {"user_id": pairs.row.astype(np.int64), "item_id": pairs.col.astype(np.int64)}
    return importlib.import_module("pandas").DataFrame(columns)


def _version(module: str) -> str:
    """The version of the distribution of a module: RecTools installs implicit as pm-implicit."""
    name = packages_distributions()[module][0]
    return f"{name} {version(name)}"


LIBRARIES = {"implicit": implicit, "lenskit": lenskit, "rectools": rectools}


def main(path: str) -> None:
    """Runs one job."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    train = sp.csr_matrix(sp.load_npz(job["train"]))
    seconds, lists = LIBRARIES[job["library"]](job, train)
    listing = None
    if "lists" in job:
        users = np.load(job["users"])
        begin = time.perf_counter()
        np.save(job["lists"], lists(users, job["k"]))
        listing = time.perf_counter() - begin
    status = Path("/proc/self/status")
    peak = (
        int(status.read_text().split("VmHWM:")[1].split()[0])
        if status.exists()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    result = {
        "seconds": seconds,
        "list_seconds": listing,
        "peak_mb": peak * 1024 / 1e6,
        "version": _version(job["library"]),
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
