"""`@kernel` compiles a function to machine code; every kernel of the package is compiled by it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit

_NO_FOLDER = "no locator available"


def kernel(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Compiles a function at its first call; the compiled function runs without the GIL.

    The machine code is kept on disk: in NUMBA_CACHE_DIR, or beside the source file, or in the
    user's cache folder. Where none of them can be written, every process compiles again, which
    delays the first calls and changes no result.

    Args:
        function: takes arrays and scalars.
        options: further options of `numba.njit`, such as `fastmath`.

    Example:
        >>> @kernel
        ... def double(value):
        ...     return 2 * value
        >>> double(21)
        42
    """
    if function is None:
        return partial(kernel, **options)
    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError as problem:
        if _NO_FOLDER not in str(problem):
            raise
        return njit(nogil=True, **options)(function)


def keeps_kernels() -> bool:
    """Whether a folder can be written that keeps compiled kernels from one process to the next."""
    try:
        njit(cache=True)(keeps_kernels)
    except RuntimeError as problem:
        if _NO_FOLDER not in str(problem):
            raise
        return False
    return True
