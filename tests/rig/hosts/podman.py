# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs podman as root, with a containers.conf of our own where the kernel needs one."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess

from tests.rig.settings import RigError, cache_root, find_program, locked, require_programs, root_prefix

NETWORK = "gpufleet-rig"
ROUTES = pathlib.Path("/proc/net/route")
LABEL = "gpufleet.rig.set"
INTERFACES = pathlib.Path("/sys/class/net")
_SET_BY_SOMEBODY = "3"  # NET_ADDR_SET of include/uapi/linux/netdevice.h

# podman lowers its own limit on processes at start; any number given later is then a forbidden raise.
# crun refuses hybrid cgroups, runc takes every kind.
CONTAINERS_CONF = """[containers]
default_ulimits = []
[engine]
runtime = "runc"
"""


def wrapper() -> pathlib.Path:
    """Write (if it differs) and return the program that runs podman as root with our settings.

    The connection plugin of Ansible takes its path, so that a playbook needs neither root nor an environment variable.
    """
    require_programs("podman", "runc", "conmon", "iptables", "ip")
    root = cache_root()
    configuration = root / "containers.conf"
    given = os.environ.get("CONTAINERS_CONF")
    if not given:
        _write_if_different(configuration, CONTAINERS_CONF)
    command = [*root_prefix(), "env", f"CONTAINERS_CONF={given or configuration}", find_program("podman")]
    program = root / "podman"
    _write_if_different(program, "#!/bin/sh\nexec " + shlex.join(command) + ' "$@"\n')
    program.chmod(0o755)
    return program


def _write_if_different(path: pathlib.Path, text: str) -> None:
    if path.is_file() and path.read_text() == text:
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(0o755)
    temporary.replace(path)


def podman(
    *arguments: str, stdin: bytes | None = None, check: bool = True, timeout: float = 300.0
) -> subprocess.CompletedProcess:
    """Run one podman command with bytes as input and output.

    RigError with the last line of podman if it fails and check is set.
    """
    try:
        done = subprocess.run(
            [str(wrapper()), *arguments],
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL if stdin is None else None,
        )
    except subprocess.TimeoutExpired as error:
        raise RigError(
            f"'podman {arguments[0]}' did not end within {timeout:.0f} s: look at 'podman ps -a' and 'podman logs'."
        ) from error
    if check and done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise RigError(f"'podman {shlex.join(arguments[:6])}' failed: {lines[-1]}")
    return done


def containers(set_name: str | None = None) -> list[dict]:
    """Containers of one set (or of all sets): name, set, host, state."""
    filters = f"label={LABEL}" + (f"={set_name}" if set_name else "")
    listed = json.loads(podman("ps", "-a", "--filter", filters, "--format", "json").stdout or b"[]")
    return [
        {
            "container": item["Names"][0],
            "set": item["Labels"][LABEL],
            "host": item["Labels"]["gpufleet.rig.host"],
            "state": item["State"],
        }
        for item in listed
    ]


def network() -> list[str]:
    """Create the network of the rig once and return its gateways, two addresses of the controller that every host can
    reach.

    Two, because the real client accepts a redirect of the registry only to another host name than that of its request.
    """
    with locked("network"):
        if podman("network", "exists", NETWORK, check=False).returncode:
            podman("network", "create", "--disable-dns", *_subnets(), NETWORK)
    return [subnet["gateway"] for subnet in _inspected()["subnets"]]


def keep_bridge_address() -> None:
    """Let the bridge of the network keep the hardware address that it has now, whatever host comes or goes.

    Without an address of its own it has the lowest one of its ports (Linux, net/bridge/br_stp_if.c,
    br_stp_recalculate_bridge_id). When the host of that port goes, all others send to an address that nobody has, until
    their kernels ask for the new one: for up to 70 seconds none of them reaches the controller. The bridge exists only
    while a host runs, so call it after each start of hosts, before they are used.
    """
    bridge = INTERFACES / _inspected()["network_interface"]
    try:
        kept = (bridge / "addr_assign_type").read_text().strip() == _SET_BY_SOMEBODY
        address = (bridge / "address").read_text().strip()
    except FileNotFoundError:  # no host runs any more: the one that was started has ended
        return
    if kept:
        return
    command = [*root_prefix(), find_program("ip"), "link", "set", "dev", bridge.name, "address", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"The bridge {bridge.name} cannot be given the address {address}: {done.stderr.strip()}")


def _inspected() -> dict:
    return json.loads(podman("network", "inspect", NETWORK).stdout)[0]


def _subnets() -> list[str]:
    """Two free private subnets: the first pair that no route of this machine overlaps."""
    taken = {line.split()[1] for line in ROUTES.read_text().splitlines()[1:]}
    for third in range(66, 250, 2):
        pair = [(10, 89, third), (10, 89, third + 1)]
        if not any("00" + "".join(f"{byte:02X}" for byte in reversed(subnet)) in taken for subnet in pair):
            return [word for subnet in pair for word in ("--subnet", ".".join(map(str, subnet)) + ".0/24")]
    raise RigError("No free private subnet 10.89.x.0/24 is left on this machine: remove unused podman networks.")
