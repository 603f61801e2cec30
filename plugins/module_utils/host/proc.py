# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Processes of a host and the control groups that they run in, from /proc.

Every function answers None, [] or 0 for a process that is gone or may not be read. `root` is /proc except in tests.
"""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

# What grows while a process reads, computes or gets memory: file of /proc/PID -> its keys.
_ACTIVITY = (("io", ("rchar", "read_bytes")), ("status", ("VmRSS",)))
_CREDENTIALS = ("Uid:", "Gid:", "Groups:")


class Reading(NamedTuple):
    """What a process has read since its start: `read_bytes` by read(), `disk_bytes` from disks, whoever needed them
    (read or mapped), and `mapped_bytes` of files that are mapped and in memory now (its libraries among them)."""

    read_bytes: int
    disk_bytes: int
    mapped_bytes: int


def name(pid: int, root: str = "/proc") -> Optional[str]:
    """Return the short name of a process, None if it is not there (or not in this PID namespace)."""
    return (_read(pid, "comm", root) or "").strip() or None


def environment(pid: int, root: str = "/proc") -> Optional[Dict[str, str]]:
    """Return the environment that a process was started with; None if it may not be read (needs its user or root)."""
    try:
        with open(os.path.join(root, str(pid), "environ"), "rb") as handle:
            raw = handle.read()
    except OSError:
        return None
    pairs = [item.split(b"=", 1) for item in raw.split(b"\0") if b"=" in item]
    return {key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape") for key, value in pairs}


def arguments(pid: int, root: str = "/proc") -> List[str]:
    """Return the argument list of a process, [] if it is gone."""
    text = _read(pid, "cmdline", root)
    return text.rstrip("\0").split("\0") if text else []


def executable(pid: int, root: str = "/proc") -> Optional[str]:
    """Return the file that a process runs, None if it is gone or may not be read."""
    try:
        return os.readlink(os.path.join(root, str(pid), "exe"))
    except OSError:
        return None


def mapped_files(pid: int, root: str = "/proc") -> Optional[List[str]]:
    """Return the files that a process has mapped into its memory, each once; None if it is gone or may not be read.

    The kernel adds " (deleted)" to the name of a file that was deleted or replaced since.
    """
    text = _read(pid, "maps", root)
    if text is None:
        return None
    fields = (line.split(None, 5) for line in text.splitlines())
    return list(dict.fromkeys(field[5] for field in fields if len(field) == 6 and field[5].startswith("/")))


def pids(root: str = "/proc") -> List[int]:
    """Return the numbers of all processes, in ascending order."""
    try:
        return sorted(int(entry) for entry in os.listdir(root) if entry.isdigit())
    except OSError:
        return []


def unit_of(pid: int, root: str = "/proc") -> Optional[str]:
    """Return the systemd unit (service or scope) that a process runs in, by its control group; None without one."""
    return unit_of_cgroup(_read(pid, "cgroup", root) or "")


def unit_of_cgroup(text: str) -> Optional[str]:
    """Return the innermost service or scope in the text of /proc/PID/cgroup.

    Only the lines of version 2 and of systemd's own hierarchy of version 1 count.
    """
    for line in text.splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3 or not (fields[1] == "" or "name=systemd" in fields[1].split(",")):
            continue
        for part in reversed(fields[2].split("/")):
            if part.endswith((".service", ".scope")):
                return part
    return None


def cgroup(pid: int, root: str = "/proc") -> str:
    """Return the text of /proc/PID/cgroup, "" for a process that is gone."""
    return _read(pid, "cgroup", root) or ""


def credentials(pid: int, root: str = "/proc") -> Optional[Tuple[int, List[int]]]:
    """Return (user, groups) that a process acts with, by number; None if it is gone."""
    lines = [line.split() for line in (_read(pid, "status", root) or "").splitlines()]
    found = {words[0]: [int(word) for word in words[1:]] for words in lines if words and words[0] in _CREDENTIALS}
    if set(found) != set(_CREDENTIALS):
        return None
    # The second number is the effective one.
    return found["Uid:"][1], sorted({found["Gid:"][1], *found["Groups:"]})


def swapped_bytes(pid: int, root: str = "/proc") -> int:
    """Return the bytes of a process that are in swap, 0 for one that is gone."""
    return _status_bytes(pid, ("VmSwap",), root)


def reading(pid: int, root: str = "/proc") -> Optional[Reading]:
    """Return what a process has read; None if it is gone or may not be looked at (needs its user or root)."""
    pairs = dict(line.split(":", 1) for line in (_read(pid, "io", root) or "").splitlines() if ":" in line)
    if "rchar" not in pairs:
        return None
    mapped = _status_bytes(pid, ("RssFile",), root)
    return Reading(int(pairs["rchar"]), int(pairs.get("read_bytes", 0)), mapped)


def unit_processes(unit: str, root: str = "/proc") -> List[int]:
    """Return the numbers of all processes in a systemd unit, in ascending order."""
    return [pid for pid in pids(root) if unit_of(pid, root) == unit]


def processes_of_units(root: str = "/proc") -> Dict[str, List[int]]:
    """Return {unit: numbers of its processes} of all systemd units that have any."""
    found: Dict[str, List[int]] = {}
    for pid in pids(root):
        unit = unit_of(pid, root)
        if unit is not None:
            found.setdefault(unit, []).append(pid)
    return found


def held_bytes(pid: int, root: str = "/proc") -> int:
    """Return the bytes of memory that a process holds, without what is mapped from files; 0 for one that is gone.

    Memory that CUDA pins counts as shared. What is swapped out does not count.
    """
    return _status_bytes(pid, ("RssAnon", "RssShmem"), root)


def _status_bytes(pid: int, keys: Sequence[str], root: str) -> int:
    pairs = [line.split(":", 1) for line in (_read(pid, "status", root) or "").splitlines() if ":" in line]
    return sum(int(value.split()[0]) * 1024 for key, value in pairs if key in keys)


def started(pid: int, root: str = "/proc") -> Optional[int]:
    """Return when a living process started, in clock ticks since boot; None for one that is gone or a zombie."""
    try:
        fields = (_read(pid, "stat", root) or "").rsplit(")", 1)[1].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except (IndexError, ValueError):
        return None


def is_stopped(pid: int, root: str = "/proc") -> bool:
    """Return whether a signal (SIGSTOP) or a debugger has stopped a process."""
    fields = (_read(pid, "stat", root) or "").rpartition(")")[2].split()
    return bool(fields) and fields[0] in ("T", "t")


def parent(pid: int, root: str = "/proc") -> Optional[int]:
    """Return the process that started a living process, 1 where that one has ended; None for one that is gone."""
    try:
        return int((_read(pid, "stat", root) or "").rsplit(")", 1)[1].split()[1])
    except (IndexError, ValueError):
        return None


def is_alive(pid: int, start: Optional[int], root: str = "/proc") -> bool:
    """Return whether the process that was seen with this start time lives (a PID may be given to another one)."""
    return started(pid, root) == start


def start_time(ticks: int, root: str = "/proc") -> Optional[float]:
    """Return clock ticks since boot as seconds since 1970, None where the boot time is unknown."""
    try:
        with open(os.path.join(root, "stat"), "r", encoding="utf-8", errors="replace") as handle:
            boot = next(int(line.split()[1]) for line in handle if line.startswith("btime "))
    except (OSError, StopIteration):
        return None
    return boot + ticks / float(os.sysconf("SC_CLK_TCK"))


def process_start(pid: int, root: str = "/proc") -> Optional[float]:
    """Return when a process started in seconds since 1970, None if it is gone or the boot time is unknown."""
    ticks = started(pid, root)
    return None if ticks is None else start_time(ticks, root)


def activity(unit: str, root: str = "/proc") -> int:
    """Return a number that changes while the processes of a unit read, compute or get memory."""
    total = 0
    for pid in unit_processes(unit, root):
        for file, keys in _ACTIVITY:
            lines = (_read(pid, file, root) or "").splitlines()
            pairs = dict(line.split(":", 1) for line in lines if ":" in line)
            total += sum(int(pairs[key].split()[0]) for key in keys if key in pairs)
    return total


def _read(pid: int, file: str, root: str) -> Optional[str]:
    try:
        with open(os.path.join(root, str(pid), file), "r", encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return None
