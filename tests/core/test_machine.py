"""Free memory, as control groups of both kinds limit it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quintet.core.machine import free_memory_bytes, gigabytes, memory_bytes

GB = 1 << 30


def make_machine(root: Path, cgroup: str | None, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal: {16 * GB >> 10} kB\nMemAvailable:   {8 * GB >> 10} kB\nHugePages: 0\n"
    )
    if cgroup is not None:
        (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_no_control_group(tmp_path: Path) -> None:
    assert free_memory_bytes(make_machine(tmp_path, None)) == 8 * GB


@pytest.mark.parametrize("limited", ["memory_", "a__memory_", "a__b__memory_"])
def test_the_strictest_group_counts(tmp_path: Path, limited: str) -> None:
    files = {
        f"{limited}max": str(3 * GB),
        f"{limited}current": str(2 * GB),
        f"{limited}stat": f"anon 5\ninactive_file {GB}\n",
    }
    free = free_memory_bytes(make_machine(tmp_path, "0::/a/b\n", **files))
    assert free == 2 * GB, "one left, and one of files that can be dropped"


def test_a_group_without_limit(tmp_path: Path) -> None:
    files = {"a__memory_max": "max\n", "a__memory_current": "7\n", "a__memory_stat": "anon 5\n"}
    assert free_memory_bytes(make_machine(tmp_path, "0::/a\n", **files)) == 8 * GB


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    root = make_machine(tmp_path, "7:cpu,cpuacct:/x\n4:memory:/outside/of/this/mount\n")
    group = root / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(str(4 * GB))
    (group / "memory.usage_in_bytes").write_text(str(4 * GB))
    (group / "memory.stat").write_text("total_inactive_file 4096\n")
    assert free_memory_bytes(root) == 4096


def test_all_there_is(tmp_path: Path) -> None:
    root = make_machine(tmp_path, "0::/a/b\n", memory_max="max\n", a__memory_max=str(3 * GB))
    assert memory_bytes(root) == 3 * GB
    (root / "sys/fs/cgroup/a/memory.max").write_text("max\n")
    assert memory_bytes(root) == 16 * GB


def test_this_machine() -> None:
    assert memory_bytes() > free_memory_bytes() > 50_000_000


def test_sizes_for_people() -> None:
    assert [gigabytes(size) for size in (5_000_000, 99_400_000, 12_340_000_000)] == [
        "5 MB",
        "99 MB",
        "12.3 GB",
    ]
