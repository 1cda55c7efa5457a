"""Processors and memory available to this process, limited by its machine or container."""

import os
import resource
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

from tastemaker.errors import MemoryBudgetError

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")
_OWN_PAGES = Path("/proc/self/statm")
_OWN_STATUS = Path("/proc/self/status")
_UNLIMITED = 1 << 60


def processors() -> int:
    """The number of processors this process may use, by its affinity and container quota."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min([usable, *_quotas()]))


def memory_bytes() -> int:
    """The memory this process may use, in bytes: the machine's, or its container's limit."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_memory_limits()])


def held_bytes() -> int:
    """The memory this process uses now, in bytes, without memory mapped from files."""
    try:
        _, resident, shared, *_ = map(int, _OWN_PAGES.read_text().split())
    except OSError:  # not Linux
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The peak memory of this process, in bytes, including memory mapped from files."""
    for line in _lines(_OWN_STATUS):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # includes the parent's peak


def require_memory(needed: int, budget: int | None, work: str, fix: str) -> None:
    """Rejects an operation whose memory estimate exceeds the budget, before it starts.

    Args:
        needed: the estimate, bytes.
        budget: the process's budget, bytes; by default three quarters of the available memory.
        work: the operation, such as `EASE on 200,000 items`.
        fix: what to do instead.

    Raises:
        MemoryBudgetError: the estimate plus the memory already held exceeds the budget.
    """
    budget, held = _allowed(budget), held_bytes()
    if held + needed > budget:
        raise MemoryBudgetError(
            f"{work} needs about {size_text(needed)} in addition to the {size_text(held)} in use, "
            f"the memory budget is {size_text(budget)}; {fix}",
            f"{work} needs about {size_text(needed)}, more than the memory budget leaves; {fix}",
        )


def memory_left(budget: int | None) -> int:
    """The bytes left of a budget; the default budget is that of `require_memory`."""
    return max(0, _allowed(budget) - held_bytes())


def size_text(count: int) -> str:
    """A number of bytes as text.

    >>> size_text(1_234_567_890), size_text(36_864)
    ('1.2 GB', '36.9 kB')
    """
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB") if count >= 1e6 else (1e3, "kB")
    return f"{count / unit:,.1f} {name}"


def _allowed(budget: int | None) -> int:
    return memory_bytes() * 3 // 4 if budget is None else budget


def _quotas() -> Iterator[int]:
    """Processor limits of this process's control groups."""
    for group in _groups("cpu"):
        words = _words(group / "cpu.max")  # version 2: "200000 100000", or "max 100000"
        if not words:
            words = _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():  # version 1: −1, no limit
            yield ceil(int(words[0]) / max(1, int(words[1])))


def _memory_limits() -> Iterator[int]:
    """Memory limits of this process's control groups, in bytes."""
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            words = _words(group / name)
            if words and words[0].isdigit() and int(words[0]) < _UNLIMITED:
                yield int(words[0])


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups and their parents."""
    for line in _lines(_OWN_GROUP):
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _GROUPS / controllers if controllers else _GROUPS
        inside = PurePosixPath(name.lstrip("/"))
        yield from (root / part for part in [inside, *inside.parents] if ".." not in part.parts)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
