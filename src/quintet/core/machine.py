"""What memory this machine has, and has left. Read from the kernel's files when asked; nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""A control group's limit and use, in its second and first version."""
_DROPPABLE = ("inactive_file", "total_inactive_file")


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Memory that can still be used: the machine's, or less if a control group above this process may have less."""
    free = _meminfo(root, "MemAvailable")
    return min([free, *(left for group in _groups(root) if (left := _left(group)) is not None)])


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this machine has, or that a control group above this process may use at most."""
    limits = (group / name for group in _groups(root) for name, _ in _LIMITS)
    return min(
        [_meminfo(root, "MemTotal"), *(limit for file in limits if (limit := _number(file)) is not None)]
    )


def _meminfo(root: Path, name: str) -> int:
    lines = (root / "proc/meminfo").read_text("ascii").splitlines()
    facts = {line.partition(":")[0]: line.split()[1] for line in lines}
    return int(facts[name]) * 1024


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control groups that may limit memory, with all those above them."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    top = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            start = top / controllers
            group = start / path.lstrip("/")
            while True:
                yield group
                if group == start or start not in group.parents:
                    break
                group = group.parent


def _left(group: Path) -> int | None:
    """What a control group may still take; None if it has no limit. File pages that can be dropped count as free."""
    for limit, use in _LIMITS:
        try:
            left = int((group / limit).read_text()) - int((group / use).read_text())
            stats = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        return max(0, left + next((int(stats[name]) for name in _DROPPABLE if name in stats), 0))
    return None


def gigabytes(size: int) -> str:
    """A size for people, such as 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
