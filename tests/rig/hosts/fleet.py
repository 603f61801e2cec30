# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Sets of hosts, created in parallel. Several sets can exist on one network."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import re
import shutil
import time
from collections.abc import Sequence

from tests.rig.hosts import ansible, gpus, image, limits
from tests.rig.hosts.podman import LABEL, NETWORK, containers, keep_bridge_address, network, podman, wrapper
from tests.rig.registry import background, content
from tests.rig.settings import RigError, set_directory

#: Memory of every host in bytes, until `set_memory` gives it another: that of the machine differs from one to the next,
#: and plans are held against it. A service with ProtectKernelTunables has a /proc of its own, in which it sees the
#: machine's.
MEMORY_BYTES = 512 * 1024**3
_HELD_BYTES = 16 * 1024**3  # by the system; at most a quarter of the memory
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


def parse_hosts(text: str) -> dict[str, str]:
    """'a=2xA6000,b' -> {'a': 'rtx-a6000-x2', 'b': 'none'}; a name alone has no GPU and no driver."""
    hosts = {}
    for part in filter(None, text.split(",")):
        name, unused, cards = part.partition("=")
        if not _NAME.fullmatch(name) or name in hosts:
            raise RigError(
                f"'{part}' names no new host: write --hosts name=gpus,... with small letters, digits and '-', "
                "each name once."
            )
        hosts[name] = gpus.preset_name(cards or gpus.NO_DRIVER)
    if not hosts:
        raise RigError("No host was named: write --hosts name=gpus,... , for example --hosts a=2xA6000,b=none.")
    return hosts


def container_name(set_name: str, host: str) -> str:
    """Name of a host's container."""
    return f"{set_name}-{host}"


def check_set_name(set_name: str) -> str:
    """Return the name of a set, or raise RigError when it cannot be one."""
    if not _NAME.fullmatch(set_name):
        raise RigError(
            f"'{set_name}' cannot name a set of hosts: use small letters, digits and '-', starting with a letter."
        )
    return set_name


def up(set_name: str, hosts: dict[str, str], say=print, packages: Sequence[str] = ()) -> pathlib.Path:
    """Create the hosts, replacing those of the same name, wait until systemd runs, and return the path of the
    inventory. `packages` of the distribution are installed on them as well.
    """
    base = image.ensure(image.library(), say, packages)
    network()
    hint = limits.raise_inotify()
    set_directory(set_name).mkdir(parents=True, exist_ok=True)
    for host in hosts:
        set_memory(set_name, host, MEMORY_BYTES)
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda item: _make(set_name, item, base, hint), hosts.items()))
    keep_bridge_address()
    state = load(set_name)
    state["hosts"].update(hosts)
    save(set_name, state)
    return write_inventory(set_name)


