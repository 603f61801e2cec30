# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What ufw and firewalld say of their rules, in their own words, and what they are told."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Difference, Opening, Place
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import firewall_managers, systemd
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.firewall_managers import commands

from tests.unit.plugins.module_utils.host.test_firewalld_zones import (
    IN_FILES,
    OTHERS,
    OURS_IN_FILE,
    OWN,
    ZONE,
    zone_file,
)

RUNNING = {paths.FIREWALLD_UNIT: {"ActiveState": "active"}}
COMMENT = b"gpufleet.ollama".hex()
#: As ufw 0.36.2 writes them; rules below each line are left out.
USER_RULES = f"""\
*filter
### RULES ###

### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow tcp 11434:11435 0.0.0.0/0 any 192.0.2.0/24 in comment={COMMENT}
-A ufw-user-input -p tcp -m multiport --dports 11434:11435 -s 192.0.2.0/24 -j ACCEPT
### tuple ### deny_log tcp 11434 0.0.0.0/0 any 198.51.100.7 in
### tuple ### deny tcp 11435 0.0.0.0/0 any 198.51.100.7 in comment={COMMENT}
### tuple ### allow tcp 80,443 0.0.0.0/0 any 198.51.100.8 in comment=6f7468657273
### tuple ### allow tcp 11434 0.0.0.0/0 any 198.51.100.10 in comment=676
### tuple ### allow tcp 11434 0.0.0.0/0 any 198.51.100.11 in comment={COMMENT.upper()}
### tuple ### allow tcp 11434 0.0.0.0/0 any 198.51.100.12 in comment={COMMENT}0
### tuple ### allow tcp 11434 0.0.0.0/0 any 198.51.100.9 in_eth0 comment={COMMENT}
### tuple ### allow tcp 11434 192.0.2.1 any 198.51.100.9 in
### tuple ### route:allow tcp 11434 0.0.0.0/0 any 198.51.100.9 in
### tuple ### allow udp 11434 0.0.0.0/0 any 198.51.100.9 in
"""
USER6_RULES = f"### tuple ### allow tcp 11434 ::/0 any 2001:db8::/64 in comment={COMMENT}\n"
OURS_6 = Opening("2001:db8::/64", "11434")


