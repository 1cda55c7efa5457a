"""Thread management: kernels release the GIL and run in chunks on threads started here.

Kernels never start threads themselves, so the machine is not oversubscribed. The chunks depend only
on the data, so results do not depend on timing.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tastemaker.machine import processors

_WAIT_POLICY = "OMP_WAIT_POLICY"


def available_threads() -> int:
    """The number of processors this process may use."""
    return processors()


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limits the linear-algebra libraries to `count` threads inside the block."""
    with threadpool_limits(limits=count):
        yield


def run_chunks(
    work: Callable[[int, int], object], offsets: NDArray[np.int64], threads: int
) -> None:
    """Calls `work(start, stop)` on all rows of a ragged array, in chunks of about equal size.

    Args:
        work: handles rows `start` to `stop`; must release the GIL to benefit from threads.
        offsets: int64[rows + 1], the start of each row's entries; balances the chunks by entries.
        threads: the number of chunks that run at the same time.

    Raises:
        Exception: the first exception that `work` raises.
    """
    rows = len(offsets) - 1
    pieces = min(rows, 8 * threads)
    if threads == 1 or pieces < 2:
        work(0, rows)
        return
    cost = offsets + np.arange(rows + 1)
    targets = np.linspace(0, int(cost[-1]), pieces + 1)
    edges = np.unique(np.searchsorted(cost, targets))
    edges[0], edges[-1] = 0, rows
    with ThreadPoolExecutor(threads) as pool, blas_threads(1):
        for done in [pool.submit(work, int(a), int(b)) for a, b in pairwise(edges)]:
            done.result()


@contextmanager
def sleeping_openmp() -> Iterator[None]:
    """Makes OpenMP threads sleep instead of spin while they wait, if OpenMP is loaded inside.

    By default they spin, which is several times slower on a busy machine (LightGBM with two threads
    next to two busy processes: 41 s instead of 9 s). A policy set in the environment is kept. A
    library that has already loaded OpenMP is not affected.
    """
    if _WAIT_POLICY in os.environ:
        yield
        return
    os.environ[_WAIT_POLICY] = "passive"
    try:
        yield
    finally:
        os.environ.pop(_WAIT_POLICY, None)
