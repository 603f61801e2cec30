# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Zones of firewalld, as its programs print them and as it writes their files."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.firewalld_zones import rich_rule, written, zones

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
#: As firewalld 1.3 writes the file of a zone.
ZONE_FILE = """\
<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <port port="11434" protocol="tcp"/>
%s
</zone>
"""
RULE_IN_FILE = """\
  <rule family="%s"%s>
    <source address="%s"/>
    <port port="%s" protocol="tcp"/>
    %s
  </rule>
"""
MARK = ' priority="11434"'
IN_FILES = (Opening("192.0.2.0/24", "11434-11435"), Opening("2001:db8::/64", "11434"))
OURS_IN_FILE = "".join(RULE_IN_FILE % ("ipv4", MARK, one.network, one.ports, "<accept/>") for one in IN_FILES)


def zone_file(*rules):
    """Text of the file of a zone with rules."""
    return ZONE_FILE % "".join(rules)


def in_files(root, **texts):
    """What the files of zones have of the collection."""
    directory = root / "etc/firewalld/zones"
    directory.mkdir(parents=True)
    for name, text in texts.items():
        (directory / (name + ".xml")).write_text(text, encoding="utf-8")
    return written(str(root))


@pytest.mark.parametrize("opening", IN_FILES)
def test_a_rule_is_read_as_it_is_written(opening):
    (zone,) = zones(ZONE % ("public", "default", "", "", "\n\t" + rich_rule(opening)))
    assert zone.own == (opening,)


@pytest.mark.parametrize(
    "others", [' limit value="1/m"', "x", '\n\trule priority="1" family="ipv4" source address="a" port port="2"']
)
def test_a_rule_that_says_more_than_ours_is_not_ours(others):
    rules = OWN % (4, "192.0.2.7", "1") + OWN % (4, "192.0.2.8", "1") + others
    (zone,) = zones(ZONE % ("public", "default", "", "", rules))
    assert [one.network for one in zone.own] == ["192.0.2.7", "192.0.2.8"][: 1 + ("\n" in others)]


def test_files_of_zones_say_what_they_have_of_the_collection(tmp_path):
    texts = {"lan": zone_file(OURS_IN_FILE), "broken": "<zone>", "other": zone_file()}
    assert in_files(tmp_path, **texts) == {"lan": IN_FILES}
    assert written(str(tmp_path / "nowhere")) == {}


@pytest.mark.parametrize(
    "rule",
    [
        RULE_IN_FILE % ("ipv4", "", "192.0.2.7", "11434", "<accept/>"),
        RULE_IN_FILE % ("ipv4", ' priority="5"', "192.0.2.7", "11434", "<accept/>"),
        RULE_IN_FILE % ("ipv4", MARK, "192.0.2.7", "11434", "<reject/>"),
        RULE_IN_FILE % ("ipv4", MARK, "192.0.2.7", "11434", "<log/><accept/>"),
        RULE_IN_FILE % ("ipv4", MARK, "192.0.2.7", "11434", '<accept><limit value="1/m"/></accept>'),
        RULE_IN_FILE % ("ipv4", MARK, '192.0.2.7" invert="True', "11434", "<accept/>"),
        RULE_IN_FILE % ("ipv4", MARK, '192.0.2.7"/><destination address="192.0.2.1', "11434", "<accept/>"),
        (RULE_IN_FILE % ("ipv4", MARK, "192.0.2.7", "11434", "<accept/>")).replace("tcp", "udp"),
    ],
)
def test_rules_of_others_in_files_of_zones(tmp_path, rule):
    assert in_files(tmp_path, lan=zone_file(rule)) == {}
