# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host's firewall says."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.firewall_rules import Firewall
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening, Place
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import firewall, firewall_managers
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError

RULES = Firewall((11434, 11435), ("192.0.2.7", "2001:db8::/32"))
#: What nft prints of them. test_firewall_rules.py has what several releases of nft print.
LISTED = """\
table inet ollama_multigpu {
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname "lo" accept
\t\ttcp dport { 11434, 11435 } jump clients
\t}

\tchain clients {
\t\tip saddr 192.0.2.7 accept
\t\tip6 saddr { 2001:db8::/32 } accept
\t\tcounter packets 3 bytes 180 drop
\t}
}
"""
NONE = (1, "", "Error: No such file or directory\nlist table inet ollama_multigpu\n")
DENIED = (1, "", "Operation not permitted (you must be root)\n")
HOST = {"wanted": None, "fault": None, "loaded": None, "ports": (), "problem": None, "closed": None}
ENABLED = {paths.FIREWALL_UNIT: {"UnitFileState": "enabled"}}
LOADS = "{ path=/usr/sbin/nft ; argv[]=/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft ; ignore_errors=no }"


@pytest.mark.parametrize(
    ("answer", "found", "problem"), [((0, "public (active)\n", ""), 2, None), ((1, "", "no D-Bus\n"), 0, "no D-Bus")]
)
def test_what_manages_the_rules_of_the_host(tmp_path, monkeypatch, answer, found, problem):
    monkeypatch.setattr(firewall_managers, "ask", lambda command, timeout: answer)
    state = firewall.state({paths.FIREWALLD_UNIT: {"ActiveState": "active"}}, str(tmp_path))
    assert len(state["places"]) == found and (state["problem"] or "").endswith(problem or "")
    assert bool(state["problem"]) == bool(problem)


def test_of_the_rules_of_others_those_for_the_listed_networks_are_told(monkeypatch):
    held = (Opening("192.0.2.7", "1"), Opening("192.0.2.8", "1"))
    monkeypatch.setattr(firewall_managers, "places", lambda units, root: ([Place("ufw", held=held)], None))
    found = [firewall.state({}, "/nowhere", allowed)["places"][0]["held"] for allowed in ((), ("192.0.2.8",))]
    assert found == [(), ({"network": "192.0.2.8", "ports": "1"},)]


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


@pytest.fixture(name="nft")
def _nft(monkeypatch):
    """Sets what nft answers."""

    def answers(answer):
        def ask(command, timeout):
            assert command == ["/usr/sbin/nft", "list", "table", "inet", "ollama_multigpu"]
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(firewall, "ask", ask)

    return answers


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ((0, LISTED, ""), {"loaded": RULES.digest, "ports": (11434, 11435)}),
        ((0, LISTED.replace("192.0.2.7", "192.0.2.8"), ""), {"ports": (11434, 11435)}),
        ((0, LISTED.replace('iifname "lo"', ""), ""), {"loaded": ""}),
        ((0, "table inet ollama_multigpu {\n}", ""), {"loaded": ""}),
        (NONE, {}),
        (DENIED, {"problem": "Operation not permitted (you must be root)"}),
        (FileNotFoundError("no program"), {"problem": "/usr/sbin/nft: no program"}),
    ],
)
def test_which_rules_are_wanted_and_loaded(tmp_path, nft, answer, found):
    nft(answer)
    _written(tmp_path, RULES.text)
    rules = firewall.rules({}, str(tmp_path))
    assert rules == {**HOST, "wanted": RULES.digest, "loaded": rules["loaded"], **found}
    assert (rules["loaded"] == rules["wanted"]) is ("loaded" in found and found["loaded"] == RULES.digest)


def test_a_host_without_rules_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(firewall, "ask", None)
    units = {"ollama@gpu0.service": {"ExecStartPre": ""}, paths.FIREWALL_UNIT: {"UnitFileState": ""}}
    assert firewall.rules(units, str(tmp_path)) == HOST


