"""What the kernel says of processes: their time, memory and children, and what the machine has left for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def pin(pid: int, core: int) -> None:
    """Binds a process and its threads to one core, where the machine has more than one."""
    if (os.cpu_count() or 1) > 1 and hasattr(os, "sched_setaffinity"):
        with suppress(FileNotFoundError, ProcessLookupError):  # one that ends meanwhile needs no core
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})


def family(pid: int) -> tuple[int, ...]:
    """The process and its descendants."""
    found = [pid]
    for known in found:
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{known}/task").iterdir():
                found += [int(child_pid) for child_pid in (thread / "children").read_text().split()]
    return tuple(found)


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time that the processes have used so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def stolen_seconds() -> float:
    """What the hypervisor took of all cores for others since the machine's start, as far as it says."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[8]) / _TICK


def resident_mb(pids: Sequence[int | str]) -> float:
    """Resident memory of the processes, MiB."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                kib += int(line.split()[1])
    return round(kib / 1024, 1)
