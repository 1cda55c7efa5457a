"""Container limits are respected in all cgroup versions."""

import mmap
from pathlib import Path

import pytest

from tastemaker import machine
from tastemaker.errors import MemoryBudgetError
from tastemaker.machine import held_bytes, memory_bytes, peak_bytes, processors, require_memory

MEGABYTE = 1 << 20


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake /sys/fs/cgroup, and a process that is not in any group yet."""
    root = tmp_path / "cgroup"
    root.mkdir()
    monkeypatch.setattr(machine, "_GROUPS", root)
    monkeypatch.setattr(machine, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    return root


def belongs(groups: Path, *lines: str) -> None:
    (groups.parent / "own").write_text("".join(f"{line}\n" for line in lines))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_without_groups_the_machine_is_the_limit(groups: Path) -> None:
    assert processors() == 64
    assert memory_bytes() > 100 * MEGABYTE


def test_a_container_sees_its_own_limits_at_the_root(groups: Path) -> None:
    belongs(groups, "0::/")
    write(groups / "cpu.max", "150000 100000")
    write(groups / "memory.max", str(300 * MEGABYTE))
    assert processors() == 2
    assert memory_bytes() == 300 * MEGABYTE


def test_the_strictest_of_the_parent_groups_counts(groups: Path) -> None:
    belongs(groups, "0::/slice/service")
    write(groups / "slice" / "cpu.max", "300000 100000")
    write(groups / "slice" / "service" / "cpu.max", "max 100000")
    write(groups / "slice" / "memory.max", "max")
    write(groups / "slice" / "service" / "memory.max", str(200 * MEGABYTE))
    assert processors() == 3
    assert memory_bytes() == 200 * MEGABYTE


def test_cgroups_of_version_1_are_read_too(groups: Path) -> None:
    belongs(groups, "4:cpu,cpuacct:/box", "7:memory:/box", "1:name=systemd:/")
    write(groups / "cpu,cpuacct" / "box" / "cpu.cfs_quota_us", "400000")
    write(groups / "cpu,cpuacct" / "box" / "cpu.cfs_period_us", "100000")
    write(groups / "cpu,cpuacct" / "cpu.cfs_quota_us", "-1")
    write(groups / "cpu,cpuacct" / "cpu.cfs_period_us", "100000")
    write(groups / "memory" / "box" / "memory.limit_in_bytes", str(400 * MEGABYTE))
    write(groups / "memory" / "memory.limit_in_bytes", "9223372036854771712")
    assert processors() == 4
    assert memory_bytes() == 400 * MEGABYTE


def test_less_than_one_processor_is_one(groups: Path) -> None:
    belongs(groups, "0::/")
    write(groups / "cpu.max", "10000 100000")
    assert processors() == 1


def test_allocated_memory_is_held() -> None:
    """Pages of a separate mapping: an allocator may reuse memory that earlier tests freed."""
    with mmap.mmap(-1, 50 * MEGABYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as taken:
        before = held_bytes()
        for place in range(0, len(taken), mmap.PAGESIZE):
            taken[place] = 1
        assert held_bytes() - before > 45 * MEGABYTE


def test_held_memory_counts_against_the_budget() -> None:
    held = held_bytes()
    require_memory(10 * MEGABYTE, held + 100 * MEGABYTE, "this", "do that")
    with pytest.raises(
        MemoryBudgetError, match=r"this needs about .* MB in addition to .* do that"
    ):
        require_memory(200 * MEGABYTE, held + 100 * MEGABYTE, "this", "do that")


def test_the_peak_is_of_the_process_and_never_decreases() -> None:
    before = peak_bytes()
    taken = bytearray(b"x" * (50 * MEGABYTE))
    high = peak_bytes()
    del taken
    assert before <= high
    assert high >= held_bytes()
    assert peak_bytes() >= high