def written(root, files):
    """A root with files, and with ufw."""
    for path, text in dict(files, **{"usr/sbin/ufw": ""}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (root / "usr/sbin/ufw").chmod(0o755)
    return root


def ufw(root, enabled="yes", ipv6="yes", kernel=True):
    """A root with ufw, on a kernel with or without IPv6."""
    if kernel:
        (root / "proc/sys/net/ipv6").mkdir(parents=True)
    files = {"user.rules": USER_RULES, "user6.rules": USER6_RULES, "ufw.conf": "# ENABLED=x\nENABLED=%s\n" % enabled}
    text = {"etc/ufw/" + name: content for name, content in files.items()}
    return written(root, dict(text, **{"etc/default/ufw": "IPV6=%s\n" % ipv6}))


def zone_files(root, *rules):
    """A root with firewalld, and with these rules in the file of a zone."""
    written(root, {"etc/firewalld/zones/lan.xml": zone_file(*rules), "usr/bin/firewall-offline-cmd": ""})
    (root / "usr/bin/firewall-offline-cmd").chmod(0o755)


def known(units, root):
    """The places of a host on which all are known."""
    places, problem = firewall_managers.places(units, str(root))
    assert problem is None
    return places


def test_rules_of_ufw(tmp_path):
    (place,) = known({}, ufw(tmp_path))
    held = [("0.0.0.0/0", "22"), ("198.51.100.7", "11434"), ("198.51.100.7", "11435")]
    # A comment that says something else, or nothing, is one of others, and ufw replaces the rule of the same network.
    held += [("198.51.100.%d" % number, "11434") for number in (10, 11, 12)]
    ours = (Opening("192.0.2.0/24", "11434-11435"), OURS_6)
    assert place == Place("ufw", own=ours, held=tuple(Opening(*one) for one in held))


@pytest.mark.parametrize(
    ("settings", "kernel", "active", "opens", "shut", "kept"),
    [
        (("yes", "yes"), True, True, (4, 6), (), ()),
        (('"yes"', "YES"), True, True, (4, 6), (), ()),
        (("yes", "yes"), False, True, (4,), (), (OURS_6,)),
        (("yes", "no"), True, True, (4,), (6,), (OURS_6,)),
        (("yes", "no"), False, True, (4,), (), (OURS_6,)),
        (("no", "no"), True, False, (4,), (), (OURS_6,)),
        (("no", "yes"), True, False, (4, 6), (), ()),
        (("yes", "no\nIPV6=yes"), True, True, (4, 6), (), ()),  # the last one counts
    ],
)
def test_what_ufw_has_to_open_and_cannot_take_away(tmp_path, settings, kernel, active, opens, shut, kept):
    (place,) = known({}, ufw(tmp_path, *settings, kernel))
    assert (place.active, place.opens, place.shut, place.kept) == (active, opens, shut, kept)
    assert len(place.own) + len(kept) == 2
    assert not kept or ("Set IPV6=yes" in place.why_kept) == kernel and "/etc/ufw/user6.rules" in place.why_kept


def test_an_ufw_that_is_not_in_force_is_no_place_without_openings(tmp_path):
    ufw(tmp_path, "no", "no")
    (tmp_path / "etc/ufw/user.rules").write_text("", encoding="utf-8")
    assert [place.kept for place in known({}, tmp_path)] == [(OURS_6,)]
    (tmp_path / "etc/ufw/user6.rules").unlink()
    assert known({}, tmp_path) == []
    (tmp_path / "etc/ufw/ufw.conf").write_text("ENABLED=yes", encoding="utf-8")
    assert known({}, tmp_path)
    (tmp_path / "usr/sbin/ufw").unlink()  # the package is removed, and its files are left
    assert known({}, tmp_path) == []


def firewalld(monkeypatch, now, lasting):
    """What firewall-cmd answers."""
    answers = {("firewall-cmd", "--list-all-zones"): now, ("firewall-cmd", "--permanent", "--list-all-zones"): lasting}

    def ask(command, timeout):
        return 0, answers[(command[0].rsplit("/", 1)[1], *command[1:])], ""

    monkeypatch.setattr(firewall_managers, "ask", ask)


def test_rules_of_firewalld_now_and_after_a_reboot(tmp_path, monkeypatch):
    mine = OWN % (4, "192.0.2.0/24", "11434-11435") + OWN % (6, "2001:db8::/64", "11434") + OTHERS
    plain = ZONE % ("public", "default", "", "", mine)
    firewalld(monkeypatch, ZONE % ("public (active)", "default", "eth0", "", ""), plain)
    assert known(RUNNING, tmp_path) == [
        Place("firewalld", "public", lasting=False),
        Place("firewalld", "public", own=(Opening("192.0.2.0/24", "11434-11435"), Opening("2001:db8::/64", "11434"))),
    ]


@pytest.mark.parametrize(
    ("head", "target", "interfaces", "sources", "opens"),
    [
        ("lan (active)", "default", "eth1", "", True),
        ("lan", "default", "eth1", "", True),
        ("lan (active)", "default", "", "198.51.100.0/24", True),
        # Whom an administrator keeps out altogether stays out; by an interface clients come.
        ("lan (active)", "DROP", "", "198.51.100.0/24", False),
        ("lan (active)", "%%REJECT%%", "", "198.51.100.0/24", False),
        ("lan (active)", "DROP", "eth1", "", True),
        ("lan", "default", "", "", False),
        # Everybody comes through already.
        ("docker (active)", "ACCEPT", "docker0", "", False),
        ("trusted (active)", "ACCEPT", "", "198.51.100.0/24", False),
    ],
)
def test_zones_by_which_clients_come(tmp_path, monkeypatch, head, target, interfaces, sources, opens):
    zones = ZONE % (head, target, interfaces, sources, "") + ZONE % ("public", "DROP", "", "", "")
    firewalld(monkeypatch, zones, ZONE % ("public", "DROP", "", "", ""))
    written(tmp_path, {"etc/firewalld/firewalld.conf": "# DefaultZone=x\nDefaultZone=public\n"})
    found = [(place.zone, place.lasting) for place in known(RUNNING, tmp_path)]
    assert found == [(head.split()[0], False)] * opens + [("public", False), ("public", True)]


def test_a_zone_that_accepts_everything_from_the_next_start_on_is_opened_until_then(tmp_path, monkeypatch):
    firewalld(monkeypatch, ZONE % ("public", "default", "", "", ""), ZONE % ("public", "ACCEPT", "", "", ""))
    assert [place.lasting for place in known(RUNNING, tmp_path)] == [False]


def test_an_opening_in_a_zone_that_is_not_used_any_more_is_known(tmp_path, monkeypatch):
    zones = ZONE % ("old", "default", "", "", OWN % (4, "192.0.2.7", "1")) + ZONE % ("public", "default", "", "", "")
    firewalld(monkeypatch, zones, ZONE % ("public", "default", "", "", ""))
    (old, *_others) = known(RUNNING, tmp_path)
    assert (old.zone, old.opens, old.own) == ("old", (), (Opening("192.0.2.7", "1"),))


def test_files_of_zones_say_what_a_firewalld_that_does_not_run_has(tmp_path, monkeypatch):
    monkeypatch.setattr(firewall_managers, "ask", lambda command, timeout: pytest.fail("nobody is asked"))
    zone_files(tmp_path, OURS_IN_FILE)
    assert known({}, tmp_path) == [Place("firewalld", "lan", active=False, own=IN_FILES)]
    (tmp_path / "usr/bin/firewall-offline-cmd").unlink()  # the package is removed, and its files are left
    assert known({}, tmp_path) == []


@pytest.mark.parametrize("rules", [OURS_IN_FILE, ""])
@pytest.mark.parametrize(
    "answer", [(252, "", "FirewallD is not\nrunning\n"), FileNotFoundError("no"), TimeoutError("late")]
)
def test_of_a_firewalld_that_does_not_answer_its_files_are_known(tmp_path, monkeypatch, answer, rules):
    asked = []

    def ask(command, timeout):
        asked.append(timeout)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(firewall_managers, "ask", ask)
    zone_files(ufw(tmp_path), rules)
    (of_ufw, *others), problem = firewall_managers.places(RUNNING, str(tmp_path))
    assert problem.startswith("/usr/bin/firewall-cmd --list-all-zones fails: ") and of_ufw.own
    assert asked == [30]  # every run waits that long for one that hangs
    assert [(place.zone, place.opens, place.own, place.kept) for place in others] == [("lan", (), (), IN_FILES)] * bool(
        rules
    )
    assert all("Make it answer" in place.why_kept for place in others)


@pytest.mark.parametrize(("on_its_way", "then"), [("activating", "active"), ("deactivating", "activating")])
def test_a_firewalld_that_starts_is_waited_for(tmp_path, monkeypatch, on_its_way, then):
    states = iter([then, "active"])
    monkeypatch.setattr(systemd, "show", lambda units: {units[0]: {"ActiveState": next(states)}})
    monkeypatch.setattr(
        firewall_managers, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)
    )
    firewalld(monkeypatch, ZONE % ("public", "default", "", "", ""), "")
    assert [place.zone for place in known({paths.FIREWALLD_UNIT: {"ActiveState": on_its_way}}, tmp_path)] == ["public"]


