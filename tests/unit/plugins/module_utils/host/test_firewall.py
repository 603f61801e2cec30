# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host's firewall says."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.firewall import Firewall
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import firewall

DIGEST = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("listed", "digest"),
    [
        ('\t\tcounter packets 3 bytes 180 drop comment "%s"\n' % DIGEST, DIGEST),
        ('\t\tcounter drop comment "%s"' % DIGEST, DIGEST),
        ("table inet ollama_multigpu {\n}\n", ""),
        ('\t\tcounter packets 3 bytes 180 accept comment "%s"\n' % DIGEST, ""),
        ('\t\tcounter packets 3 bytes 180 drop comment "%sff"\n' % DIGEST, ""),
    ],
)
def test_what_names_the_rules(listed, digest):
    assert firewall.digest_of(listed) == digest


@pytest.mark.parametrize(
    ("ufw", "firewalld", "managers"),
    [
        (None, "inactive", []),
        ("ENABLED=no\n", None, []),
        ("# ENABLED=yes\nENABLED=no\n", "active", ["firewalld"]),
        ("LOGLEVEL=low\nENABLED=yes\n", "active", ["ufw", "firewalld"]),
        ('ENABLED="yes"\n', None, ["ufw"]),
    ],
)
def test_what_manages_the_rules_of_the_host(tmp_path, ufw, firewalld, managers):
    if ufw is not None:
        (tmp_path / "etc" / "ufw").mkdir(parents=True)
        (tmp_path / "etc" / "ufw" / "ufw.conf").write_text(ufw, encoding="utf-8")
    units = {} if firewalld is None else {paths.FIREWALLD_UNIT: {"ActiveState": firewalld}}
    assert firewall.state(units, str(tmp_path))["managers"] == managers


@pytest.mark.parametrize(
    ("unit", "active", "enabled"),
    [
        ({}, False, False),
        ({"ActiveState": "active", "UnitFileState": "enabled"}, True, True),
        ({"ActiveState": "failed", "UnitFileState": "disabled"}, False, False),
    ],
)
def test_the_unit_that_loads_the_rules(tmp_path, unit, active, enabled):
    found = firewall.state({paths.FIREWALL_UNIT: unit}, str(tmp_path))
    assert (found["active"], found["enabled"], found["loaded"]) == (active, enabled, None)


@pytest.mark.parametrize(
    ("answer", "loaded", "problem"),
    [
        ((0, 'counter packets 1 bytes 2 drop comment "%s"' % DIGEST, ""), DIGEST, None),
        ((0, "table inet ollama_multigpu {\n}", ""), "", None),
        ((1, "", "Error: No such file or directory\nlist table inet ollama_multigpu\n"), None, None),
        ((1, "", "Operation not permitted (you must be root)\n"), None, "Operation not permitted (you must be root)"),
        (FileNotFoundError("no program"), None, "/usr/sbin/nft: no program"),
    ],
)
def test_which_rules_are_wanted_and_loaded(tmp_path, monkeypatch, answer, loaded, problem):
    def ask(command, timeout):
        assert command == ["/usr/sbin/nft", "list", "table", "inet", "ollama_multigpu"]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(firewall, "ask", ask)
    _written(tmp_path, Firewall((1,), ("192.0.2.7",)).text)
    wanted = Firewall((1,), ("192.0.2.7",)).digest
    assert firewall.rules(str(tmp_path)) == {"wanted": wanted, "loaded": loaded, "problem": problem}


def test_a_host_without_rules_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(firewall, "ask", None)
    assert firewall.rules(str(tmp_path)) == {"wanted": None, "loaded": None, "problem": None}


def test_rules_that_cannot_be_read_are_not_known(tmp_path):
    (tmp_path / "etc" / "ollama-multigpu" / "firewall.nft").mkdir(parents=True)
    found = firewall.rules(str(tmp_path))
    assert found["wanted"] is None and found["problem"]


def _written(root, text):
    (root / "etc" / "ollama-multigpu").mkdir(parents=True)
    (root / "etc" / "ollama-multigpu" / "firewall.nft").write_text(text, encoding="utf-8")
