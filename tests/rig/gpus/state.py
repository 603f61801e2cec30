# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The GPU state file of the rig: read it, change it under a lock, create presets (format: README.md in this directory).

One file that needs only the standard library, so that it can be piped into a host: ``python3 - preset rtx-a6000-x2 <
state.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

DEFAULT_PATH = "/dev/gpu-rig/state"
MIB, GIB = 1024**2, 1024**3
DEFAULT_CONTEXT = 300 * MIB
LIES = tuple(
    "one_gpu contexts_only foreign leftover nothing cpu far swapped no_cache half_cache die_after_load die_generating "
    "idle busy_other no_token".split()
)
ANSWER_LIES = tuple("not_a_number one_word unprintable other_words".split())  # true in bytes, and wrong in answers
_UNKNOWN, _HIDDEN = {"processes.bytes": "unknown"}, {"processes.hidden": "1"}
_UNREADABLE = {"fault.nvmlDeviceGetComputeRunningProcesses": "999"}
#: What NVML does not tell -> (keys of the state, lie of the engine below it).
BLIND = {"bytes_unknown": (_UNKNOWN, None), "bytes_unknown_one_gpu": (_UNKNOWN, "one_gpu")}
BLIND.update({"bytes_unknown_contexts_only": (_UNKNOWN, "contexts_only"), "unlisted": (_HIDDEN, None)})
BLIND.update({"unlisted_nothing": (_HIDDEN, "nothing"), "unreadable": (_UNREADABLE, None)})
# NVML adds the memory of the listed processes to the base: the GPU has less in use than it lists.
BLIND.update({"unreadable_one_gpu": (_UNREADABLE, "one_gpu"), "used_less": ({"gpu0.memory.base": str(-GIB)}, None)})
# What `process add` and `lie foreign` start; the last argument is what `ps` shows.
SLEEPER = "import time\nwhile True: time.sleep(3600)"


class StateError(Exception):
    """A wrong command or an impossible state. The text is for the user."""


def state_path():
    """The state file's path: $GPU_RIG_STATE or the default."""
    return os.environ.get("GPU_RIG_STATE") or DEFAULT_PATH


# --- reading and writing -------------------------------------------------------------------------


def parse(text):
    """Text of a state file -> {key: value}; last line wins, `-` removes."""
    state = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, _separator, value = line.partition(" ")
        state.pop(key, None)
        if value.strip() != "-":
            state[key] = value.strip()
    return state


def load(path=None):
    """{key: value} of the file, or None where there is no file (= no driver)."""
    try:
        with open(path or state_path(), encoding="utf-8") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        return None


def _open_lock(path):
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        os.makedirs(directory, exist_ok=True)
        # Without the sticky bit: a service user must be able to replace a file that root wrote.
        os.chmod(directory, 0o777)
    lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    with contextlib.suppress(PermissionError):
        os.fchmod(lock, 0o666)
    return lock


@contextlib.contextmanager
def edit(path=None, new=False):
    """Context manager for the state as a dict: locked, and written at the end with an atomic rename.

    With ``new``, the file need not exist and starts empty. Otherwise a missing file raises StateError.
    """
    path = path or state_path()
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = {} if new else load(path)
        if state is None:
            raise StateError("there is no state file at %s: make one with the preset command" % path)
        yield state
        _write(path, state)
    finally:
        os.close(lock)


def _write(path, state):
    text = "".join("%s %s\n" % (key, value) for key, value in state.items())
    # Under the lock there is one writer, so one name will do: what a writer that was killed left behind, the next one
    # replaces.
    temporary = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    with open(temporary, "x", encoding="utf-8") as stream:
        # Whatever the umask: another user's reader would take a file it cannot read for an unloaded driver.
        os.fchmod(stream.fileno(), 0o666)
        stream.write(text)
    os.rename(temporary, path)


# --- views ---------------------------------------------------------------------------------------