def set_memory(set_name: str, host: str, size: int) -> None:
    """Give a host another size of memory, without swap; it is there at once."""
    free = size - min(_HELD_BYTES, size // 4)
    sizes = {"MemTotal": size, "MemFree": free, "MemAvailable": free, "SwapTotal": 0, "SwapFree": 0}
    # Written in place: the host has this file, not its name.
    _memory(set_name, host).write_text(
        "".join(f"{name + ':':15} {size // 1024:>9} kB\n" for name, size in sizes.items())
    )


def _memory(set_name: str, host: str) -> pathlib.Path:
    return set_directory(set_name) / f"meminfo-{host}"


def _make(set_name: str, named: tuple[str, str], base: str, hint: str) -> None:
    """Create the host of (name, preset); `hint` is a reason why it may fail on this machine."""
    host, preset = named
    container = container_name(set_name, host)
    podman("rm", "-f", "-t", "0", container, check=False)
    podman(
        "run",
        "-d",
        "--name",
        container,
        "--hostname",
        host,
        "--label",
        f"{LABEL}={set_name}",
        "--label",
        f"gpufleet.rig.host={host}",
        "--privileged",
        "--systemd=always",
        "--cgroupns=private",
        "--network",
        NETWORK,
        "--dns=127.0.0.1",
        f"--volume={_memory(set_name, host)}:/proc/meminfo:ro",
        f"--pidfile={set_directory(set_name) / ('pid-' + host)}",
        base,
    )
    # Exit status 1 also means 'degraded'; the word on stdout is what counts. Before D-Bus answers it fails at once: the
    # loop waits.
    waited = (
        podman(
            "exec",
            container,
            "sh",
            "-c",
            "for i in $(seq 2000); do s=$(systemctl is-system-running --wait 2>/dev/null); "
            "case $s in running|degraded) break;; esac; sleep 0.05; done;"
            " echo $s; systemctl --failed --no-legend --plain",
            timeout=300,
        )
        .stdout.decode()
        .split("\n", 1)
    )
    if waited[0] != "running":
        raise RigError(
            f"systemd on host {host} ended its start as '{waited[0]}': "
            f"{waited[1].strip() or 'look at podman logs ' + container}{hint and '; ' + hint}"
        )
    if preset == gpus.NO_DRIVER:
        podman("exec", container, "rm", "-f", image.library_path())
        gpus.set_devices(container)
    else:
        gpus.run(container, "preset", gpus.NO_DRIVER if preset == "no-devices" else preset)


def reboot(set_name: str, host: str, driver_after: float = 2.0, without: int = 0) -> None:
    """Stop a host, if it runs, and start it again. Files stay, and what lies in /run and /dev/shm is gone, as after a
    reboot.

    It does not wait until systemd has started everything.

    Args:
        set_name: the set.
        host: its name.
        driver_after: seconds after the start until the GPUs are there, as a driver comes some time after systemd.
        without: how many GPUs, the last ones, are not there any more.
    """
    container = require_host(set_name, host)
    podman("stop", "-t", "60", container, timeout=300)
    podman("start", container)
    keep_bridge_address()
    time.sleep(driver_after)
    # Elsewhere first: a GPU that is not there any more is there at no moment.
    draft, place = "/dev/gpu-rig-draft", "/dev/gpu-rig"
    there = ("--state", draft + "/state")
    gpus.run(container, *there, "preset", load(set_name)["hosts"][host])
    if without:
        gpus.run(container, *there, "set", "gpus", str(int(gpus.run(container, *there, "get", "gpus")) - without))
    gpus.set_devices(container, draft + "/state")
    podman("exec", container, "mv", "-T", draft, place)


def kill(set_name: str, host: str) -> None:
    """Kill all processes of a host at once, as a power cut does. `reboot` starts it again."""
    podman("kill", "--signal", "KILL", require_host(set_name, host))


def down(set_name: str, hosts: list[str] | None = None) -> list[str]:
    """Remove the named hosts, or the whole set with its server and files; return the names of the removed hosts."""
    there = [item for item in containers(set_name) if hosts is None or item["host"] in hosts]
    if there:
        podman("rm", "-f", "-t", "0", *(item["container"] for item in there))
    if hosts is None:
        background.stop(server_state(set_name))
        shutil.rmtree(set_directory(set_name), ignore_errors=True)
    else:
        state = load(set_name)
        state["hosts"] = {name: preset for name, preset in state["hosts"].items() if name not in hosts}
        save(set_name, state)
        write_inventory(set_name)
    return [item["host"] for item in there]


def serve(set_name: str, port: int = 0, versions: list[str] | None = None, say=print) -> dict:
    """Start the registry and release server of the set on the gateways of the network and on loopback.

    Returns its addresses for users and inventories: {'rig_registry': 'address:port', 'rig_registry_url',
    'rig_release_url' (a directory), 'rig_archive_url', 'rig_checksum_url', 'rig_checksum' (the archive's SHA-256),
    'rig_version', 'rig_checksums' {version: SHA-256}}. `versions` are those of Ollama; the first one is meant here. One
    written as VERSION=FAULT is a release that fails.
    """
    directory = set_directory(set_name) / "served"
    versions = versions or [content.default_version()]
    variables = content.prepare(directory, versions, say)
    sums = content.checksums(directory, versions)
    running = background.start(directory, server_state(set_name), [*network(), "127.0.0.1"], port)
    url = f"http://{running['addresses'][0]}:{running['port']}"
    variables = {name: f"{url}/{path}" for name, path in variables.items()}
    variables.update(rig_registry=url.removeprefix("http://"), rig_registry_url=url)
    first = content.number(versions[0])
    variables.update(rig_version=first, rig_checksum=sums[first], rig_checksums=sums)
    state = load(set_name)
    state["variables"].update(variables)
    save(set_name, state)
    write_inventory(set_name)
    return variables


def server_state(set_name: str) -> pathlib.Path:
    """State file of the set's server (for registry.background)."""
    return set_directory(set_name) / "server.json"


def require_server(set_name: str) -> dict:
    """The state of the set's server; RigError if it does not run."""
    running = background.status(server_state(set_name))
    if not running:
        raise RigError(f"No server runs for the set '{set_name}': start it with 'serve'.")
    return running


def load(set_name: str) -> dict:
    """State of a set: {'hosts': {name: preset}, 'variables': {name: value for the inventory}}."""
    path = set_directory(set_name) / "set.json"
    return json.loads(path.read_text()) if path.is_file() else {"hosts": {}, "variables": {}}


def save(set_name: str, state: dict) -> None:
    """Write the state of a set."""
    path = set_directory(set_name) / "set.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(state, indent=1))


def write_inventory(set_name: str) -> pathlib.Path:
    """Write the inventory of a set from its state and return its path."""
    state = load(set_name)
    path = set_directory(set_name) / "inventory.yml"
    ansible.write_inventory(
        path, {host: container_name(set_name, host) for host in state["hosts"]}, wrapper(), state["variables"]
    )
    return path


def require_host(set_name: str, host: str) -> str:
    """Container of a host of the set; RigError when there is none."""
    known = {item["host"]: item["container"] for item in containers(set_name)}
    if host not in known:
        raise RigError(
            f"The set '{set_name}' has no host '{host}' (it has: {', '.join(sorted(known)) or 'none'}): "
            "start it with 'up'."
        )
    return known[host]
