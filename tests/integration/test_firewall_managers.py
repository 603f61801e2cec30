# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Rules of who may connect beside ufw: what it refuses stays refused until it is told as the role says, and nothing
that it does, or fails to do, opens what the role closes."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import podman
from tests.rig.waiting import wait_until

pytestmark = [pytest.mark.hosts, pytest.mark.full]

#: manager: (what switches it on, off, and what makes it load its rules anew).
MANAGERS = {
    "ufw": (
        "ufw --force enable; systemctl enable --now ufw",
        "ufw --force disable; ufw --force reset",
        ["ufw reload", *("systemctl %s ufw" % verb for verb in ("restart", "stop", "start"))],
    )
}
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 11434), 2)"


def address_of(host):
    """The address by which the others reach a host."""
    return on(host, "hostname", "-I").split()[0]


def connects(host, address=None):
    """Whether a host can connect to the instance."""
    command = ["exec", fleet.container_name(SET, host), "python3", "-c", CONNECT, address or address_of("served")]
    return podman(*command, check=False).returncode == 0


def served(command, expect=0):
    """Output of a shell command on the host with the instance."""
    done = podman("exec", fleet.container_name(SET, "served"), "sh", "-c", command + " 2>&1", check=False)
    assert expect is None or done.returncode == expect, "%s\n%s" % (command, done.stdout.decode())
    return done.stdout.decode()


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    fleet.up(SET, {"served": "rtx-4090-x2"}, say=lambda text: None, packages=("ufw", "firewalld"))
    fleet.up(SET, {"friend": "none", "other": "none"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        yield Site(collections, tmp_path_factory.mktemp("firewall-managers"))
    finally:
        fleet.down(SET)


def play(site, *friends):
    """Apply a list of hosts that may connect."""
    site.inventory(
        {"served": {}},
        ollama_multigpu_models=[{"name": "tiny", "insecure": True}],
        ollama_multigpu_listen_address="0.0.0.0",
        ollama_multigpu_allow_from=[address_of(host) for host in friends],
    )
    return site.play("site")


def commands(outcome, manager):
    """What the run says that has to be told to a manager."""
    found = re.search(
        r"%s manages the firewall of the host.*?If it refuses the clients: (.+?)\.(?=\s|$)" % manager, outcome.text
    )
    assert found, outcome.output
    return found.group(1).split("; ")


@pytest.mark.parametrize("manager", MANAGERS)
def test_rules_beside_a_manager(site, manager):
    on_, off, anew = MANAGERS[manager]
    served(on_)
    applied = play(site, "friend")
    assert connects("served", "127.0.0.1") and not connects("friend") and not connects("other")
    for command in commands(applied, manager):
        assert shlex.split(command)[0] in ("ufw", "firewall-cmd")
        served(command)
    assert connects("friend") and not connects("other")
    assert site.play("site").counts["served"]["changed"] == 0

    # A longer list opens nothing that the manager refuses, and a shorter one closes what the manager lets through.
    longer = play(site, "friend", "other")
    assert connects("friend") and not connects("other")
    for command in commands(longer, manager):
        served(command)
    assert connects("friend") and connects("other")
    play(site, "friend")
    assert connects("friend") and not connects("other")
    for command in anew:
        served(command)
        assert not connects("other"), command
    assert connects("friend")

    _reboots(manager)
    site.play("remove")
    assert "ollama" not in served("nft list ruleset")
    assert "Status: active" in served("ufw status")
    served(off)


def _reboots(manager):
    """At boot, both are in force before the instance listens; and ours is where the manager is not."""
    fleet.reboot(SET, "served")
    wait_until(lambda: connects("served", "127.0.0.1"), "the instance starts")
    wait_until(lambda: served("systemctl is-active " + manager, expect=None).strip() == "active", manager)
    assert connects("friend") and not connects("other")
    before = "systemctl show -P Before %s.service" % manager
    assert "network-pre.target" in served(before), "the manager comes before the network"
    served("systemctl mask " + manager)
    fleet.reboot(SET, "served")
    wait_until(lambda: connects("served", "127.0.0.1"), "the instance starts")
    assert connects("friend") and not connects("other")
    served("systemctl unmask %s; systemctl start %s" % (manager, manager))
