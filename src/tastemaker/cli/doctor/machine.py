"""What may be wrong with the machine: Python, packages, compilers, BLAS, processors, memory.

Nothing but the standard library is imported before it is looked for.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from tastemaker import machine
from tastemaker.cli.doctor.finding import Finding, looked
from tastemaker.errors import LibraryError

_MISLEADING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE")
_COUNTS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_NAMES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}
_COMPILERS = ("cc", "gcc", "clang")
_ROOMS = ("tastemaker.cli.app", "tastemaker.pipeline", "tastemaker.store", "tastemaker.serving")
"""What imports all our packages but LightGBM."""
_LEAST = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)")


def look_at_machine(*, trees: bool = True) -> list[Finding]:
    """Everything but the project.

    Args:
        trees: whether LightGBM will be needed.
    """
    found: list[Finding] = []
    for what, look in (("python", _python), ("packages", _packages)):
        found += looked(what, look)
        if any(finding.verdict == "bad" for finding in found):
            return found  # the rest needs them
    return [
        *found,
        *looked("LightGBM", lambda: _lightgbm(trees)),
        *looked("compiler", _compiler),
        *looked("BLAS", _blas),
        *looked("machine", _processors_and_memory),
    ]


def _python() -> Iterator[Finding]:
    told = ".".join(str(part) for part in sys.version_info[:3])
    if sys.maxsize <= 1 << 32:
        yield Finding("python", "bad", f"{told} for 32 bit", "install Python for 64 bit")
        return
    least = _least_python()
    if sys.version_info[:2] < _numbers(least):
        told = f"{told} is too old: {least} or later is needed"
        yield Finding(
            "python", "bad", told, f"install Python {least} or later, and Tastemaker in it"
        )
        return
    yield Finding("python", "ok", f"{told}, 64 bit")


def _least_python() -> str:
    """What our own metadata asks for; nothing where we are not installed."""
    try:
        return (metadata("tastemaker")["Requires-Python"] or "").removeprefix(">=")
    except PackageNotFoundError:
        return ""


def _packages() -> Iterator[Finding]:
    """Those that our own metadata asks for, and whether they can be imported."""
    try:
        asked = requires("tastemaker") or []
    except PackageNotFoundError:
        fix = "pip install tastemaker, or pip install -e . where its source is"
        yield Finding("packages", "note", "Tastemaker itself is not installed", fix)
        asked = []
    wrong = 0
    for line in asked:
        match = _LEAST.match(line)
        if match is None or "extra ==" in line or ("win32" in line and sys.platform == "win32"):
            continue
        name, least = match.groups()
        found = _installed(name)
        if found is None or _numbers(found) < _numbers(least):
            wrong += 1
            told = "is not installed" if found is None else f"{found} is too old"
            fix = f"pip install --upgrade '{name}>={least}'"
            yield Finding("packages", "bad", f"{name} {told}: {least} or later is needed", fix)
    if wrong:
        return
    for room in _ROOMS:
        try:
            import_module(room)
        except (ImportError, OSError) as problem:
            refused = LibraryError(getattr(problem, "name", None) or room, problem)
            yield Finding("packages", "bad", refused.told, refused.fix)
            return
    yield Finding("packages", "ok", "all that are needed, as new as they must be")
    yield from _kernels()


def _kernels() -> Iterator[Finding]:
    from tastemaker.compilation import keeps_kernels

    if not keeps_kernels():
        told = "no folder for compiled kernels can be written: every process compiles them again"
        fix = "set NUMBA_CACHE_DIR to a folder that can be written, or make ~/.cache writable"
        yield Finding("kernels", "note", told, fix)


def _lightgbm(needed: bool) -> Iterator[Finding]:
    try:
        import_module("tastemaker.ranking.boosting")
    except LibraryError as problem:
        yield Finding("LightGBM", "bad" if needed else "note", problem.told, problem.fix)
    else:
        yield Finding("LightGBM", "ok", f"{version('lightgbm')}, with its OpenMP library")


def _compiler() -> Iterator[Finding]:
    """Of interest only where there is none: kernels are compiled by the LLVM that Numba brings."""
    if not any(shutil.which(name) for name in _COMPILERS):
        yield Finding("compiler", "ok", "none, and nothing here needs one: Numba brings its own")


def _blas() -> Iterator[Finding]:
    import numpy  # noqa: F401 - brings the library that is asked for
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    there = machine.processors()
    misleading = [f"{name}={os.environ[name]}" for name in _MISLEADING if name in os.environ]
    if misleading:
        told = f"{', '.join(misleading)} can make linear algebra several times slower"
        yield Finding("BLAS", "note", told, f"unset {_names(misleading)}")
    counts = [f"{name}={os.environ[name]}" for name in _COUNTS if name in os.environ]
    many = [
        told
        for told in counts
        if (count := told.partition("=")[2]).isdigit() and int(count) > there
    ]
    if many:
        told = f"{', '.join(many)}: more threads than the {there} processors wait for each other"
        yield Finding("BLAS", "note", told, f"unset {_names(many)}")
    found = {
        f"{_NAMES.get(of['internal_api'], of['internal_api'])} {of['version']}"
        + (f" for {of['architecture']}" if of.get("architecture") else "")
        + f", {of['num_threads']} threads"
        for of in threadpool_info()
        if of["user_api"] == "blas"
    }
    yield Finding("BLAS", "ok", "; ".join(sorted(found)) or "of a kind that does not tell its name")


def _processors_and_memory() -> Iterator[Finding]:
    usable, there = machine.processors(), os.cpu_count() or 1
    told = f"{usable} processor{'s' * (usable != 1)}" + (
        f" of the {there} there are" if usable < there else ""
    )
    memory = machine.memory_bytes()
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told += f", {machine.size_text(memory)} of memory"
    told += f" of the {machine.size_text(whole)} there are" if memory < whole else ""
    yield Finding("machine", "ok", told)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(told: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.0.36rc1 → 2, 0, 36."""
    found = re.match(r"\d+(?:\.\d+)*", told)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _names(told: list[str]) -> str:
    return " ".join(setting.partition("=")[0] for setting in told)
