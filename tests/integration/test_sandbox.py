# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Who can connect to an instance that listens on a network, by its unit and by rules of the host; whom the host itself
calls; and a unit that keeps the instance from the nodes of its GPUs."""

from __future__ import annotations

import contextlib
import functools

import pytest

from tests.integration import outgoing
from tests.integration.acceptance import SET, Site, on
from tests.integration.protections import Host
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import network, podman
from tests.rig.waiting import wait_until

pytestmark = pytest.mark.hosts

VARIABLES = {
    "ollama_multigpu_models": [{"name": "tiny", "insecure": True}],
    "ollama_multigpu_listen_address": "0.0.0.0",
}
#: What the role has of rules: in the kernel, as a unit, and files.
RULES = (
    "nft list table inet ollama_multigpu 2>&-; systemctl is-enabled ollama-firewall 2>&- | grep -v not-found; "
    "ls /etc/ollama-multigpu/firewall.nft /etc/systemd/system/ollama-firewall.service "
    "/etc/systemd/system/nftables.service.d/ollama-multigpu.conf 2>&-; true"
)
RULES_FILE = "/etc/ollama-multigpu/firewall.nft"
#: (what somebody does to the rules, what is told of it).
OTHER_RULES = (
    ("nft flush chain inet ollama_multigpu input", "the table ollama_multigpu has other rules"),
    ("nft insert rule inet ollama_multigpu input accept", "the table ollama_multigpu has other rules"),
    ("nft delete table inet ollama_multigpu", "the table ollama_multigpu is missing"),
    ("sed 's/hook input/hook forward/' %s | nft -f -" % RULES_FILE, "the table ollama_multigpu has other rules"),
    (
        "sed 's/saddr [{]/saddr { 198.18.0.0-198.18.0.9,/' %s | nft -f -" % RULES_FILE,
        "others than the listed hosts may",
    ),
    ("rm " + RULES_FILE, "it is missing), and ollama@gpu0.service does not start again without them"),
)
#: A device that protections.py makes and tries to open.
OTHER_DEVICE = "/dev/protections"
STARTED = "systemctl show -P ActiveEnterTimestamp ollama@gpu0.service"
ASK = (
    "import urllib.request as u; u.urlopen('http://127.0.0.1:11434/api/generate', "
    'b\'{"model": "tiny:latest-optimized", "prompt": "x"}\').read()'
)
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
#: Gives a host an address of IPv6 (SIOCSIFADDR).
GIVE_ADDRESS = """import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    address = socket.inet_pton(socket.AF_INET6, sys.argv[1])
    fcntl.ioctl(s, 0x8916, address + struct.pack("=Ii", 64, socket.if_nametoindex("eth0")))
