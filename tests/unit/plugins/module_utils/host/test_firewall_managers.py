# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What ufw and firewalld say of their rules, in their own words, and what they are told."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Difference, Opening, Place
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import firewall_managers
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.firewall_managers import ManagerError, commands

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
### tuple ### allow tcp 11434 0.0.0.0/0 any 198.51.100.9 in_eth0 comment={COMMENT}
### tuple ### allow tcp 11434 192.0.2.1 any 198.51.100.9 in
### tuple ### route:allow tcp 11434 0.0.0.0/0 any 198.51.100.9 in
### tuple ### allow udp 11434 0.0.0.0/0 any 198.51.100.9 in
"""
USER6_RULES = f"### tuple ### allow tcp 11434 ::/0 any 2001:db8::/64 in comment={COMMENT}\n"
#: As firewalld 1.3 prints them, with fewer properties.
ZONE = """\
%s
  target: %s
  icmp-block-inversion: no
  interfaces: %s
  sources: %s
  services: dhcpv6-client ssh
  rich rules: %s

"""
OWN = '\n\trule priority="11434" family="ipv%d" source address="%s" port port="%s" protocol="tcp" accept'
OTHERS = '\n\trule family="ipv4" source address="192.0.2.0/24" port port="11434" protocol="tcp" accept'


def written(root, files):
    """A root with files, and with ufw."""
    for path, text in dict(files, **{"usr/sbin/ufw": ""}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (root / "usr/sbin/ufw").chmod(0o755)
    return root


def ufw(root, enabled="yes", ipv6="yes"):
    """A root with ufw."""
    files = {"user.rules": USER_RULES, "user6.rules": USER6_RULES, "ufw.conf": "# ENABLED=x\nENABLED=%s\n" % enabled}
    text = {"etc/ufw/" + name: content for name, content in files.items()}
    return written(root, dict(text, **{"etc/default/ufw": "IPV6=%s\n" % ipv6}))


def test_rules_of_ufw(tmp_path):
    (place,) = firewall_managers.places({}, str(ufw(tmp_path)))
    assert place == Place(
        "ufw",
        own=(Opening("192.0.2.0/24", "11434-11435"), Opening("2001:db8::/64", "11434")),
        held=(Opening("0.0.0.0/0", "22"), Opening("198.51.100.7", "11434"), Opening("198.51.100.7", "11435")),
    )


@pytest.mark.parametrize(
    ("enabled", "ipv6", "active", "opens"),
    [
        ("yes", "yes", True, (4, 6)),
        ('"yes"', "YES", True, (4, 6)),
        ("yes", "no", True, (4,)),
        ("no", "no", False, (4,)),
    ],
)
def test_what_ufw_has_to_open(tmp_path, enabled, ipv6, active, opens):
    (place,) = firewall_managers.places({}, str(ufw(tmp_path, enabled, ipv6)))
    assert (place.active, place.opens, len(place.own)) == (active, opens, len(opens))


def test_an_ufw_that_is_not_in_force_is_no_place_without_openings(tmp_path):
    ufw(tmp_path, "no")
    (tmp_path / "etc/ufw/user.rules").write_text("", encoding="utf-8")
    (tmp_path / "etc/ufw/user6.rules").unlink()
    assert firewall_managers.places({}, str(tmp_path)) == []
    ufw(tmp_path)
    (tmp_path / "usr/sbin/ufw").unlink()  # the package is removed, and its files are left
    assert firewall_managers.places({}, str(tmp_path)) == []


def firewalld(monkeypatch, now, lasting):
    """What firewall-cmd answers."""
    answers = {("firewall-cmd", "--list-all-zones"): now, ("firewall-cmd", "--permanent", "--list-all-zones"): lasting}
    answers["firewall-offline-cmd", "--list-all-zones"] = lasting

    def ask(command, timeout):
        return 0, answers[(command[0].rsplit("/", 1)[1], *command[1:])], ""

    monkeypatch.setattr(firewall_managers, "ask", ask)


def test_rules_of_firewalld_now_and_after_a_reboot(tmp_path, monkeypatch):
    mine = OWN % (4, "192.0.2.0/24", "11434-11435") + OWN % (6, "2001:db8::/64", "11434") + OTHERS
    plain = ZONE % ("public", "default", "", "", mine)
    firewalld(monkeypatch, ZONE % ("public (active)", "default", "eth0", "", ""), plain)
    assert firewall_managers.places(RUNNING, str(tmp_path)) == [
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
    ],
)
def test_zones_by_which_clients_come(tmp_path, monkeypatch, head, target, interfaces, sources, opens):
    zones = ZONE % (head, target, interfaces, sources, "") + ZONE % ("public", "DROP", "", "", "")
    firewalld(monkeypatch, zones, ZONE % ("public", "DROP", "", "", ""))
    written(tmp_path, {"etc/firewalld/firewalld.conf": "# DefaultZone=x\nDefaultZone=public\n"})
    found = [(place.zone, place.lasting) for place in firewall_managers.places(RUNNING, str(tmp_path))]
    assert found == [("lan", False)] * opens + [("public", False), ("public", True)]


def test_an_opening_in_a_zone_that_is_not_used_any_more_is_known(tmp_path, monkeypatch):
    zones = ZONE % ("old", "default", "", "", OWN % (4, "192.0.2.7", "1")) + ZONE % ("public", "default", "", "", "")
    firewalld(monkeypatch, zones, ZONE % ("public", "default", "", "", ""))
    (old, *_others) = firewall_managers.places(RUNNING, str(tmp_path))
    assert (old.zone, old.opens, old.own) == ("old", (), (Opening("192.0.2.7", "1"),))


@pytest.mark.parametrize("marked", [True, False])
def test_a_firewalld_that_does_not_run_is_asked_only_where_it_has_openings(tmp_path, monkeypatch, marked):
    zone = '<zone><rule family="ipv4" priority="%d">' % (11434 if marked else 5)
    written(tmp_path, {"etc/firewalld/zones/public.xml": zone, "usr/bin/firewall-offline-cmd": ""})
    (tmp_path / "usr/bin/firewall-offline-cmd").chmod(0o755)
    firewalld(monkeypatch, "", ZONE % ("public", "default", "", "", OWN % (4, "192.0.2.7", "1")))
    found = firewall_managers.places({}, str(tmp_path))
    assert found == [Place("firewalld", "public", active=False, own=(Opening("192.0.2.7", "1"),))] * marked


@pytest.mark.parametrize(
    "answer", [(252, "", "FirewallD is not\nrunning\n"), FileNotFoundError("no"), subprocess.TimeoutExpired("x", 1)]
)
def test_a_firewalld_that_does_not_answer_is_an_error(tmp_path, monkeypatch, answer):
    def ask(command, timeout):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(firewall_managers, "ask", ask)
    with pytest.raises(ManagerError, match="^/usr/bin/firewall-cmd --list-all-zones fails: "):
        firewall_managers.places(RUNNING, str(tmp_path))


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
        return len(asked) % 2, "", "ERROR: problem\nrunning\n"

    monkeypatch.setattr(firewall_managers, "ask", ask)
    found = [Difference(Place("ufw"), (FOUR,), (FOUR,)), Difference(Place("firewalld", "lan"), (SIX,), (SIX,))]
    complaints = firewall_managers.mend(found)
    assert asked == commands(found) and len(asked) == 4
    assert [("delete" in one or "--remove" in one[-1]) for one in asked] == [False, False, True, True]
    assert complaints[0].endswith("comment gpufleet.ollama fails: ERROR: problem running") and len(complaints) == 2
