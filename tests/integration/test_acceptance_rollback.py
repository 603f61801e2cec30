# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Plans are kept, and a host goes back to one of them."""

from __future__ import annotations

import json

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

OLD, NEW = "0.32.14", "0.32.15"
PLANS = "/etc/ollama-multigpu/plans"


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-rollback"))
    fleet.up(SET, {"a": "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, versions=[NEW, OLD], say=lambda text: None)
        site.inventory(
            {"a": {}},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}],
            ollama_multigpu_version=OLD,
            ollama_multigpu_release_url="{{ rig_release_url | replace(rig_version, ollama_multigpu_version) }}",
            ollama_multigpu_release_checksum="{{ rig_checksums[ollama_multigpu_version] }}",
            ollama_multigpu_environment={"MY_TOKEN": "{{ 'new' if ollama_multigpu_version == '0.32.15' else 'old' }}"},
        )
        yield site
    finally:
        fleet.down(SET)


def changed(outcome) -> dict[str, int]:
    """How many tasks of a run changed something, by host."""
    return {host: counts["changed"] for host, counts in outcome.counts.items()}


def kept(host: str) -> dict[int, dict]:
    """The records of the plans that a host keeps, by number."""
    numbers = on(host, "ls", PLANS).split()
    return {int(number): json.loads(on(host, "cat", "%s/%s/about.json" % (PLANS, number))) for number in numbers}


def test_each_plan_in_force_is_kept(site):
    planned = site.play("site", "--check")
    assert "Write history %s/1: It is not in the history." % PLANS in planned.output
    site.play("site")
    assert changed(site.play("site")) == {"a": 0}
    upgraded = site.play("site", "-e", "ollama_multigpu_version=" + NEW)
    assert "Write history %s/2" % PLANS in upgraded.output
    assert changed(site.play("site", "-e", "ollama_multigpu_version=" + NEW)) == {"a": 0}
    records = kept("a")
    assert {number: record["release"] for number, record in records.items()} == {1: OLD, 2: NEW}
    for record in records.values():
        ((models,),) = [list(record["tokens_per_second"].values())]
        assert record["verdict"] == "pass" and models["tiny:latest-optimized"] > 0
    assert sorted(on("a", "ls", "/usr/local/lib/ollama-multigpu/releases").split()) == [OLD, NEW]
    assert 'MY_TOKEN="old"' in on("a", "cat", PLANS + "/1/instances/gpu0-1.env")


def test_a_host_goes_back_on_request(site):
    """The variables of the role still say the new release."""
    new = ("-e", "ollama_multigpu_version=" + NEW)
    with site.untouched("a"):
        planned = site.play("rollback", "--check", *new)
        assert "Write history %s/1: It comes into force again." % PLANS in planned.output
        refused = site.play("rollback", "-e", "ollama_multigpu_rollback_to=9", *new, expect=2)
        assert "a keeps no plan 9 to go back to. a keeps 1 (Ollama %s, " % OLD in str(refused.failures["a"])
    back = site.play("rollback", *new)
    assert "Verdict: pass" in back.output and changed(back)["a"] > 0
    assert json.loads(on("a", "cat", "/etc/ollama-multigpu/plan.json"))["ollama_version"] == OLD
    pid = on("a", "systemctl", "show", "--value", "--property=MainPID", "ollama@gpu0-1.service").strip()
    assert "MY_TOKEN=old" in on("a", "cat", "/proc/%s/environ" % pid).split("\0")
    assert kept("a")[1]["rolled_back_from"] == 2
    again = site.play("rollback", *new)
    assert changed(again) == {"a": 0} and "since the way back from plan 2" in again.output
    assert changed(site.play("rollback", "-e", "ollama_multigpu_rollback_to=1", *new)) == {"a": 0}