def test_a_firewalld_that_does_not_come_to_its_start_is_a_problem(tmp_path, monkeypatch):
    starting = {paths.FIREWALLD_UNIT: {"ActiveState": "activating"}}
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(systemd, "show", lambda units: starting)
    passes = SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: next(clock))
    monkeypatch.setattr(firewall_managers, "time", passes)
    assert firewall_managers.places(starting, str(tmp_path)) == ([], "firewalld.service is activating for 60 seconds")


FOUR, SIX = Opening("192.0.2.0/24", "1-2"), Opening("2001:db8::9", "1")
ADD_FOUR = 'rule priority="11434" family="ipv4" source address="192.0.2.0/24" port port="1-2" protocol="tcp" accept'
ADD_SIX = 'rule priority="11434" family="ipv6" source address="2001:db8::9" port port="1" protocol="tcp" accept'


def test_ufw_is_told_each_rule():
    ufw_allow = ["allow", "proto", "tcp", "from"]
    assert commands([Difference(Place("ufw"), (FOUR,), (SIX,))]) == [
        ["/usr/sbin/ufw", *ufw_allow, "192.0.2.0/24", "to", "any", "port", "1:2", "comment", "gpufleet.ollama"],
        ["/usr/sbin/ufw", "delete", *ufw_allow, "2001:db8::9", "to", "any", "port", "1"],
    ]


def test_firewalld_is_told_all_rules_of_a_zone_at_once_and_nothing_is_reloaded():
    places = [Place("firewalld", "lan", lasting) for lasting in (False, True)]
    assert commands([Difference(place, (FOUR, SIX), (SIX,)) for place in places]) == [
        ["/usr/bin/firewall-cmd", *lasting, "--zone=lan", *("--%s-rich-rule=%s" % (verb, rule) for rule in rules)]
        for verb, rules in (("add", (ADD_FOUR, ADD_SIX)), ("remove", (ADD_SIX,)))
        for lasting in ([], ["--permanent"])
    ]


def test_what_a_firewalld_that_does_not_run_has_is_taken_away_without_it():
    found = Difference(Place("firewalld", "lan", active=False), (), (FOUR,))
    program = ["/usr/bin/firewall-offline-cmd", "--zone=lan"]
    assert commands([found]) == [[*program, "--remove-rich-rule=" + ADD_FOUR]]


def test_what_is_missing_is_opened_before_anything_is_closed_and_the_rest_goes_on_after_a_complaint(monkeypatch):
    asked = []

    def ask(command, timeout):
        asked.append(command)
        assert timeout == 120
        return len(asked) % 2, "", "ERROR: problem\nrunning\n"

    monkeypatch.setattr(firewall_managers, "ask", ask)
    found = [Difference(Place("ufw"), (FOUR,), (FOUR,)), Difference(Place("firewalld", "lan"), (SIX,), (SIX,))]
    complaints = firewall_managers.mend(found)
    assert asked == commands(found) and len(asked) == 4
    assert [("delete" in one or "--remove" in one[-1]) for one in asked] == [False, False, True, True]
    assert complaints[0].endswith("comment gpufleet.ollama fails: ERROR: problem running") and len(complaints) == 2
