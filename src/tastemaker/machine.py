"""What the machine, or the container this process runs in, lets it have: processors and memory."""

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
    """Processors this process may use: by its affinity, and by its container's quota."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min([usable, *_quotas()]))


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or its container's limit."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_memory_limits()])


def held_bytes() -> int:
    """Memory this process holds for itself now, without what is mapped from files."""
    try:
        _, resident, shared, *_ = map(int, _OWN_PAGES.read_text().split())
    except OSError:  # not Linux
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory this process has held so far, with what was mapped from files."""
    for line in _lines(_OWN_STATUS):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # counts its parent's as well


def require_memory(needed: int, budget: int | None, work: str, fix: str) -> None:
    """Refuses work whose estimate does not fit into a budget, before it starts.

    Args:
        needed: the estimate, bytes.
        budget: what the process may hold, bytes; by default three quarters of what there is.
        work: what would need it, such as `EASE on 200,000 items`.
        fix: what to do instead.

    Raises:
        MemoryBudgetError: the estimate and what is held already exceed the budget.
    """
    budget, held = _allowed(budget), held_bytes()
    if held + needed > budget:
        raise MemoryBudgetError(
            f"{work} needs about {size_text(needed)} beside the {size_text(held)} held already, "
            f"the memory budget is {size_text(budget)}; {fix}",
            f"{work} needs about {size_text(needed)}, more than the memory budget leaves; {fix}",
        )


def memory_left(budget: int | None) -> int:
    """Bytes of a budget that this process does not hold yet; the default as `require_memory`."""
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
    """Processors by the control groups this process is in."""
    for group in _groups("cpu"):
        told = _words(group / "cpu.max")  # version 2: "200000 100000", or "max 100000"
        if not told:
            told = _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if len(told) == 2 and told[0].isdigit() and told[1].isdigit():  # version 1 says −1 for all
            yield ceil(int(told[0]) / max(1, int(told[1])))


def _memory_limits() -> Iterator[int]:
    """Bytes by the control groups this process is in."""
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            told = _words(group / name)
            if told and told[0].isdigit() and int(told[0]) < _UNLIMITED:
                yield int(told[0])


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, and of those around them."""
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
