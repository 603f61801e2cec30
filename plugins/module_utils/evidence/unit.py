# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What systemd and procfs say about one unit: its state, its processes, its environment, its journal."""

from __future__ import annotations

import os
import subprocess

from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import sysfs
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.command import ask

_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "Environment",
    "EnvironmentFiles",
)


def show(units):
    """Return {unit: {property: text}} of `systemctl show` for all units in one call; {} where systemd does not answer."""
    if not units:
        return {}
    try:
        output = ask(
            ["systemctl", "show", "--no-pager", "--property=" + ",".join(_PROPERTIES)] + list(units), timeout=30
        )[1]
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for block in output.split("\n\n"):
        properties = {}
        for name, value in [line.split("=", 1) for line in block.splitlines() if "=" in line]:
            # Several environment files are several lines of the same name.
            properties[name] = properties[name] + "\n" + value if name in properties else value
        if properties.get("Id"):
            found[properties["Id"]] = properties
    return found


def engines(unit, root="/proc"):
    """Return the engines of a unit: processes with `--model`, as [{"pid", "model_file", "port", "arguments", "started"}], oldest first.

    `model_file` is the base name of the model's blob ("sha256-..."), `started` the start in clock ticks since boot.
    """
    found = []
    for pid in sysfs.unit_processes(unit, root):
        arguments = sysfs.process_arguments(pid, root)
        model = option(arguments, "--model")
        if model is None or not _ticks(pid, root):
            continue
        port = option(arguments, "--port") or ""
        found.append(
            {
                "pid": pid,
                "model_file": os.path.basename(model),
                "port": int(port) if port.isdigit() else None,
                "arguments": arguments,
                "started": _ticks(pid, root),
            }
        )
    return sorted(found, key=lambda engine: (engine["started"], engine["pid"]))


def option(arguments, name):
    """Return the word after `name` in an argument list, None without it."""
    return arguments[arguments.index(name) + 1] if name in arguments[:-1] else None


def _ticks(pid, root):
    """Start time of a living process in clock ticks since boot; None for one that is gone or a zombie."""
    try:
        with open(os.path.join(root, str(pid), "stat"), "r", errors="replace") as handle:
            fields = handle.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_alive(pid, started, root="/proc"):
    """True while the process that was seen with this start time lives (a PID may be given to another one)."""
    return _ticks(pid, root) == started


def start_time(started, root="/proc"):
    """Return a start in clock ticks since boot as seconds since 1970, None where the boot time is unknown."""
    try:
        with open(os.path.join(root, "stat"), "r") as handle:
            boot = next(int(line.split()[1]) for line in handle if line.startswith("btime "))
    except (OSError, StopIteration):
        return None
    return boot + started / float(os.sysconf("SC_CLK_TCK"))


def process_start(pid, root="/proc"):
    """Return when a process started in seconds since 1970, None if it is gone or the boot time is unknown."""
    ticks = _ticks(pid, root)
    return None if ticks is None else start_time(ticks, root)


def activity(unit, root="/proc"):
    """Return a number that grows while the unit's processes read, compute or get memory: a load that makes progress."""
    total = 0
    for pid in sysfs.unit_processes(unit, root):
        for name, keys in (("io", ("rchar", "read_bytes")), ("status", ("VmRSS",))):
            try:
                with open(os.path.join(root, str(pid), name), "r", errors="replace") as handle:
                    pairs = dict(line.split(":", 1) for line in handle if ":" in line)
            except OSError:
                continue
            total += sum(int(pairs[key].split()[0]) for key in keys if key in pairs)
    return total


def journal(unit, since=None):
    """Return (lines, reason): the unit's journal from `since` (seconds since 1970), or [] and why it cannot be read."""
    command = ["journalctl", "--unit=" + unit, "--output=cat", "--no-pager", "--quiet"]
    if since is not None:
        command.append("--since=@%d" % since)
    try:
        status, text, complaints = ask(command, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], "journalctl cannot be run: %s" % error
    if status != 0 or not text:
        reason = complaints.strip().splitlines()
        return [], "the journal of %s holds nothing of this engine%s" % (unit, " (%s)" % reason[0] if reason else "")
    return text.splitlines(), None
