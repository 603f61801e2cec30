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


#: Gives a host the devices of its GPUs. Arguments: PCI addresses, "--", numbers of device nodes; nothing without a
#: driver.
#: A directory stands in the place of the machine's PCI bus, which a container shows. It is the bus at the time of the
#: preset: what is done to the driver afterwards does not change it. The nodes have NVIDIA's numbers and no driver, so
#: that opening one fails with ENXIO, and with EPERM where a service may not. systemd has their names from
#: /proc/devices.
_DEVICES = """
set -e
d=/run/gpu-rig/pci
mkdir -p $d && rm -rf $d/*
while [ $# -gt 0 ] && [ $1 != -- ]; do
    mkdir $d/$1 && echo 0x10de > $d/$1/vendor && echo 0x030200 > $d/$1/class
    shift
done
mountpoint -q /sys/bus/pci/devices || mount --bind $d /sys/bus/pci/devices
! mountpoint -q /proc/devices || umount /proc/devices
rm -f /dev/nvidia*
[ $# -gt 0 ] || exit 0
shift
sed 's/^Character devices:/&\\n195 nvidia\\n195 nvidiactl\\n500 nvidia-uvm/' /proc/devices > /run/gpu-rig/devices
mount --bind /run/gpu-rig/devices /proc/devices
mknod -m 666 /dev/nvidiactl c 195 255
mknod -m 666 /dev/nvidia-uvm c 500 0
for number in "$@"; do mknod -m 666 /dev/nvidia$number c 195 $number; done
"""


def set_devices(container: str, path: str = state.DEFAULT_PATH) -> None:
    """Show the GPUs of a host's state file on its PCI bus and as device nodes, and no others.

    Without a state file there is no driver. `driver.nodes` in the file tells the engine that it has to open them.
    """
    text = podman("exec", container, "sh", "-c", f"cat {path} 2>/dev/null || true").stdout.decode()
    listed = state.parse(text)
    gpus = state.gpus(listed)
    arguments = [gpu["pci"] for gpu in gpus]
    if listed:
        arguments += ["--", *(listed.get(f"gpu{gpu['index']}.minor", str(gpu["index"])) for gpu in gpus)]
        run(container, "--state", path, "set", "driver.nodes", "1")
    podman("exec", container, "sh", "-c", _DEVICES, "sh", *arguments)


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
        set_devices(container)
    return done.stdout.decode()