"""
OF_IPV6 = {"served": "fd00:89::1", "friend": "fd00:89::2", "other": "fd00:89::3"}
#: In the place of nft: loads nothing, as where the kernel lacks a module.
NO_NFT = """#!/bin/sh
case $1 in -f) echo "$2:3:1-7: Error: Could not process rule: Operation not supported" >&2; exit 1;; esac
exec /usr/sbin/nft.real "$@"
"""


def address_of(host):
    """The address by which the others reach a host."""
    return on(host, "hostname", "-I").split()[0]


def connects(host, address, port=11434):
    """Whether a host can connect to an instance, usually the first one, at an address."""
    command = ["exec", fleet.container_name(SET, host), "python3", "-c", CONNECT, address, str(port)]
    return podman(*command, check=False).returncode == 0


def registry():
    """Where the rig's server is, which has the models and the releases: at either address of the controller."""
    return {(address, "tcp", fleet.require_server(SET)["port"]) for address in network()}


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    fleet.up(SET, {"served": "rtx-4090-x2", "friend": "none", "other": "none"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site = Site(collections, tmp_path_factory.mktemp("sandbox"))
        # Without rules of the host: what the unit does is seen.
        allowed = {"ollama_multigpu_peers": [address_of("friend")], "ollama_multigpu_acknowledged": ["listen_address"]}
        site.inventory({"served": {}}, **VARIABLES, **allowed)
        outgoing.watch(functools.partial(on, "served"), registry())
        site.play("site")
        yield site
    finally:
        fleet.down(SET)


def test_only_peers_reach_an_instance(site):
    """The unit itself keeps others out, although no rules of the host do. What the host fetches comes all the same."""
    served = address_of("served")
    assert connects("served", "127.0.0.1") and connects("friend", served)
    assert not connects("other", served)


def said(guarded, command):
    """What the program of the host says, in one line."""
    return " ".join(guarded.sh("ollama-multigpu %s 2>&1; true" % command).split())


@pytest.fixture(name="guarded")
def _guarded(site):
    return Host(fleet.container_name(SET, "served"), "gpu0")


def test_nothing_calls_out(site, guarded):
    """Only the registry and the place of the releases are called: by the first run, another one, what is run on the
    host, and the instances. Without OLLAMA_NO_CLOUD, what they would call is seen."""
    calls = functools.partial(outgoing.attempts, functools.partial(on, "served"))
    assert calls() == registry()
    site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.verify")
    guarded.load()
    guarded.sh("systemctl start ollama-check.service")
    assert "Verdict: pass" in guarded.sh("ollama-multigpu check")
    on("served", "python3", "-c", ASK)
    assert calls() == registry()

    with changed(guarded, "UnsetEnvironment=OLLAMA_NO_CLOUD"):
        guarded.restart()
        wait_until(lambda: calls() == registry() | {outgoing.OLLAMA_COM}, "the instance calls ollama.com")
    guarded.restart()
    on("served", "sh", "-c", "getent hosts example.org; true")  # a name that the host does not know
    assert outgoing.NAMES in calls()


@contextlib.contextmanager
def changed(guarded, *lines):
    """A drop-in of the instance; it is in force from its next start on, and gone after the block."""
    drop_in = "/run/systemd/system/ollama@gpu0.service.d"
    content = "\n".join(["[Service]", *lines]).encode()
    guarded.sh("mkdir -p %s; cat > %s/test.conf" % (drop_in, drop_in), content)
    try:
        yield
    finally:
        guarded.sh("rm -r " + drop_in)


@pytest.mark.parametrize("node", ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"])
def test_a_hidden_device_node_is_the_finding(guarded, node):
    """The check names the node, before it says that the model runs on the CPU; and it is fine with all nodes."""
    nodes = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"} - {node}
    with changed(guarded, "DeviceAllow=", *("DeviceAllow=%s rw" % one for one in sorted(nodes))):
        told = guarded.checked()
        assert "gpu_not_seen: the service ollama@gpu0.service cannot open %s: the device policy" % node in told
        assert told.index("gpu_not_seen") < told.index("cpu_only")
    assert "Verdict: pass" in guarded.checked()


def test_further_devices_are_allowed(site, guarded):
    """systemd takes what the unit says of them. An instance can open them, and nothing else."""
    before = _missed(guarded)
    assert "attempt-other-device" not in before
    listed = {"ollama_multigpu_allow_from": [address_of("friend"), address_of("other")]}
    devices = {"ollama_multigpu_devices": ["/dev/dri", OTHER_DEVICE]}
    site.inventory({"served": {}}, **VARIABLES, **listed, **devices)
    site.play("site")
    allowed = guarded.sh("systemctl show -P DeviceAllow ollama@gpu0.service").splitlines()
    assert {"char-nvidia* rw", "char-drm rw", OTHER_DEVICE + " rw"} <= set(allowed)
    assert "not a device" not in guarded.sh("journalctl -b --no-pager | grep -F DeviceAllow; true")
    assert _missed(guarded) - before == {"unit-DeviceAllow", "attempt-other-device"}
    assert "Verdict: pass" in guarded.checked()


def _missed(guarded):
    """Names of what protections.py finds."""
    return {line.partition(": ")[0] for line in guarded.findings()}


def test_only_listed_hosts_get_through_the_rules(site, guarded):
    """They are shown first, come back after somebody has emptied all tables, and go where they are not wanted."""
    served = address_of("served")
    site.inventory({"served": {}}, **VARIABLES, ollama_multigpu_acknowledged=["listen_address"])
    site.play("site")
    assert connects("other", served) and guarded.sh(RULES) == ""

    site.inventory({"served": {}}, **VARIABLES, ollama_multigpu_allow_from=[address_of("friend")])
    assert "Load firewall ollama-firewall.service" in site.play("site", "--check", "--diff").output
    assert connects("other", served) and guarded.sh(RULES) == ""
    site.play("site")
    assert connects("served", "127.0.0.1") and connects("served", served) and connects("friend", served)
    assert not connects("other", served)
    for command in ("start", "reload", "restart", "stop"):
        guarded.sh("systemctl %s nftables" % command)
        assert not connects("other", served), command

    for command in ("restart", "stop"):
        guarded.sh("systemctl %s ollama-firewall" % command)
        assert not connects("other", served), command
    assert site.play("site").counts["served"]["changed"] == 1  # the unit


def test_emptied_tables_are_a_finding_and_come_back(site, guarded):
    """With the next run, with the start of an instance, and with what the finding says."""
    served = address_of("served")
    assert "Verdict: pass" in guarded.sh("ollama-multigpu check")
    guarded.sh("nft flush ruleset")
    assert connects("other", served)
    for command in ("check", "status"):
        told = said(guarded, command)
        assert "open_to_others: the rules of /etc/ollama-multigpu/firewall.nft are not in force" in told
        assert "the table ollama_multigpu is missing" in told and "they keep nobody out of 0.0.0.0:11434" in told
    assert "open_to_others" in "".join(site.play("verify", expect=2).failures["served"])

    started = guarded.sh(STARTED)
    again = site.play("site")
    assert again.counts["served"]["changed"] == 1, again.output
    assert not connects("other", served) and guarded.sh(STARTED) == started
    assert site.play("site").counts["served"]["changed"] == 0

    for command in ("systemctl reload-or-restart ollama-firewall", "ollama-multigpu check --heal"):
        guarded.sh("nft flush ruleset")
        guarded.sh(command)
        assert not connects("other", served) and guarded.sh(STARTED) == started, command
    guarded.sh("nft flush ruleset")
    guarded.load()
    assert not connects("other", served)


@pytest.mark.parametrize(("change", "words"), OTHER_RULES)
def test_rules_that_somebody_has_changed_are_a_finding_and_are_healed(site, guarded, change, words):
    served, file, started = address_of("served"), guarded.sh("cat " + RULES_FILE), guarded.sh(STARTED)
    guarded.sh(change)
    told = said(guarded, "check")
    assert "open_to_others: the rules of %s are not in force (" % RULES_FILE in told and words in told, told
    guarded.sh("ollama-multigpu check --heal")
    assert "Verdict: pass" in guarded.sh("ollama-multigpu check")
    assert guarded.sh("cat " + RULES_FILE) == file and guarded.sh(STARTED) == started
    assert connects("friend", served) and not connects("other", served)


def test_what_a_heal_cannot_mend_of_the_rules_the_role_mends(site, guarded):
    """A rule that others have added, too: what the role compares is the same as what the check compares."""
    served = address_of("served")
    guarded.sh("nft insert rule inet ollama_multigpu input accept")
    assert connects("other", served)
    assert site.play("site").counts["served"]["changed"] == 1 and not connects("other", served)
    guarded.sh("rm %s; nft delete table inet ollama_multigpu" % RULES_FILE)
    told = said(guarded, "check --heal")
    assert "they keep nobody out of" in told and "are not in force either. Run the role again." in told, told
    site.play("site")
    assert "Verdict: pass" in guarded.sh("ollama-multigpu check") and not connects("other", served)


def test_an_instance_that_is_added_later_is_guarded_and_ports_that_are_given_up_are_free(site, guarded):
    """With clients of IPv6 as well."""
    for host, address in OF_IPV6.items():
        on(host, "python3", "-c", GIVE_ADDRESS, address)
    served = (address_of("served"), OF_IPV6["served"])
    allowed = {"ollama_multigpu_allow_from": [address_of("friend"), OF_IPV6["friend"]]}
    wanted = {**VARIABLES, **allowed, "ollama_multigpu_listen_address": "::"}
    one = {"ollama_multigpu_models": [{"name": "tiny", "insecure": True, "strategy": "single"}]}
    site.inventory({"served": {}}, **{**wanted, **one, "ollama_multigpu_base_port": 11440})
    site.play("site")
    assert "dport 11440 " in guarded.sh("nft list table inet ollama_multigpu")
    assert "{ 11440 }" in guarded.sh("cat /etc/ollama-multigpu/firewall.nft")

    site.inventory({"served": {}}, **wanted)
    site.play("site")
    reached = [(address, port) for address in served for port in (11434, 11435)]
    for one in reached:
        assert connects("friend", *one) and not connects("other", *one), one
    guarded.sh("nft flush ruleset")
    assert all(connects("other", *one) for one in reached), "it is the rules that keep it out"
    guarded.sh("systemctl reload ollama-firewall")
    assert "dport { 11434, 11435 }" in guarded.sh("nft list table inet ollama_multigpu")


def test_no_instance_starts_without_the_rules(site, guarded):
    """At boot, where nft fails; the host says why, and goes on by itself."""
    guarded.sh("mv /usr/sbin/nft /usr/sbin/nft.real; cat > /usr/sbin/nft; chmod 755 /usr/sbin/nft", NO_NFT.encode())
    fleet.reboot(SET, "served")
    journal = "journalctl -u ollama@gpu0.service --output=cat -b --no-pager"
    wait_until(lambda: "Operation not supported" in guarded.sh(journal), "the instance asks for its rules")
    wait_until(lambda: guarded.sh("systemctl is-failed ollama-firewall; true") == "failed\n", "the unit of the rules")
    assert not connects("other", address_of("served")) and not connects("served", "127.0.0.1")
    told = said(guarded, "status")
    assert "open_to_others" in told and "ollama@gpu0.service does not start without them" in told
    failed = " ".join(" ".join(site.play("site", expect=2).failures["served"]).split())
    assert "ollama-firewall.service" in failed

    guarded.sh("mv /usr/sbin/nft.real /usr/sbin/nft")
    wait_until(lambda: connects("served", "127.0.0.1"), "the instance starts by itself")
    assert connects("friend", address_of("served")) and not connects("other", address_of("served"))


def test_nothing_is_left_of_the_rules_by_remove(site, guarded):
    assert guarded.sh(RULES)
    site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.remove")
    assert guarded.sh(RULES) == ""
    left = "ls -d /etc/systemd/system/ollama* /etc/systemd/system/nftables* /etc/ollama-multigpu 2>&-; true"
    assert guarded.sh(left) == ""