def alive(pid):
    """Whether the process runs on this host (a zombie uses no GPU memory)."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        pass
    with contextlib.suppress(OSError):
        return os.getpgid(pid) > 0  # of another user, and hidden from a service with ProtectProc
    return False


def count(state):
    """Number of GPUs."""
    return int(state.get("gpus", 0))


def processes(state, place):
    """[{pid, bytes (None = unknown to NVML), type, name, alive}] of a GPU ("gpu0") or MIG device ("gpu0.mig.2")."""
    prefix = place + ".process."
    found = []
    for key, value in state.items():
        if not key.startswith(prefix):
            continue
        pid = int(key[len(prefix) :])
        size, kind, name = (value.split(" ", 2) + ["", ""])[:3]
        found.append(
            {
                "pid": pid,
                "bytes": None if size == "-" else int(size),
                "type": kind or "C",
                "name": name,
                "alive": alive(pid),
            }
        )
    return found


def places(state):
    """Where a process can hold memory: "gpu0", "gpu0.mig.2" for each GPU and MIG device."""
    found = []
    for index in range(count(state)):
        place = "gpu%d" % index
        slots = range(int(state.get(place + ".mig.max", 0)) if state.get(place + ".mig") == "1" else 0)
        mig = ["%s.mig.%d" % (place, slot) for slot in slots]
        found += [place] + [one for one in mig if one + ".uuid" in state]
    return found


def device(state, place):
    """A GPU or MIG device as `gpus` returns it. A GPU uses what it holds itself and what its MIG devices do."""
    total, gpu = state.get(place + ".memory.total"), place.partition(".")[0]
    holders = processes(state, place)
    mig = [device(state, one) for one in places(state) if one.startswith(place + ".mig.")]
    used = int(state.get(place + ".memory.base", 0)) + sum(one["used"] for one in mig)
    used += sum(p["bytes"] or 0 for p in holders if p["alive"])
    free = None if total is None else max(0, int(total) - int(state.get(place + ".memory.reserved", 0)) - used)
    found = {
        "index": int(gpu[3:]),
        "place": place,
        "uuid": state.get(place + ".uuid"),
        "name": state.get(place + ".name"),
    }
    found.update({"pci": state.get(gpu + ".pci"), "compute_capability": state.get(gpu + ".compute_capability")})
    found.update({"total": None if total is None else int(total), "used": used, "free": free})
    context = int(state.get(gpu + ".context", DEFAULT_CONTEXT))
    return dict(found, context=context, processes=holders, mig=mig)


def gpus(state):
    """[{index, place, uuid, name, pci, compute_capability, total, used, free, context, processes, mig}] in bytes.

    `mig` has the MIG devices of a GPU, with the same keys. A `total` of None means unified memory.
    """
    return [device(state, "gpu%d" % index) for index in range(count(state))]


def permute(state, order):
    """The state with GPU order[i] at index i.

    All keys gpuN., topology. and p2p. and the PCI address move with their GPU.
    """
    if sorted(order) != list(range(count(state))):
        raise StateError("the order %s must name each of the %d GPUs once" % (order, count(state)))
    place = dict((old, new) for new, old in enumerate(order))
    result = {}
    for key, value in state.items():
        head, _dot, rest = key.partition(".")
        if head.startswith("gpu") and head[3:].isdigit() and int(head[3:]) in place:
            key = "gpu%d.%s" % (place[int(head[3:])], rest)
        elif head in ("topology", "p2p"):
            pair = sorted(place[int(n)] for n in rest.split("."))
            key = "%s.%d.%d" % (head, pair[0], pair[1])
        result[key] = value
    return result


# --- presets -------------------------------------------------------------------------------------
# total MiB, reserved MiB (so that free is what such a card reports when idle), compute capability, NVML architecture
# and brand, W, bus width, cores.
CARDS = {
    "NVIDIA RTX A6000": (49140, 540, "8.6", 7, 1, 300, 384, 10752),
    "NVIDIA GeForce RTX 4090": (24564, 464, "8.9", 8, 5, 450, 384, 16384),
    "NVIDIA GeForce RTX 3090": (24576, 376, "8.6", 7, 5, 350, 384, 10496),
    "NVIDIA H100 80GB HBM3": (81559, 559, "9.0", 9, 2, 700, 5120, 16896),
    "NVIDIA A100-SXM4-40GB": (40960, 615, "8.0", 7, 2, 400, 5120, 6912),
    "NVIDIA GB10": (None, None, "12.1", 10, 5, None, None, 6144),
}
PRESETS = {
    "none": [],
    "rtx-a6000": ["NVIDIA RTX A6000"],
    "rtx-a6000-x2": ["NVIDIA RTX A6000"] * 2,
    "rtx-4090-x2": ["NVIDIA GeForce RTX 4090"] * 2,
    "mixed": ["NVIDIA GeForce RTX 3090", "NVIDIA RTX A6000"],
    "h100-x8": ["NVIDIA H100 80GB HBM3"] * 8,
    "gb10": ["NVIDIA GB10"],
    "a100-mig": ["NVIDIA A100-SXM4-40GB"],
}


def _card(index, name):
    _total, _reserved, capability, architecture, brand, _watts, _bus_width, cores = CARDS[name]
    values = {
        "uuid": "GPU-%08x-1111-2222-3333-%012x"
        % (0x6A5E0000 + index, 0x444400000000 + sum(name.encode()) * 256 + index),
        "name": name,
        "pci": "%04x:%02x:00.0"
        % (0xF if name.endswith("GB10") else 0, (1, 0x41, 0x81, 0xC1, 0x21, 0x61, 0xA1, 0xE1)[index]),
        "minor": index,
        "brand": brand,
        "architecture": architecture,
        "cores": cores,
        "compute_capability": capability,
        "vbios": "94.02.5c.00.0%d" % index,
        "compute_mode": 0,
        "persistence": 1,
        "virtualization": 0,
        "display": 0,
        "numa": -1,
        "utilization": 0,
        "utilization.memory": 0,
        "pstate": 8,
        "throttle": 1,
        "temperature": 34 + index,
        "clock.graphics": 210,
        "clock.sm": 210,
        "pcie.gen": 1,
        "pcie.width": 16,
        "pcie.max_gen": 4,
        "pcie.max_width": 16,
        "cpu_affinity": "ffff",
        "context": DEFAULT_CONTEXT,
        "recovery_action": 0,
        "addressing": 0,
    }
    if CARDS[name][0] is None:
        # One memory for CPU and GPU: both memory calls are not supported, and most of the management functions neither.
        for key in ("pcie.gen", "pcie.width", "pcie.max_gen", "pcie.max_width"):
            values.pop(key)
        values["addressing"] = 2
    else:
        values.update(_own_memory(index, name))
    return values


def _own_memory(index, name):
    """Further values of a card with memory of its own."""
    total, reserved, _capability, _architecture, brand, watts, bus_width, _cores = CARDS[name]
    values = {
        "memory.total": total * MIB,
        "memory.reserved": reserved * MIB,
        "memory.base": 0,
        "bus_width": bus_width,
        "bar1.total": 256 * MIB,
        "bar1.used": 2 * MIB,
        "temperature.slowdown": 93,
        "temperature.shutdown": 98,
        "power": 22000,
        "power.limit": watts * 1000,
        "power.default": watts * 1000,
        "clock.memory": 405,
        "clock.max.graphics": 2100,
        "clock.max.sm": 2100,
        "clock.max.memory": 8001,
    }
    if brand == 5:  # GeForce
        return values
    values.update({"ecc": 0, "ecc.pending": 0})
    if name != "NVIDIA RTX A6000":
        values.update({"mig": 0, "mig.pending": 0})
    values.update({"remapped": "0 0 0 0", "serial": "13201210%05d" % index, "part_number": "900-5G133-2200-000"})
    if name != "NVIDIA RTX A6000":
        values.update({"ecc": 1, "ecc.pending": 1, "bar1.total": 65536 * MIB})
        values.update({"ecc.volatile": 0, "ecc.aggregate": 0, "ecc.corrected": 0})
    return values


def preset(name):
    """The complete state of a named machine; StateError for an unknown name."""
    if name not in PRESETS:
        raise StateError("unknown preset %s: one of %s" % (name, ", ".join(PRESETS)))
    cards = PRESETS[name]
    state = {"driver.version": "580.95.05", "driver.cuda": "13000", "driver.nvml": "13.580.95.05"}
    state["gpus"] = str(len(cards))
    for index, card in enumerate(cards):
        for key, value in _card(index, card).items():
            state["gpu%d.%s" % (index, key)] = str(value)
    linked = {"rtx-a6000-x2": (4, 14062), "h100-x8": (18, 26562)}.get(name)
    for a in range(len(cards)):
        if linked:
            state.update({"gpu%d.nvlink.links" % a: str(linked[0]), "gpu%d.nvlink.speed" % a: str(linked[1])})
            for link in range(linked[0]):
                state["gpu%d.nvlink.%d.remote" % (a, link)] = state[
                    "gpu%d.pci" % (1 - a if len(cards) == 2 else (a + 1 + link % 7) % 8)
                ]
        for b in range(a + 1, len(cards)):
            state["topology.%d.%d" % (a, b)] = "40" if a // 4 == b // 4 else "50"
            state["p2p.%d.%d" % (a, b)] = "1" if name in ("rtx-4090-x2", "mixed") else "0"
    if name == "a100-mig":
        state.update({"gpu0.mig": "1", "gpu0.mig.pending": "1", "gpu0.mig.max": "7"})
        state.pop("gpu0.utilization"), state.pop("gpu0.utilization.memory")
        for slot, instance in ((0, 1), (2, 2)):  # slot 1 is a hole, as left by a destroyed instance
            for key, value in {
                "uuid": "MIG-%08x-1111-5222-8333-444444444444" % (0xC0DE0000 + slot),
                "name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
                "gi": instance,
                "ci": 0,
                "slices": 3,
                "sm": 42,
                "memory.total": 20096 * MIB,
                "memory.base": 19 * MIB,
            }.items():
                state["gpu0.mig.%d.%s" % (slot, key)] = str(value)
    return state


# --- commands ------------------------------------------------------------------------------------


def parse_bytes(text):
    """'10G', '512M', '300K' or a plain number -> bytes."""
    factor = {"K": 1024, "M": MIB, "G": GIB}.get(text[-1:].upper(), 1)
    try:
        return int(float(text[:-1]) * factor) if factor > 1 else int(text)
    except ValueError:
        raise StateError("%s is not a number of bytes (10G, 512M, 12345)" % text)


def start_sleeper(name):
    """Start a detached process that only sleeps; return its pid."""
    return subprocess.Popen(
        [sys.executable, "-c", SLEEPER, name],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    ).pid


def end_sleeper(pid):
    """End a process that start_sleeper started, recognised by its command line, and no other; wait until it is gone.

    On a busy machine a killed process is there for a while.
    """
    deadline = time.monotonic() + 60
    with contextlib.suppress(OSError):
        with open("/proc/%d/cmdline" % pid, "rb") as stream:
            if SLEEPER.encode() not in stream.read():
                return
        os.kill(pid, signal.SIGKILL)
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.01)


def remove_process(state, pid):
    """Drop every line of a pid."""
    for key in [k for k in state if k.startswith("gpu") and k.endswith((".process.%d" % pid, ".busy.%d" % pid))]:
        del state[key]


def add_process(path, gpu, size, pid=None, name="foreign"):
    """Enter a process that uses `size` bytes on a GPU ("1") or MIG device ("0.mig.2").

    Without a pid, a process is started. Returns the pid.
    """
    with edit(path) as state:
        if "gpu%s" % gpu not in places(state):
            raise StateError("there is no GPU %s: the host has %s" % (gpu, ", ".join(places(state)) or "none"))
        pid = pid or start_sleeper(name)
        state["gpu%s.process.%d" % (gpu, pid)] = "%d C %s" % (size, name)
    return pid


def set_lie(path, name, factor=None):
    """Set the lie, or remove it (name 'off')."""
    if name not in ("off", *LIES, *BLIND, *ANSWER_LIES):
        raise StateError("unknown lie %s: one of %s, or off" % (name, ", ".join((*LIES, *BLIND, *ANSWER_LIES))))
    with edit(path) as state:
        if "engine.lie.pid" in state:
            remove_process(state, int(state["engine.lie.pid"]))
            end_sleeper(int(state["engine.lie.pid"]))
        blind = [key for keys, _lie in BLIND.values() for key in keys]
        for key in ["engine.lie", "engine.lie.factor", "engine.lie.pid"] + blind:
            state.pop(key, None)
        keys, lie = BLIND.get(name, ({}, None if name == "off" else name))
        state.update(keys)
        if lie:
            state["engine.lie"] = lie
        if factor:
            state["engine.lie.factor"] = str(float(factor))
        if lie in ("foreign", "busy_other"):
            state["engine.lie.pid"] = str(start_sleeper("somebody-else"))


def _process(path, arguments):
    if arguments[:1] == ["remove"] and len(arguments) == 2:
        with edit(path) as state:
            pids = set(p["pid"] for place in places(state) for p in processes(state, place))
            for pid in pids if arguments[1] == "all" else [int(arguments[1])]:
                remove_process(state, pid)
                end_sleeper(pid)
        return
    options = dict(zip(arguments[3::2], arguments[4::2]))
    if arguments[:1] != ["add"] or len(arguments) % 2 == 0 or set(options) - {"--pid", "--name"}:
        raise StateError("say: process add GPU BYTES [--pid P] [--name N], or process remove PID|all")
    pid, name = int(options.get("--pid", 0)), options.get("--name", "foreign")
    print(add_process(path, arguments[1], parse_bytes(arguments[2]), pid, name))


def main(arguments):
    """Run one command; returns the exit status."""
    path = state_path()
    if arguments[:1] == ["--state"]:
        path, arguments = arguments[1], arguments[2:]
    command, rest = (arguments + ["help"])[0], arguments[1:]
    if command == "preset" and len(rest) == 1:
        fresh = preset(rest[0])
        with edit(path, new=True) as state:
            state.update(fresh)
    elif command == "set" and rest and len(rest) % 2 == 0:
        with edit(path) as state:
            state.update(zip(rest[::2], rest[1::2]))
    elif command == "unset" and rest:
        with edit(path) as state:
            for key in rest:
                state.pop(key, None)
    elif command == "get" and len(rest) == 1:
        value = (load(path) or {}).get(rest[0])
        if value is None:
            return 1
        print(value)
    elif command == "process":
        _process(path, rest)
    elif command == "lie" and len(rest) in (1, 2):
        set_lie(path, *rest)
    elif command == "permute" and len(rest) == 1:
        with edit(path) as state:
            changed = permute(state, [int(n) for n in rest[0].split(",")])
            state.clear()
            state.update(changed)
    elif command == "remove" and not rest:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    elif command == "dump" and not rest:
        state = load(path)
        print(json.dumps({"path": path, "state": state, "gpus": gpus(state or {})}, indent=1))
    else:
        raise StateError("unknown command %s: see tests/rig/gpus/README.md, Commands" % " ".join(arguments))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (StateError, ValueError) as error:
        print("state.py: %s" % error, file=sys.stderr)
        sys.exit(2)
