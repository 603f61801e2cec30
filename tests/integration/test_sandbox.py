# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What systemd keeps an instance from: other hosts than its peers, and, in a mistaken unit, the nodes of its GPUs."""

from __future__ import annotations

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.integration.protections import Host
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import podman

pytestmark = pytest.mark.hosts

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 11434), 2)"


def address_of(host):
    """The address by which the others reach a host."""
    return on(host, "hostname", "-I").split()[0]


def connects(host, address):
    """Whether a host can connect to the first instance at an address."""
    command = ["exec", fleet.container_name(SET, host), "python3", "-c", CONNECT, address]
    return podman(*command, check=False).returncode == 0


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    fleet.up(SET, {"served": "rtx-4090-x2", "friend": "none", "other": "none"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site = Site(collections, tmp_path_factory.mktemp("sandbox"))
        site.inventory(
            {"served": {}},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True}],
            ollama_multigpu_listen_address="0.0.0.0",
            ollama_multigpu_acknowledged=["listen_address"],
            ollama_multigpu_peers=[address_of("friend")],
        )
        site.play("site")
        yield site
    finally:
        fleet.down(SET)


def test_only_peers_reach_an_instance(site):
    """The unit itself keeps others out, whatever the host's firewall says. What the host fetches comes all the same."""
    served = address_of("served")
    assert connects("served", "127.0.0.1") and connects("friend", served)
    assert not connects("other", served)


@pytest.fixture(name="guarded")
def _guarded(site):
    return Host(fleet.container_name(SET, "served"), "gpu0")


@pytest.mark.parametrize("node", ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"])
def test_a_hidden_device_node_is_the_finding(guarded, node):
    """The check names the node, before it says that the model runs on the CPU; and it is fine with all nodes."""
    nodes = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"} - {node}
    drop_in = "/run/systemd/system/ollama@gpu0.service.d"
    lines = ["[Service]", "DeviceAllow=", *("DeviceAllow=%s rw" % one for one in sorted(nodes))]
    guarded.sh("mkdir -p %s; cat > %s/nodes.conf" % (drop_in, drop_in), "\n".join(lines).encode())
    try:
        told = _checked(guarded)
        assert "gpu_not_seen: the service ollama@gpu0.service cannot open %s: the device policy" % node in told
        assert told.index("gpu_not_seen") < told.index("cpu_only")
    finally:
        guarded.sh("rm -r " + drop_in)
    assert "Verdict: pass" in _checked(guarded)


def _checked(guarded):
    """What the program of the host says once the instance was started again and its models are loaded."""
    guarded.restart()
    guarded.sh("systemctl start ollama-ready@gpu0.service; true")
    return guarded.sh("ollama-multigpu check 2>&1; true")
