import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from tastemaker.data.ragged import offsets_of
from tastemaker.threads import available_threads, blas_threads, run_chunks, sleeping_openmp

lengths = st.lists(st.integers(0, 50), max_size=60)


def chunks_of(counts: list[int], threads: int) -> list[tuple[int, int]]:
    done: list[tuple[int, int]] = []
    lock = threading.Lock()

    def work(start: int, stop: int) -> None:
        with lock:
            done.append((start, stop))

    run_chunks(work, offsets_of(counts), threads)
    return sorted(done)


@given(lengths, st.integers(1, 4))
def test_every_row_is_worked_on_exactly_once(counts: list[int], threads: int) -> None:
    rows = [row for start, stop in chunks_of(counts, threads) for row in range(start, stop)]
    assert rows == list(range(len(counts)))


@given(lengths)
def test_the_chunks_depend_only_on_the_data(counts: list[int]) -> None:
    assert chunks_of(counts, 3) == chunks_of(counts, 3)


def test_a_heavy_row_gets_its_own_chunk() -> None:
    counts = [1] * 50 + [100_000] + [1] * 50
    widths = [stop - start for start, stop in chunks_of(counts, 4)]
    assert len(widths) > 1


def test_many_rows_are_spread_evenly() -> None:
    chunks = chunks_of([10] * 1600, 2)
    assert len(chunks) == 16
    assert {stop - start for start, stop in chunks} <= {99, 100, 101}


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_chunk_reaches_the_caller(threads: int) -> None:
    def work(start: int, stop: int) -> None:
        if start <= 70 < stop:
            raise KeyError("row 70")

    with pytest.raises(KeyError, match="row 70"):
        run_chunks(work, offsets_of(np.ones(100, np.int64)), threads)


def test_linear_algebra_threads_are_limited_only_in_the_block() -> None:
    def widths() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    outside = widths()
    with blas_threads(1):
        assert set(widths()) == {1}
    assert widths() == outside


def test_there_is_at_least_one_thread() -> None:
    assert available_threads() >= 1


def test_openmp_sleeps_only_while_a_library_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with sleeping_openmp():
        assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert "OMP_WAIT_POLICY" not in os.environ


def test_a_policy_in_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with sleeping_openmp():
        assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert os.environ["OMP_WAIT_POLICY"] == "active"
