# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is not as planned is loaded again once, then restarted once, then left; a good verdict begins anew."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Rules
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.units import UnitError
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import healing
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.checking import check
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import Answer

from tests.unit.plugins.module_utils.evidence.builders import NAME, A, B, observations, plan
from tests.unit.plugins.module_utils.program.host import Host

GIB = 1024**3
ILL = {"held": {A: 65 * GIB, B: 298 << 20}}


class Healed:
    """A host that is ill, and what is done to it; `cured_by` is what helps."""

    def __init__(self, host, monkeypatch):
        self.host, self.done, self.cured_by, self.unit = host, [], None, {"ActiveState": "active"}
        self.file_written = False
        host.write_instance(plan())
        host.shows(observations(**ILL))
        monkeypatch.setattr(healing, "OllamaClient", lambda url, timeout: None)
        monkeypatch.setattr(healing, "unload", lambda target, name: self.does("unload " + str(name)))
        monkeypatch.setattr(healing.units, "stop", lambda units: self.does("stop " + " ".join(units)))
        monkeypatch.setattr(healing.units, "start", lambda units: self.does("start " + " ".join(units)))
        monkeypatch.setattr(healing.units, "reload", lambda: self.does("daemon-reload"))
        monkeypatch.setattr(healing.units, "load", lambda units: self.does("load rules " + units[0]))
        monkeypatch.setattr(healing.firewall, "ready_file", lambda: self.file_written)
        monkeypatch.setattr(healing, "load_and_prove", self._load)
        monkeypatch.setattr(healing.systemd, "show", lambda units: {units[0]: self.unit})

    def does(self, what):
        self.done.append(what)
        if self.cured_by and what.startswith(self.cured_by):
            self.host.shows(observations())

    def _load(self, instances):
        self.does("load " + " ".join(one.name for one in instances))
        return Answer(0)

    def tried(self):
        with open(self.host.places.healing, encoding="utf-8") as stream:
            return {name: sorted(steps) for name, steps in json.load(stream)["tried"].items()}

    def check(self):
        """One check; what it did since the one before."""
        self.done.clear()
        answer = check(self.host.places, heals=True)
        return answer.code, list(self.done), "\n".join(line.text for line in answer.lines)


@pytest.fixture(name="healed")
def _healed(tmp_path, monkeypatch):
    return Healed(Host(tmp_path, monkeypatch), monkeypatch)


RELOAD = ["unload " + NAME, "load gpu0-1"]
RESTART = ["stop ollama@gpu0-1.service ollama-gpus.service", "start ollama@gpu0-1.service", "load gpu0-1"]


def test_a_check_alone_changes_nothing(healed):
    assert check(healed.host.places).code == 1 and healed.done == []


def test_two_checks_do_not_heal_at_the_same_time(healed):
    with run_lock(path=healed.host.places.lock + "-healing"):
        assert healed.check()[:2] == (0, [])
    assert healed.check()[1] == RELOAD + RESTART


def test_what_a_load_cures_is_not_restarted(healed):
    healed.cured_by = "load"
    code, done, text = healed.check()
    assert (code, done) == (0, RELOAD) and "is loaded again" in text and "Verdict: pass" in text
    assert healed.tried() == {"gpu0-1": ["reloaded"]}


def test_what_a_restart_cures(healed):
    healed.cured_by = "start"
    code, done, text = healed.check()
    assert (code, done) == (0, RELOAD + RESTART) and "is restarted" in text


def test_several_are_restarted_at_once(healed):
    """A second stop of the unit that makes the device nodes would cancel its start, which the first one has queued."""
    wanted = plan()
    second = copy.deepcopy(wanted["instances"][0])
    second.update(name="gpu2", unit="ollama@gpu2.service", url="http://127.0.0.1:11435", port=11435)
    wanted["instances"].append(second)
    healed.host.places.plan_file.write_text(json.dumps(wanted), encoding="utf-8")
    code, done, text = healed.check()
    assert code == 1 and [entry for entry in done if entry.startswith(("stop", "start"))] == [
        "stop ollama@gpu0-1.service ollama@gpu2.service ollama-gpus.service",
        "start ollama@gpu0-1.service ollama@gpu2.service",
    ]
    assert "ollama@gpu0-1.service is restarted" in text and "ollama@gpu2.service is restarted" in text


