# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""GPUs of a host: the preset for a short name, and the commands of the state file, run on the host."""

from __future__ import annotations

import pathlib
import re

from tests.rig.gpus import state
from tests.rig.hosts.podman import podman
from tests.rig.settings import RigError

#: A host of the command line without any GPU or driver; the preset of the same name in state.py has a driver and no
#: GPU.
NO_DRIVER = "none"


def preset_name(text: str) -> str:
    """'2xA6000' -> 'rtx-a6000-x2'; the name of a preset stays as it is.

    'none' is a host without a driver, 'no-devices' one with a driver and without a GPU.
    """
    if text in (NO_DRIVER, "no-devices") or text in state.PRESETS:
        return text
    match = re.fullmatch(r"([0-9]+)x(.+)", text)
    for name, cards in state.PRESETS.items():
        if (
            match
            and cards
            and len(cards) == int(match[1])
            and len(set(cards)) == 1
            and match[2].lower() in cards[0].lower().split()
        ):
            return name
    known = ", ".join(name for name in state.PRESETS if name != NO_DRIVER)
    raise RigError(
        f"'{text}' names no GPUs of the rig: write 2xA6000, 2x4090, none (no driver), "
        f"no-devices (a driver and no GPU), or one of {known}."
    )


#: Puts a directory with the GPUs of the state file in the place of the machine's PCI bus, which a container shows. It
#: is the bus at the time of the preset: what is done to the driver afterwards does not change it.
_BUS = """
d=/run/gpu-rig/pci
mkdir -p $d && rm -rf $d/*
for address in "$@"; do
    mkdir $d/$address && echo 0x10de > $d/$address/vendor && echo 0x030200 > $d/$address/class
done
mountpoint -q /sys/bus/pci/devices || mount --bind $d /sys/bus/pci/devices
"""


def set_bus(container: str) -> None:
    """Show the GPUs of a host's state file on its PCI bus, and no other devices; none without a state file."""
    listed = podman("exec", container, "sh", "-c", "cat /dev/shm/gpu-rig/state 2>/dev/null || true").stdout.decode()
    addresses = [gpu["pci"] for gpu in state.gpus(state.parse(listed))]
    podman("exec", container, "sh", "-c", _BUS, "sh", *addresses)


def run(container: str, *arguments: str) -> str:
    """Run a command of tests/rig/gpus/state.py on a host and return its
    output; RigError with its message if it fails.
    """
    done = podman(
        "exec",
        "-i",
        container,
        "python3",
        "-",
        *arguments,
        stdin=pathlib.Path(state.__file__).read_bytes(),
        check=False,
        timeout=300,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise RigError(
            f"The GPU state of {container} did not take '{' '.join(arguments)}': "
            f"{reason[-1].removeprefix('state.py: ')}"
        )
    if arguments[0] == "preset":
        set_bus(container)
    return done.stdout.decode()
