"""`@kernel` compiles a function to machine code; every kernel in the package uses it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit

_NO_FOLDER = "no locator available"


def kernel(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Compiles a function on its first call; the compiled function runs without the GIL.

    The machine code is cached on disk: in NUMBA_CACHE_DIR, next to the source file, or in the
    user's cache folder. If none of these is writable, every process compiles again, which delays
    the first calls but does not change results.

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
    """Whether a cache folder for compiled kernels is writable."""
    try:
        njit(cache=True)(keeps_kernels)
    except RuntimeError as problem:
        if _NO_FOLDER not in str(problem):
            raise
        return False
    return True
