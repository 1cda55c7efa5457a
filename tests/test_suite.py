"""The test suite itself: the distribution of tests to workers, and their environment."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUPED = """
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("group", [
    pytest.param("one", marks=pytest.mark.xdist_group("one")),
    pytest.param("other", marks=pytest.mark.xdist_group("other")),
])
def test_of_a_group(group, number, worker_id):
    with Path("workers").open("a") as file:
        file.write(f"{group} {worker_id}\\n")
"""
PRESET = {
    "OPENBLAS_CORETYPE": "Prescott", "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3",
    "NUMBA_DISABLE_JIT": "1", "TASTEMAKER_STORE__URL": "sqlite", "WEB_CONCURRENCY": "2",
    "http_proxy": "http://127.0.0.1:1", "NO_COLOR": "1", "COLUMNS": "20", "XDG_CACHE_HOME": "/",
    "NUMBA_CACHE_DIR": "kept",
}  # fmt: skip
SEEN = """
import os
import subprocess
import sys


def test_of_the_environment():
    code = "import os; print(*os.environ, sep=chr(10))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert PRESET & {*os.environ} == PRESET & {*run.stdout.split()} == {"NUMBA_CACHE_DIR"}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a suite of one file in a separate process."""

    def run(code: str, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_one.py").write_text(code)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:schemathesis",
            "-p",
            "no:cacheprovider",
        ]
        return subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | variables,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def test_the_tests_of_a_group_run_in_one_worker(
    suite: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    done = suite(GROUPED, "--numprocesses", "2", "--dist", "loadgroup")
    assert done.returncode == 0, done.stdout
    lines = (tmp_path / "workers").read_text().splitlines()
    assert len(lines) == 12
    workers = {
        group: {w for g, w in map(str.split, lines) if g == group} for group in ("one", "other")
    }
    assert [len(tests) for tests in workers.values()] == [1, 1]


@pytest.mark.parametrize("value", ["x" * 300_000, b"x" * 300_000])
def test_a_long_value_lets_a_test_start_processes(value: str | bytes) -> None:
    assert len(value) == 300_000
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


@pytest.mark.parametrize("processes", ["0", "1"])
def test_environment_variables_do_not_affect_tests(
    suite: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path, processes: str
) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    code = f"PRESET = {set(PRESET)}\n{SEEN}"
    done = suite(code, "--numprocesses", processes, **PRESET)
    assert done.returncode == 0, done.stdout