def test_what_nothing_cures_is_left_after_one_of_each(healed):
    code, done, text = healed.check()
    assert (code, done) == (1, RELOAD + RESTART) and "is left as it is" in text
    for _again in range(3):
        code, done, text = healed.check()
        assert (code, done) == (1, []) and "is left as it is" in text and "that did not help" in text


def test_a_load_that_helps_for_a_moment_is_not_repeated(healed):
    """The verdict after healing is no good verdict of a later check."""
    healed.cured_by = "load"
    assert healed.check()[1] == RELOAD
    healed.host.shows(observations(**ILL))
    healed.cured_by = None
    assert healed.check()[1] == RESTART
    healed.host.shows(observations(**ILL))
    assert healed.check()[1] == []


def test_a_good_verdict_begins_anew(healed):
    healed.check()
    healed.host.shows(observations())
    assert check(healed.host.places).code == 0 and healed.tried() == {}, "whether this check heals or not"
    healed.host.shows(observations(**ILL))
    assert healed.check()[1] == RELOAD + RESTART


def test_an_unproven_verdict_is_neither_good_nor_bad(healed):
    healed.check()
    healed.host.shows(observations(stayed=None))
    assert healed.check()[1] == [] and healed.tried() == {"gpu0-1": ["reloaded", "restarted"]}


def test_what_is_tried_is_kept_before_it_is_done(healed, monkeypatch):
    def end(_target, _name):
        raise KeyboardInterrupt

    monkeypatch.setattr(healing, "unload", end)
    with pytest.raises(KeyboardInterrupt):
        healed.check()
    assert healed.tried() == {"gpu0-1": ["reloaded"]}
    assert healed.check()[1] == RESTART


def test_a_gpu_that_is_gone_is_not_healed(healed):
    seen = observations()
    seen.inventory["gpus"] = seen.inventory["gpus"][:1]
    healed.host.shows(seen)
    code, done, text = healed.check()
    assert (code, done) == (1, []) and "gpu_not_seen" in text and "neither a load nor a restart" in text


def test_memory_that_others_took_is_not_healed(healed):
    healed.host.shows(
        observations(others={A: [(77, 14 * GIB, None)]}, held={A: 33 * GIB + (298 << 20), B: 32 * GIB + (298 << 20)})
    )
    code, done, text = healed.check()
    assert (code, done) == (1, []) and "foreign_process" in text


def test_what_an_administrator_stopped_stays_stopped(healed):
    healed.unit = {"ActiveState": "inactive", "Result": "success"}
    code, done, text = healed.check()
    assert (code, done) == (1, []) and "it was stopped" in text


def test_what_a_killed_run_has_begun_is_left_to_the_next_run(healed):
    changed = plan()
    changed["instances"][0]["models"][0]["context_length"] = 4096
    healed.host.write_instance(changed)
    healed.host.age("gpu0-1", 3700)
    code, done, text = healed.check()
    assert (code, done) == (1, []) and "run the role again" in text


def test_a_run_between_two_switches_is_left_alone(healed):
    changed = plan()
    changed["instances"][0]["models"][0]["context_length"] = 4096
    healed.host.write_instance(changed)
    assert healed.check()[:2] == (0, [])


def test_a_restart_that_systemd_refuses_is_a_sentence(healed, monkeypatch):
    def refuse(_units):
        raise UnitError("systemctl stop ends with status 1")

    monkeypatch.setattr(healing.units, "stop", refuse)
    code, _done, text = healed.check()
    assert code == 1 and "is not restarted: systemctl stop" in text


@pytest.mark.parametrize("content", ["", "[]", '{"tried": 1}', '{"tried": {"gpu0-1": 1}}'])
def test_a_file_that_is_none_counts_for_nothing(healed, content):
    with open(healed.host.places.healing, "w", encoding="utf-8") as stream:
        stream.write(content)
    assert healed.check()[1] == RELOAD + RESTART


def without_rules():
    return dataclasses.replace(observations(), rules=Rules("a" * 32, None))


def unread(**options):
    seen = observations(**options)
    seen.instances["gpu0-1"].unit["NeedDaemonReload"] = "yes"
    return seen


def test_a_unit_that_systemd_has_not_read_is_read_and_no_healthy_instance_is_restarted(healed):
    healed.host.shows(unread())
    healed.cured_by = "daemon-reload"
    code, done, text = healed.check()
    assert (code, done) == (0, ["daemon-reload"]) and "systemd has read its units again" in text
    assert "loaded again" not in text and "restarted" not in text


