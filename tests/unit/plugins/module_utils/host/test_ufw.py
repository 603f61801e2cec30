# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which clients ufw keeps out, in its own words."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import ufw

COMMENT = b"gpufleet.ollama".hex()
#: Lines of the files that ufw 0.36.2 brings along.
BEFORE_RULES = """\
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp --icmp-type echo-request -j ACCEPT
-A ufw-before-forward -p tcp -j ACCEPT
-A ufw-before-input -p udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
"""
BEFORE6_RULES = """\
-A ufw6-before-input -p icmpv6 --icmpv6-type 141 -m hl --hl-eq 255 -j ACCEPT
-A ufw6-before-input -p udp -s fe80::/10 --sport 547 -d fe80::/10 --dport 546 -j ACCEPT
"""
CLIENTS, PORTS = ("192.0.2.0/24", "2001:db8::/64"), (11434, 11435)


def shut(root, rules="", rules6="", policy='DEFAULT_INPUT_POLICY="DROP"', ipv6="yes"):
    """A root with ufw that refuses what these rules do not let through."""
    for directory in ("proc/sys/net/ipv6", "usr/sbin", "etc/ufw", "etc/default"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "usr/sbin/ufw").touch(0o755)
    (root / "etc/ufw/ufw.conf").write_text("ENABLED=yes\n", encoding="utf-8")
    files = {"user.rules": rules, "user6.rules": rules6, "before.rules": BEFORE_RULES, "before6.rules": BEFORE6_RULES}
    for name, text in files.items():
        (root / "etc/ufw" / name).write_text(text, encoding="utf-8")
    (root / "etc/default/ufw").write_text("IPV6=%s\n%s\n" % (ipv6, policy), encoding="utf-8")
    return str(root)


def closed(root, clients=CLIENTS):
    return [str(one) for one in ufw.kept_out(clients, PORTS, root)]


def rule(ports, network, rest="", action="allow", protocol="tcp"):
    return "### tuple ### %s %s %s 0.0.0.0/0 any %s in%s\n" % (action, protocol, ports, network, rest)


ALL_CLOSED = ["192.0.2.0/24 to port 11434-11435", "2001:db8::/64 to port 11434-11435"]


def test_what_ufw_keeps_closed(tmp_path):
    """As the collection opens it, nothing; then what is taken away."""
    own = " comment=%s" % COMMENT
    every = rule("11434:11435", "192.0.2.0/24", own), rule("11434:11435", "2001:db8::/64", own)
    assert closed(shut(tmp_path, *every)) == []
    assert closed(shut(tmp_path, every[0])) == ALL_CLOSED[1:]
    assert closed(shut(tmp_path, every[0], ipv6="no")) == [], "then ufw leaves IPv6 alone"
    assert closed(shut(tmp_path)) == ALL_CLOSED
    assert closed(shut(tmp_path, rule("11435", "192.0.2.0/24", own), every[1])) == ["192.0.2.0/24 to port 11434"]


@pytest.mark.parametrize(
    ("text", "is_closed"),
    [
        (rule("11434,11435", "0.0.0.0/0"), False),
        (rule("any", "192.0.0.0/16"), False),
        (rule("11000:12000", "192.0.2.0/24", action="limit_log", protocol="any"), False),
        (rule("11434", "192.0.2.0/24") + rule("80,11435", "192.0.2.0/24", " comment=61"), False),
        (rule("11434:11435", "192.0.2.0/24").replace(" in", " in_eth0"), False),
        (rule("11434:11435", "192.0.2.0/25"), True),
        (rule("11434:11435", "192.0.2.0/24", protocol="udp"), True),
        (rule("11434:11435", "192.0.2.0/24", action="deny"), False),  # ufw keeps one rule, and that of others stays
        (rule("11434:11435", "192.0.2.0/24", " comment=%s" % COMMENT, action="deny"), False),
        (rule("any", "192.0.2.0/24", action="deny"), True),
        (rule("11434:11435", "192.0.2.0/24", action="route:allow"), True),
        (rule("11434:11435", "192.0.2.0/24").replace(" in", " out"), True),
        (rule("11434:11435", "192.0.2.0/24").replace(" in", " out_eth0 comment=61"), True),
        (rule("11434:11435", "nonsense"), True),
    ],
)
def test_a_rule_of_others_lets_clients_through_too(tmp_path, text, is_closed):
    assert closed(shut(tmp_path, text), CLIENTS[:1]) == (ALL_CLOSED[:1] if is_closed else [])