def test_what_ufw_keeps_closed_to_the_clients_of_the_file(tmp_path, nft, monkeypatch):
    def closed(allowed, ports, root):
        assert (allowed, ports, root) == (RULES.allowed, RULES.ports, str(tmp_path))
        if not is_readable:
            raise PermissionError("unreadable")
        return answer

    nft((0, LISTED, ""))
    monkeypatch.setattr(firewall.ufw, "kept_out", closed)
    _written(tmp_path, RULES.text)
    opening = Opening("192.0.2.7", "11434")
    for is_readable, answer in ((True, (opening,)), (True, ()), (True, None), (False, ())):
        found = answer if is_readable else None
        known = {"wanted": RULES.digest, "loaded": RULES.digest, "ports": RULES.ports}
        assert firewall.rules({}, str(tmp_path)) == {**HOST, **known, "closed": found}
    (tmp_path / "etc/ollama-multigpu/firewall.nft").write_text("# nothing\n", encoding="utf-8")
    is_readable, answer = True, (opening,)
    assert firewall.rules({}, str(tmp_path))["closed"] is None, "nobody is listed"


@pytest.mark.parametrize("units", [ENABLED, {"ollama@gpu0.service": {"ExecStartPre": LOADS}}])
def test_a_unit_that_loads_a_file_that_is_gone(tmp_path, nft, units):
    nft((0, LISTED, ""))
    found = firewall.rules(units, str(tmp_path))
    assert found == {**HOST, "fault": "it is missing", "loaded": RULES.digest, "ports": (11434, 11435)}


@pytest.mark.parametrize("text", ["", "# nothing\n", RULES.text.replace("counter drop", "counter accept")])
def test_a_file_that_keeps_nobody_out(tmp_path, nft, text):
    nft((0, text, ""))
    _written(tmp_path, text)
    found = firewall.rules({}, str(tmp_path))
    assert (found["wanted"], found["fault"]) == (None, "it has other rules than the role writes")


def test_rules_that_cannot_be_read_are_not_known(tmp_path):
    (tmp_path / "etc" / "ollama-multigpu" / "firewall.nft").mkdir(parents=True)
    found = firewall.rules({}, str(tmp_path))
    assert found["wanted"] is None and found["problem"]


@pytest.fixture(name="file")
def _file(tmp_path, monkeypatch):
    """The place of the rules, in a directory that is there."""
    file = tmp_path / "etc" / "firewall.nft"
    file.parent.mkdir()
    monkeypatch.setattr(paths, "FIREWALL_RULES", str(file))
    return file


def test_a_file_that_is_gone_is_written_from_what_is_in_force(file, nft):
    nft((0, LISTED, ""))
    assert firewall.ready_file() is True and file.read_text(encoding="utf-8") == RULES.text
    assert file.stat().st_mode & 0o777 == 0o644
    nft(NONE)
    assert firewall.ready_file() is False and file.read_text(encoding="utf-8") == RULES.text


@pytest.mark.parametrize("answer", [NONE, DENIED, (0, LISTED.replace("counter", "accept counter"), "")])
def test_no_file_is_written_from_other_rules(file, nft, answer):
    nft(answer)
    with pytest.raises(FilesError, match="is missing, and its rules are not in force either"):
        firewall.ready_file()
    assert not file.exists()


def test_a_file_that_somebody_has_changed_is_left(file, nft):
    nft((0, LISTED, ""))
    file.write_text("table inet other {\n}\n", encoding="utf-8")
    with pytest.raises(FilesError, match="other rules than the role writes"):
        firewall.ready_file()
    assert file.read_text(encoding="utf-8").startswith("table inet other")


def _written(root, text):
    (root / "etc" / "ollama-multigpu").mkdir(parents=True)
    (root / "etc" / "ollama-multigpu" / "firewall.nft").write_text(text, encoding="utf-8")
