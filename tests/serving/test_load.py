"""A real server asked for more than it can answer; the benchmark LOAD does the same for longer."""

from pathlib import Path

import pytest

from benchmarks.load import storm
from benchmarks.server import Caller, serving

pytestmark = pytest.mark.slow
ASKED = {"user_id": "user-0", "n": 10}


def test_an_overloaded_server_sheds_with_a_503_and_then_recovers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASTEMAKER_SERVER__LONGEST_WAIT", "10")
    with serving(folder / "tastemaker.toml") as server:
        told = storm(server.port, rate=2_000, seconds=3, bodies=[ASKED])
        refused = [each for each in told if each.status != 200]
        assert len(refused) < len(told), "nobody was answered"
        assert {(each.status, each.retry_after) for each in refused} == {(503, "1")}
        caller = Caller(server)
        assert caller.call("POST", "/v1/recommendations", ASKED)[0] == 200
        caller.close()
