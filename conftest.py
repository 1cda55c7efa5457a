"""The suite's environment: without the variables of the caller's shell that steer what is tested.

They are removed before anything is collected, so workers and the processes that tests start never
see them. A library that a plugin has loaded before has read its own; no test may depend on those.
"""

import os
from typing import Any

STEERING = (
    # threads, code paths and memory of linear algebra, OpenMP, compiled kernels and data frames
    *("BLIS_", "GOMP_", "GOTO_", "KMP_", "LIGHTGBM_", "MALLOC_", "MKL_", "NPY_", "NUMBA_", "NVPL_"),
    *("OMP_", "OPENBLAS_", "POLARS_", "VECLIB_"),
    # ours, the server's and the tests' own interpreter
    *("FORWARDED_ALLOW_IPS", "TASTEMAKER_", "UVICORN_", "WEB_CONCURRENCY"),
    *("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONHASHSEED", "PYTHONINTMAXSTRDIGITS"),
    *("PYTHONIOENCODING", "PYTHONMALLOC", "PYTHONOPTIMIZE", "PYTHONUNBUFFERED", "PYTHONUTF8"),
    *("PYTHONWARNINGS", "SQLALCHEMY_"),
    # how and where text is shown
    *("BROWSER", "CLICOLOR", "COLORTERM", "COLUMNS", "DISPLAY", "FORCE_COLOR", "GITHUB_ACTIONS"),
    *("LINES", "NO_COLOR", "TERMINAL_WIDTH", "TTY_", "WAYLAND_DISPLAY", "_TYPER_"),
    # folders of the user, and proxies, which would come between a test and its own server
    *("XDG_", "ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
)
"""Beginnings of names, in upper case."""
KEPT = ("NUMBA_CACHE_DIR",)
"""Where compiled kernels are kept changes no result."""
LONGEST_ID = 200


def remove_steering_variables() -> None:
    """Removes them from this process, and so from those that it starts."""
    for name in [name for name in os.environ if name.upper().startswith(STEERING)]:
        if name not in KEPT:
            del os.environ[name]
    for name in ("COLUMNS", "LINES"):  # readline, which pytest loads, sets them behind os.environ
        os.unsetenv(name)


def add_system_tools() -> None:
    """Adds the folders of tools such as `mkfs`, which users other than root often lack."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    more = [folder for folder in ("/usr/sbin", "/sbin") if folder not in folders]
    os.environ["PATH"] = os.pathsep.join([*folders, *more])


def pytest_make_parametrize_id(val: Any, argname: str) -> str | None:
    """A long value does not name a test.

    pytest puts the name into a variable; with one above 128 kB the system starts no process.
    """
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{argname} of {len(val):,}"
    return None


remove_steering_variables()
add_system_tools()
