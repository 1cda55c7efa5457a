"""The example client against the running server: every line of its story comes true."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.conftest import Demo

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_client.py"


@pytest.mark.parametrize("genre", ["Horror", "Animation"])
def test_the_live_client_tells_a_true_story(demo: Demo, genre: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "--url", demo.url),
            *("--project", str(demo.project), "--genre", genre),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 4