@pytest.mark.parametrize("path", ["before.rules", "after6.rules"])
@pytest.mark.parametrize(
    ("line", "is_known"),
    [
        ("-s 192.0.2.0/24 -j ACCEPT", False),
        ("-p tcp -m multiport --dports 11434,11435 -j ACCEPT", False),
        ("-m conntrack --ctstate NEW -p tcp --dport 11434 -j ACCEPT", False),
        ("--jump ACCEPT", False),
        ("-p udp --dport 53 -j ACCEPT", True),
        ("-s 192.0.2.0/24 -j DROP", True),
    ],
)
def test_rules_that_ufw_does_not_manage_may_let_clients_through(tmp_path, path, line, is_known):
    root = shut(tmp_path)
    chain = "ufw6" if "6" in path else "ufw"
    with open(tmp_path / "etc/ufw" / path, "a", encoding="utf-8") as stream:
        stream.write("-A %s-%s-input %s\n" % (chain, path.partition(".")[0].rstrip("6"), line))
    assert (ufw.kept_out(CLIENTS, PORTS, root) is None) is not is_known


@pytest.mark.parametrize(
    ("line", "is_known"),
    [
        ("-I INPUT 1 -s 192.0.2.0/24 -j ACCEPT", False),
        ("-A clients -s 192.0.2.0/24 -g ACCEPT", False),
        ("-A ufw-not-local -j ACCEPT", False),
        ("-A ufw-before-forward -s 192.0.2.0/24 -j ACCEPT", True),
        ("-A OUTPUT -j ACCEPT", True),
        ("-A POSTROUTING -s 192.0.2.0/24 -j ACCEPT", True),
    ],
)
def test_rules_in_chains_of_others(tmp_path, line, is_known):
    root = shut(tmp_path)
    (tmp_path / "etc/ufw/before.rules").write_text(BEFORE_RULES + line + "\n", encoding="utf-8")
    assert (ufw.kept_out(CLIENTS, PORTS, root) is None) is not is_known


@pytest.mark.parametrize("mode", [0o640, 0o750])
def test_a_program_of_others_may_add_rules(tmp_path, mode):
    root = shut(tmp_path)
    (tmp_path / "etc/ufw/after.init").touch()
    (tmp_path / "etc/ufw/after.init").chmod(mode)
    assert (ufw.kept_out(CLIENTS, PORTS, root) is None) is (mode == 0o750)


def test_the_last_setting_counts(tmp_path):
    """ufw.conf is read after /etc/default/ufw."""
    root = shut(tmp_path)
    (tmp_path / "etc/ufw/ufw.conf").write_text("ENABLED=yes\nDEFAULT_INPUT_POLICY=ACCEPT\n", encoding="utf-8")
    assert ufw.kept_out(CLIENTS, PORTS, root) is None


@pytest.mark.parametrize("policy", ['DEFAULT_INPUT_POLICY="ACCEPT"', "# DEFAULT_INPUT_POLICY=DROP", ""])
def test_an_ufw_that_refuses_nobody_is_not_judged(tmp_path, policy):
    assert ufw.kept_out(CLIENTS, PORTS, shut(tmp_path, policy=policy)) is None


def test_a_host_without_ufw_in_force_is_not_judged(tmp_path):
    assert ufw.kept_out(CLIENTS, PORTS, str(tmp_path)) is None
    root = shut(tmp_path, rule("11435", "192.0.2.0/24", " comment=%s" % COMMENT))
    assert closed(root) == ["192.0.2.0/24 to port 11434", *ALL_CLOSED[1:]]
    (tmp_path / "etc/ufw/ufw.conf").write_text("ENABLED=no\n", encoding="utf-8")
    assert ufw.kept_out(CLIENTS, PORTS, root) is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    """Not every user may read them; root can always. Without its rules, every opening would be missing."""
    root = shut(tmp_path)
    (tmp_path / "etc/ufw/user.rules").unlink()
    (tmp_path / "etc/ufw/user.rules").mkdir()
    with pytest.raises(OSError, match="regular file"):
        ufw.kept_out(CLIENTS, PORTS, root)
