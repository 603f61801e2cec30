# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Rules of who may connect beside ufw and firewalld: the role lets the listed clients through there, and takes away
its own rules alone. Nothing that these do, or fail to do, opens what the role closes."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import podman
from tests.rig.waiting import wait_until

pytestmark = [pytest.mark.hosts, pytest.mark.full]

#: Networks that are listed beside the hosts of the test, and for which an administrator has rules of ufw already.
ALLOWED, DENIED, OF_IPV6 = "198.51.100.0/24", "203.0.113.0/24", "2001:db8:7::/64"
RULE = 'rule family="ipv4" source address="198.51.100.0/24" port port="11434" protocol="tcp" accept'


@dataclasses.dataclass(frozen=True)
class Manager:
    """How a manager is switched on and off, what an administrator has in it (`theirs`), what lists that (`listing`),
    what loads its rules anew, what takes the opening of the role for an address away (`spoil`), and what is done before
    the role is removed: it is, where the manager runs and where it does not."""

    on: str
    off: str
    theirs: str
    listing: str
    anew: tuple[str, ...]
    spoil: str
    at_removal: str


MANAGERS = {
    "ufw": Manager(
        on="ufw --force enable; systemctl enable --now ufw",
        off="ufw --force disable; ufw --force reset",
        theirs="ufw allow 22/tcp; ufw allow from 192.0.2.9 to any port 80,443 proto tcp comment others;"
        f"ufw allow proto tcp from {ALLOWED} to any port 11434:11435;"
        f"ufw deny proto tcp from {DENIED} to any port 11434:11435",
        listing="ufw show added; ufw status",
        anew=("ufw reload", *("systemctl %s ufw" % verb for verb in ("restart", "stop", "start"))),
        spoil="ufw delete allow proto tcp from %s to any port 11434:11435",
        at_removal="ufw status",
    ),
    "firewalld": Manager(
        on="systemctl enable --now firewalld; firewall-cmd --state",
        off="systemctl disable --now firewalld",
        # A reload would lose the last port. In a zone of sources that refuses everything, nobody is let through, and in
        # one that accepts everything, everybody is already.
        theirs="firewall-cmd --permanent --add-port=9090/tcp; firewall-cmd --add-port=9090/tcp --add-port=8080/tcp;"
        f"firewall-cmd --add-rich-rule='{RULE}'; firewall-cmd --permanent --add-rich-rule='{RULE}';"
        "firewall-cmd --zone=home --add-source=192.0.2.0/25; firewall-cmd --zone=drop --add-source=192.0.2.66;"
        "firewall-cmd --zone=trusted --add-source=192.0.2.67;"
        "firewall-cmd --permanent --zone=home --add-source=192.0.2.0/25",
        listing="firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones",
        anew=("firewall-cmd --reload", *("systemctl %s firewalld" % verb for verb in ("restart", "stop", "start"))),
        spoil='firewall-cmd --zone=public --remove-rich-rule=\'rule priority="11434" family="ipv4" '
        'source address="%s" port port="11434-11435" protocol="tcp" accept\'',
        at_removal="systemctl stop firewalld",
    ),
}
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


def address_of(host):
    """The address by which the others reach a host."""
    return on(host, "hostname", "-I").split()[0]


def connects(host, address=None, port=11434):
    """Whether a host can connect to the instance."""
    target = (address or address_of("served"), str(port))
    command = ["exec", fleet.container_name(SET, host), "python3", "-c", CONNECT, *target]
    return podman(*command, check=False).returncode == 0


def served(command, expect=0):
    """Output of a shell command on the host with the instance."""
    done = podman("exec", fleet.container_name(SET, "served"), "sh", "-c", command + " 2>&1", check=False)
    assert expect is None or done.returncode == expect, "%s\n%s" % (command, done.stdout.decode())
    return done.stdout.decode()


