# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Reports of real runs: a host that is well, alone and beside others; one that fails, one that cannot be reached, one
that was upgraded, and one that says more than it has."""

from __future__ import annotations

import json

import pytest

from tests.browser import chromium
from tests.integration.acceptance import SET, Site, gpu, on
from tests.rig.hosts import fleet
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import Page, bytes_of_gpus

pytestmark = pytest.mark.hosts

OLD, NEW = "0.32.15", "0.32.16"
INSTANCE = "gpu0-1"
MODELS = [{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}]


class Reported:
    """The files of a run."""

    def __init__(self, path):
        self.path = path.with_name("page%d.html" % len(list(path.parent.glob("page*.html"))))
        self.path.write_bytes(path.read_bytes())
        self.data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        self.html = path.read_text(encoding="utf-8")
        self.page = Page(self.html)
        self.markdown = path.with_suffix(".md").read_text(encoding="utf-8")
        self.hosts = {host["name"]: host for host in self.data["hosts"]}

    @property
    def states(self):
        return {name: host["state"] for name, host in self.hosts.items()}


@pytest.fixture(scope="module")
def runs(podman_hosts, collections, tmp_path_factory):
    """A site run with a host that fails and one that is gone; then one host that is well, alone, upgraded, lies and
    stops."""
    scratch = tmp_path_factory.mktemp("report")
    site, path = Site(collections, scratch), scratch / "reports" / "fleet.html"
    fleet.up(SET, {"a": "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, versions=[OLD, NEW], say=lambda text: None)
        found = {"a": {}, "bad": {"ansible_host": fleet.container_name(SET, "a"), "ollama_multigpu_base_port": 0}}
        gone = {"gone": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}}
        given = {"ollama_multigpu_models": MODELS, "ollama_multigpu_version": OLD}
        given["ollama_multigpu_release_url"] = "{{ rig_release_url | replace(rig_version, ollama_multigpu_version) }}"
        given["ollama_multigpu_release_checksum"] = "{{ rig_checksums[ollama_multigpu_version] }}"
        results = {}
        site.inventory({**found, **gone}, **given)
        outcome = site.play_shown(
            "ansible-playbook -i inventory.yml gpufleet.ollama.site -e ollama_multigpu_report=reports/fleet.html",
            expect=None,
        )
        results["site"] = (outcome, Reported(path))
        site.inventory({"a": {}, **gone}, **given)
        outcome = site.play_shown(
            "ansible-playbook -i inventory.yml gpufleet.ollama.report -e ollama_multigpu_report=reports/fleet.html"
        )
        results["well"] = (outcome, Reported(path))
        site.inventory({"a": {}}, **given)
        results["alone"] = (site.play("report", "-e", "ollama_multigpu_report=%s" % path), Reported(path))
        given.update(ollama_multigpu_version=NEW, ollama_multigpu_report=str(path))
        site.inventory({"a": {}, **gone}, **given)
        results["upgraded"] = (site.play("site", expect=None), Reported(path))
        gpu("a", "lie", "one_gpu")
        on("a", "systemctl", "restart", "ollama@%s.service" % INSTANCE)
        on("a", "sh", "-c", "systemctl start ollama-ready@%s.service || true" % INSTANCE)  # returns when it has loaded
        results["lying"] = (site.play("report"), Reported(path))
        results["diagnosis"] = json.loads(on("a", "sh", "-c", "ollama-multigpu diagnose --seconds 0 --json || true"))
        gpu("a", "lie", "off")
        on("a", "systemctl", "stop", "ollama@%s.service" % INSTANCE)
        results["stopped"] = (site.play("report"), Reported(path))
        site.inventory(gone, **given)
        results["none"] = (site.play("site", expect=None), Reported(path))
        yield results
    finally:
        fleet.down(SET)


def test_the_end_of_site_reports_each_host(runs):
    outcome, found = runs["site"]
    assert found.states == {"a": "as planned", "bad": "failed", "gone": "unreachable"}, outcome.output
    assert "ollama_multigpu_base_port is 0" in found.hosts["bad"]["reason"]
    assert found.hosts["gone"]["reason"] and found.hosts["gone"]["findings"][0]["remedy"]
    assert found.data["complete"] and "unreachable=1" in outcome.output and "failed=1" in outcome.output
    assert found.data["since"]["time"] == "" and "no earlier report" in found.page.text


def test_memory_is_predicted_and_observed(runs):
    _outcome, found = runs["site"]
    assert len(found.hosts["a"]["gpus"]) == 2
    for one in found.hosts["a"]["gpus"]:
        predicted, observed = one["predicted"]["models_bytes"], one["observed"]["models_bytes"]
        assert 0 < observed and abs(predicted - observed) <= max(predicted // 10, 2**30), one
        assert one["uuid"] in found.markdown and one["uuid"] in found.page.text


def test_a_report_changes_nothing_and_says_what_is_other(runs):
    outcome, found = runs["well"]
    assert found.states == {"a": "as planned", "gone": "unreachable"}, outcome.output
    assert "changed=0" in outcome.output and found.hosts["a"]["changes"] == []
    assert found.data["since"]["changes"] == {"bad": ["is not in the report any more"]}
    _outcome, found = runs["stopped"]
    assert found.states["a"] == "not as planned" and found.hosts["a"]["findings"]
    assert [change for change in found.hosts["a"]["changes"] if "ollama@gpu0-1" in change], found.hosts["a"]


def test_where_all_hosts_are_well_nothing_else_is_said(runs):
    outcome, found = runs["alone"]
    assert found.states == {"a": "as planned"} and found.hosts["a"]["findings"] == [], outcome.output
    assert found.data["since"]["changes"] == {"gone": ["is not in the report any more"]}
    assert found.page.states == found.states and "1 host: 1 as planned" in found.page.text
    assert "1 host: 1 as planned" in found.markdown
    assert found.page.gpus == bytes_of_gpus(found.data["hosts"]) and len(found.page.gpus) == 2
    for _uuid, predicted, observed in found.page.gpus:
        assert abs(int(predicted) - int(observed)) <= max(int(predicted) // 10, 2**30)


def test_an_upgrade_in_between_is_told(runs):
    outcome, found = runs["upgraded"]
    assert found.states == {"a": "as planned", "gone": "unreachable"}, outcome.output
    assert found.hosts["a"]["ollama_version"] == NEW
    assert [change for change in found.data["since"]["changes"]["a"] if OLD in change and NEW in change], found.data[
        "since"
    ]
    assert NEW in found.page.text and NEW in found.markdown


def test_a_host_that_lies_is_not_as_planned(runs):
    """The server says that both GPUs carry the model, and one of them does."""
    outcome, found = runs["lying"]
    assert found.states["a"] == "not as planned", outcome.output
    assert "state: as planned -> not as planned" in found.data["since"]["changes"]["a"]
    gpus = found.hosts["a"]["gpus"]
    assert any(one["observed"]["models_bytes"] < one["predicted"]["models_bytes"] for one in gpus), gpus
    assert found.hosts["a"]["findings"][0]["remedy"] in found.page.text


def test_the_diagnosis_of_that_host_says_so_too(runs):
    found = {one["finding"]: one for one in runs["diagnosis"]["findings"] if one["confidence"] == "certain"}
    assert "tiny:latest-optimized" in found["not_as_planned"]["evidence"] and runs["diagnosis"]["exit_code"] == 1


@pytest.mark.full
@pytest.mark.parametrize("name", ["site", "well", "alone", "upgraded", "lying", "stopped", "none"])
def test_the_report_of_each_run_in_a_browser(runs, name):
    chromium.ensure(say=lambda text: None)
    _outcome, found = runs[name]
    visit = chromium.visit(found.path, chromium.TO_THE_END)
    assert (visit.console, visit.requests) == ([], [])
    page = Page(visit.dom)
    assert page.gpus == bytes_of_gpus(found.data["hosts"])
    assert page.states == found.states


def test_the_history_has_the_plan_and_what_the_runs_have_found(runs):
    _outcome, found = runs["stopped"]
    history = found.hosts["a"]["history"]
    assert {"plan 1", "run"} <= {one["source"] for one in history}
    assert [one["verdict"] for one in history if one["source"] == "run"] == ["pass"] * 4 + ["fail"] * 2


def test_a_run_that_reaches_no_host_reports_that(runs):
    outcome, found = runs["none"]
    assert found.states == {"gone": "unreachable"} and found.data["complete"], outcome.output
    assert "unreachable=1" in outcome.output and found.hosts["gone"]["reason"]
