"""A ready version has compiled all kernels, so that no request waits for compilation."""

import json
import subprocess
import sys
from pathlib import Path

from tests.serving.conftest import train

_RANKED = """
[rankers.main]
type = "gbm"
trees = 3
[rerankers.diverse]
type = "mmr"
[training]
slices = 2
window = 0.2
requests = 50
require_improvement = false
[placements.ranked]
retrievers = ["item_knn", "content", "popular"]
ranker = "main"
rerankers = ["diverse"]
[server]
history_events = 3
"""
_ASK = """
import gc, json, sys, time
from numba.core.registry import CPUDispatcher
from pathlib import Path
from tastemaker.project import load_project
from tastemaker.serving import RecommendationRequest, Service

def compiled():
    kernels = [each for each in gc.get_objects() if isinstance(each, CPUDispatcher)]
    return {f"{k.py_func.__module__}.{k.py_func.__name__}": len(k.signatures) for k in kernels}

with Service(load_project(Path(sys.argv[1]))) as service:
    while service.status()["status"] != "ready":
        time.sleep(0.01)
    before = compiled()
    catalogue = service.snapshot.recommender.inventory.catalogue
    ids = catalogue.items.ids(range(len(catalogue)))
    for placement in service.project.file.placements:
        for user in (None, "user-1"):
            for history in (None, ids[:1], ids):
                for exclude in ((), ids[1:], ids):
                    for n, explain in ((20, False), (1_000, True)):
                        request = RecommendationRequest(
                            user, history, n, placement, exclude, explain
                        )
                        service.recommend(request)
    after = compiled()
    print(json.dumps([name for name in after if after[name] != before.get(name, 0)]))
"""


def test_nothing_is_compiled_after_a_version_is_ready(folder: Path) -> None:
    settings = folder / "tastemaker.toml"
    settings.write_text(settings.read_text() + _RANKED)
    train(folder)
    asked = subprocess.run(
        [sys.executable, "-c", _ASK, str(settings)], capture_output=True, text=True, check=True
    )
    assert json.loads(asked.stdout) == []