def rules(manager):
    """What a manager lists, in parts, each with its lines sorted: firewalld keeps the rules of a zone as a set."""
    return [sorted(part.splitlines()) for part in served(manager.listing).split("\n\n")]


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    fleet.up(SET, {"served": "rtx-4090-x2"}, say=lambda text: None, packages=("ufw", "firewalld"))
    fleet.up(SET, {"friend": "none", "other": "none"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        yield Site(collections, tmp_path_factory.mktemp("firewall-managers"))
    finally:
        fleet.down(SET)


def listed(site, *friends, port=11434):
    """List hosts that may connect, beside networks in which nobody is."""
    site.inventory(
        {"served": {}},
        ollama_multigpu_models=[{"name": "tiny", "insecure": True}],
        ollama_multigpu_listen_address="0.0.0.0",
        ollama_multigpu_base_port=port,
        ollama_multigpu_allow_from=[*(address_of(host) for host in friends), ALLOWED, DENIED, OF_IPV6],
    )


def play(site, *friends, port=11434):
    """Apply a list of hosts that may connect."""
    listed(site, *friends, port=port)
    return site.play("site")


def changed(site, *arguments):
    """How many tasks of a run change something."""
    return site.play("site", *arguments).counts["served"]["changed"]


@pytest.mark.parametrize("name", MANAGERS)
def test_rules_beside_a_manager(site, name):
    manager = MANAGERS[name]
    served(manager.on)
    served(manager.theirs)
    theirs = rules(manager)
    listed(site, "friend")
    predicted = site.play("site", "--check", "--diff")
    assert "+%s: %s to port 11434-11435" % (name, address_of("friend")) in predicted.text
    assert rules(manager) == theirs
    play(site, "friend")
    assert connects("served", "127.0.0.1") and connects("friend") and not connects("other")
    assert OF_IPV6 in served(manager.listing)
    for zone in ("drop", "trusted") if name == "firewalld" else ():
        assert "11434" not in served("firewall-cmd --zone=%s --list-all" % zone)
    assert changed(site) == 0

    _spoiled(site, manager)
    _lists(site, manager)
    assert set(sum(theirs, [])) <= set(sum(rules(manager), []))
    for command in manager.anew:
        served(command)
        assert not connects("other"), command
    assert connects("friend") and changed(site) == 0
    _ports(site, manager)
    _reboots(name)
    served(manager.at_removal)
    site.play("remove")
    assert "ollama" not in served("nft list ruleset")
    served(manager.on)
    served(manager.theirs)  # what does not last is gone since the manager was started anew
    assert rules(manager) == theirs
    served(manager.off)


def _spoiled(site, manager):
    """What somebody takes away is a change, and comes back."""
    served(manager.spoil % address_of("friend"))
    assert not connects("friend")
    _misses(site, manager)
    assert changed(site, "--check") == 1 and not connects("friend")
    assert changed(site) == 1 and connects("friend")
    assert changed(site) == 0


def _misses(site, manager):
    """For ufw it is a finding, also of the check in its sandbox, which reads its files. firewalld is not judged."""
    is_judged = manager is MANAGERS["ufw"]
    outcome = site.play("verify", expect=2 if is_judged else 0)
    found = "closed_to_clients: no rule of ufw lets %s connect to port 11434, although" % address_of("friend")
    assert (found in outcome.text) is is_judged, outcome.output
    served("systemctl start ollama-check.service || true")
    kept = json.loads(served("cat /var/lib/ollama-multigpu/verdict.json"))
    kinds = {one["finding"] for one in kept["diagnosis"]}
    assert (kept["verdict"], kinds) == (("fail", {"closed_to_clients"}) if is_judged else ("pass", set()))


def _lists(site, manager):
    """A longer list lets more through, and a shorter one leaves nothing of that."""
    play(site, "friend", "other")
    assert connects("friend") and connects("other")
    play(site, "friend")
    assert connects("friend") and not connects("other")
    assert address_of("other") not in served(manager.listing)


def _ports(site, manager):
    """Other ports are opened, and those of before no more; so it is after a rollback."""
    before = rules(manager)
    play(site, "friend", port=11500)
    assert connects("friend", port=11500) and not connects("other", port=11500)
    now = served(manager.listing)
    assert "11500" in now and OF_IPV6 in now and "11434-11500" not in now and address_of("friend") in now
    assert changed(site) == 0
    listed(site, "friend")
    site.play("rollback")
    assert connects("friend") and not connects("other")
    assert rules(manager) == before


def _reboots(name):
    """At boot, both are in force before the instance listens; and ours is where the manager is not."""
    fleet.reboot(SET, "served")
    wait_until(lambda: connects("served", "127.0.0.1"), "the instance starts")
    wait_until(lambda: served("systemctl is-active " + name, expect=None).strip() == "active", name)
    assert connects("friend") and not connects("other")
    before = "systemctl show -P Before %s.service" % name
    assert "network-pre.target" in served(before), "the manager comes before the network"
    served("systemctl mask " + name)
    fleet.reboot(SET, "served")
    wait_until(lambda: connects("served", "127.0.0.1"), "the instance starts")
    assert connects("friend") and not connects("other")
    served("systemctl unmask %s; systemctl start %s" % (name, name))


def test_ufw_without_ipv6(site):
    """It refuses clients of IPv6 and keeps openings for them, which every run and the removal say. A reload would empty
    the file of these, and a start of its service, such as at boot, does not."""
    listing = "cat /etc/ufw/user6.rules"
    served(MANAGERS["ufw"].on)
    play(site, "friend")
    assert OF_IPV6 in served(listing)
    served("sed -i s/^IPV6=yes/IPV6=no/ /etc/default/ufw; systemctl restart ufw")
    assert "so that %s cannot connect" % OF_IPV6 in play(site, "friend").text and connects("friend")
    assert changed(site) == 0
    removed = site.play("remove")
    assert "ufw keeps the opening for %s to port" % OF_IPV6 in removed.text, removed.output
    assert OF_IPV6 in served(listing) and "ollama" not in served("nft list ruleset")
    served("sed -i s/^IPV6=no/IPV6=yes/ /etc/default/ufw; ufw reload")
    site.play("remove")
    assert OF_IPV6 not in served(listing)
    served(MANAGERS["ufw"].off)


def test_a_firewalld_that_starts_late_and_one_that_does_not_answer(site):
    """The first is waited for. The second stops no removal, which says what is left."""
    manager = MANAGERS["firewalld"]
    served("mkdir -p /run/systemd/system/firewalld.service.d")
    served("printf '[Service]\\nExecStartPre=sleep 30\\n' > /run/systemd/system/firewalld.service.d/late.conf")
    served("systemctl daemon-reload; systemctl --no-block start firewalld")
    play(site, "friend")
    assert connects("friend") and not connects("other")
    assert address_of("friend") in served(manager.listing)
    served("rm -r /run/systemd/system/firewalld.service.d; systemctl daemon-reload")

    served("mv /usr/bin/firewall-cmd /root/")
    assert "firewalld keeps the opening for" in site.play("remove").text
    assert "ollama" not in served("nft list ruleset") and not connects("served", "127.0.0.1")
    served("mv /root/firewall-cmd /usr/bin/")
    site.play("remove")
    assert 'priority="11434"' not in served(manager.listing)
    served(manager.off)
