"""One client sends events as fast as possible, and another sends single events."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from benchmarks.server import serving
from tests.serving.conftest import item

pytestmark = pytest.mark.slow
CONNECTIONS = 8
BATCH = 2_000


def post(port: int, body: bytes, address: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=60, source_address=(address, 0))
    try:
        connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_a_flood_of_batches_does_not_delay_single_events(folder: Path) -> None:
    batch = [{"user_id": f"bot-{n % 97}", "item_id": item(n % 4, 1)} for n in range(BATCH)]
    flood = json.dumps({"events": batch}).encode()
    single = json.dumps({"user_id": "user-1", "item_id": item(0, 0)}).encode()
    stopped, written = threading.Event(), []

    def send(port: int) -> None:
        while not stopped.is_set():
            if post(port, flood, "127.0.0.1") == 200:
                written.append(1)
            else:
                time.sleep(0.05)

    with serving(folder / "tastemaker.toml") as server, ThreadPoolExecutor(CONNECTIONS) as pool:
        sent = [pool.submit(send, server.port) for _ in range(CONNECTIONS)]
        while not written:  # by then the flooding client has a long queue
            time.sleep(0.05)
        statuses, batches = [], []
        for _ in range(5):
            before = len(written)
            statuses.append(post(server.port, single, "127.0.0.2"))
            batches.append(len(written) - before)
        stopped.set()
        for one in sent:
            one.result()
    assert statuses == [200] * 5
    # the running write, and one or two acknowledged at the same time
    assert sorted(batches)[2] <= 2, batches
    assert max(batches) < CONNECTIONS, batches