def test_what_is_ill_besides_is_healed_after_the_units_are_read(healed):
    healed.host.shows(unread(**ILL))
    healed.cured_by = "load"
    assert healed.check()[1] == ["daemon-reload", *RELOAD]


def test_units_that_systemd_cannot_read_are_no_reason_for_a_restart(healed, monkeypatch):
    def fails():
        raise UnitError("systemctl daemon-reload ends with status 1")

    monkeypatch.setattr(healing.units, "reload", fails)
    healed.host.shows(unread())
    code, done, text = healed.check()
    assert (code, done) == (1, []) and "has not read its units again: systemctl daemon-reload" in text
    assert "is left as it is, because neither a load nor a restart changes that" in text


def test_units_of_a_run_that_has_not_ended_are_not_read(healed):
    changed = plan()
    changed["instances"][0]["models"][0]["context_length"] = 4096
    healed.host.write_instance(changed)
    healed.host.age("gpu0-1", 3700)
    healed.host.shows(unread())
    assert healed.check()[1] == []


def test_a_setting_of_the_server_is_cured_by_a_restart_and_not_by_a_load(healed):
    seen = observations()
    seen.instances["gpu0-1"].differences = [{"name": "OLLAMA_DEBUG", "difference": "other_than_planned"}]
    healed.host.shows(seen)
    healed.cured_by = "start"
    code, done, text = healed.check()
    assert (code, done) == (0, RESTART) and "loaded again" not in text
    healed.check()
    healed.host.shows(seen)
    healed.cured_by = None
    code, done, text = healed.check()
    assert (code, done) == (1, RESTART) and "because it was restarted at" in text and "loaded again" not in text


@pytest.fixture(name="opened")
def _opened(healed):
    """A healthy host whose rules of who may connect are not in force."""
    wanted = plan()
    wanted["instances"][0]["address"] = "0.0.0.0"
    healed.host.places.plan_file.write_text(json.dumps(wanted), encoding="utf-8")
    healed.host.write_instance(wanted)
    healed.host.shows(without_rules())
    return healed


def test_rules_of_who_may_connect_are_loaded_again_and_no_instance_is_touched(opened):
    opened.cured_by = "load rules"
    code, done, text = opened.check()
    assert (code, done) == (0, ["load rules ollama-firewall.service"]) and "connect are loaded again" in text
    opened.cured_by = None
    opened.host.shows(without_rules())
    for _again in range(2):
        code, done, text = opened.check()
        assert (code, done) == (1, ["load rules ollama-firewall.service"]) and "open_to_others" in text

    def fails(units):
        raise UnitError("systemctl reload-or-restart ends with status 1: no")

    healing.units.load = fails
    assert "the rules of who may connect are not loaded: systemctl" in opened.check()[2]


def test_rules_in_force_that_do_not_name_a_port_are_not_loaded_again(opened):
    opened.host.shows(dataclasses.replace(observations(), rules=Rules("a" * 32, None, "a" * 32, (1,))))
    code, done, text = opened.check()
    assert (code, done) == (1, []) and "they do not name port" in text and "loaded again" not in text


def test_clients_that_another_firewall_keeps_out_are_not_healed(opened):
    """No restart changes that, and the rules of others are theirs."""
    rules = Rules("a" * 32, loaded="a" * 32, ports=(11434,), closed=(Opening("192.0.2.7", "11434"),))
    opened.host.shows(dataclasses.replace(observations(), rules=rules))
    code, done, text = opened.check()
    assert (code, done) == (1, []) and "neither a load nor a restart changes that (closed_to_clients)" in text


def test_a_file_of_rules_that_is_gone_is_written_before_it_is_loaded(opened):
    opened.cured_by, opened.file_written = "load rules", True
    opened.host.shows(dataclasses.replace(observations(), rules=Rules(None, "it is missing", "a" * 32, (11434,))))
    assert "/etc/ollama-multigpu/firewall.nft is written from the rules in force, and they are" in opened.check()[2]


def test_a_file_of_rules_that_cannot_be_used_is_not_loaded(opened, monkeypatch):
    def fails():
        raise FilesError("firewall.nft: it has other rules than the role writes")

    monkeypatch.setattr(healing.firewall, "ready_file", fails)
    opened.host.shows(dataclasses.replace(observations(), rules=Rules(fault="it has other rules")))
    code, done, text = opened.check()
    assert (code, done) == (1, []) and "than the role writes. Run the role again." in text
