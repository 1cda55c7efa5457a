"""The one owner of the thread count: kernels release the GIL and are fed from here.

No kernel starts threads of its own, so work never oversubscribes the machine, and the split of
the rows depends on the data alone, so results do not depend on timing.
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
    """Processors this process may use."""
    return processors()


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limits the linear-algebra libraries to `count` threads inside the block."""
    with threadpool_limits(limits=count):
        yield


def run_chunks(
    work: Callable[[int, int], object], offsets: NDArray[np.int64], threads: int
) -> None:
    """Calls `work(start, stop)` over all rows of a ragged array, in chunks of about equal size.

    Args:
        work: handles rows `start` to `stop`; must release the GIL to gain from threads.
        offsets: int64[rows + 1], where each row's entries begin; balances the chunks by entries.
        threads: how many chunks run at a time.

    Raises:
        Exception: whatever `work` raises first.
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
    """Libraries that load OpenMP inside let its threads sleep while they wait for each other.

    By default they spin, which on a machine with other work takes several times as long (LightGBM
    with two threads beside two busy processes: 41 s instead of 9 s). A policy in the environment is
    kept; a library that has loaded OpenMP before is not changed.
    """
    if _WAIT_POLICY in os.environ:
        yield
        return
    os.environ[_WAIT_POLICY] = "passive"
    try:
        yield
    finally:
        os.environ.pop(_WAIT_POLICY, None)
