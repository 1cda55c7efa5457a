"""Checks the machine: Python, packages, compilers, BLAS, processors and memory.

Only the standard library is imported before the packages are checked.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from tastemaker import machine
from tastemaker.cli.doctor.finding import Finding, run_check
from tastemaker.errors import LibraryError

_MISLEADING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE")
_COUNTS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_NAMES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}
_COMPILERS = ("cc", "gcc", "clang")
_MODULES = ("tastemaker.cli.app", "tastemaker.pipeline", "tastemaker.store", "tastemaker.serving")
"""These modules import all required packages except LightGBM."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)")


def check_machine(*, trees: bool = True) -> list[Finding]:
    """Checks everything except the project.

    Args:
        trees: whether the project needs LightGBM.
    """
    found: list[Finding] = []
    for what, check in (("python", _python), ("packages", _packages)):
        found += run_check(what, check)
        if any(finding.verdict == "bad" for finding in found):
            return found  # the other checks need them
    return [
        *found,
        *run_check("LightGBM", lambda: _lightgbm(trees)),
        *run_check("compiler", _compiler),
        *run_check("BLAS", _blas),
        *run_check("machine", _processors_and_memory),
    ]


def _python() -> Iterator[Finding]:
    message = ".".join(str(part) for part in sys.version_info[:3])
    if sys.maxsize <= 1 << 32:
        yield Finding("python", "bad", f"{message} for 32 bit", "install Python for 64 bit")
        return
    oldest = _oldest_python()
    if sys.version_info[:2] < _numbers(oldest):
        message = f"{message} is too old: {oldest} or later is needed"
        yield Finding(
            "python", "bad", message, f"install Python {oldest} or later, then Tastemaker"
        )
        return
    yield Finding("python", "ok", f"{message}, 64 bit")


def _oldest_python() -> str:
    """The oldest supported Python by our metadata; empty if Tastemaker is not installed."""
    try:
        return (metadata("tastemaker")["Requires-Python"] or "").removeprefix(">=")
    except PackageNotFoundError:
        return ""


def _packages() -> Iterator[Finding]:
    """Checks that the required packages are installed, new enough, and importable."""
    try:
        required = requires("tastemaker") or []
    except PackageNotFoundError:
        fix = "pip install tastemaker, or pip install -e . in its source folder"
        yield Finding("packages", "note", "Tastemaker itself is not installed", fix)
        required = []
    wrong = 0
    for line in required:
        match = _REQUIREMENT.match(line)
        if match is None or "extra ==" in line or ("win32" in line and sys.platform == "win32"):
            continue
        name, oldest = match.groups()
        found = _installed(name)
        if found is None or _numbers(found) < _numbers(oldest):
            wrong += 1
            message = "is not installed" if found is None else f"{found} is too old"
            fix = f"pip install --upgrade '{name}>={oldest}'"
            yield Finding("packages", "bad", f"{name} {message}: {oldest} or later is needed", fix)
    if wrong:
        return
    for module in _MODULES:
        try:
            import_module(module)
        except (ImportError, OSError) as problem:
            error = LibraryError(getattr(problem, "name", None) or module, problem)
            yield Finding("packages", "bad", error.reason, error.fix)
            return
    yield Finding("packages", "ok", "all required packages are installed and new enough")
    yield from _kernels()


def _kernels() -> Iterator[Finding]:
    from tastemaker.compilation import keeps_kernels

    if not keeps_kernels():
        message = "no folder for compiled kernels is writable: every process compiles them again"
        fix = "set NUMBA_CACHE_DIR to a writable folder, or make ~/.cache writable"
        yield Finding("kernels", "note", message, fix)


def _lightgbm(needed: bool) -> Iterator[Finding]:
    try:
        import_module("tastemaker.ranking.boosting")
    except LibraryError as problem:
        yield Finding("LightGBM", "bad" if needed else "note", problem.reason, problem.fix)
    else:
        yield Finding("LightGBM", "ok", f"{version('lightgbm')}, with its OpenMP library")


def _compiler() -> Iterator[Finding]:
    """Reports only a missing compiler; Numba compiles kernels with its own LLVM."""
    if not any(shutil.which(name) for name in _COMPILERS):
        yield Finding("compiler", "ok", "none found; none is needed, because Numba has its own")


def _blas() -> Iterator[Finding]:
    import numpy  # noqa: F401 - loads the BLAS library
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    processors = machine.processors()
    misleading = [f"{name}={os.environ[name]}" for name in _MISLEADING if name in os.environ]
    if misleading:
        message = f"{', '.join(misleading)} can make linear algebra several times slower"
        yield Finding("BLAS", "note", message, f"unset {_names(misleading)}")
    counts = [f"{name}={os.environ[name]}" for name in _COUNTS if name in os.environ]
    many = [
        setting
        for setting in counts
        if (count := setting.partition("=")[2]).isdigit() and int(count) > processors
    ]
    if many:
        message = (
            f"{', '.join(many)}: more threads than the {processors} processors slow each other down"
        )
        yield Finding("BLAS", "note", message, f"unset {_names(many)}")
    found = {
        f"{_NAMES.get(of['internal_api'], of['internal_api'])} {of['version']}"
        + (f" for {of['architecture']}" if of.get("architecture") else "")
        + f", {of['num_threads']} threads"
        for of in threadpool_info()
        if of["user_api"] == "blas"
    }
    yield Finding("BLAS", "ok", "; ".join(sorted(found)) or "of an unknown kind")


def _processors_and_memory() -> Iterator[Finding]:
    usable, total = machine.processors(), os.cpu_count() or 1
    message = f"{usable} processor{'s' * (usable != 1)}" + (
        f" of {total}" if usable < total else ""
    )
    memory = machine.memory_bytes()
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    message += f", {machine.size_text(memory)} of memory"
    message += f" of {machine.size_text(whole)}" if memory < whole else ""
    yield Finding("machine", "ok", message)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.0.36rc1 → 2, 0, 36."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _names(settings: list[str]) -> str:
    return " ".join(setting.partition("=")[0] for setting in settings)
