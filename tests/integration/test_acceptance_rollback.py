# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Two hosts are upgraded, the canary first; a release that is slower is given up there, and a kept plan comes back."""

from __future__ import annotations

import json

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

#: The last one generates half as fast.
OLD, NEW, SLOW = "0.32.14", "0.32.15", "0.32.16"
PLANS = "/etc/ollama-multigpu/plans"
CANARY = ("-e", "ollama_multigpu_canary=b")


def to(version: str) -> tuple[str, str]:
    """The arguments of a run with a release."""
    return "-e", "ollama_multigpu_version=" + version


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-rollback"))
    fleet.up(SET, dict.fromkeys("ab", "rtx-4090-x2"), say=lambda text: None)
    try:
        fleet.serve(SET, versions=[NEW, OLD, SLOW + "=half-speed"], say=lambda text: None)
        site.inventory(
            {"a": {}, "b": {}},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}],
            ollama_multigpu_version=OLD,
            ollama_multigpu_release_url="{{ rig_release_url | replace(rig_version, ollama_multigpu_version) }}",
            ollama_multigpu_release_checksum="{{ rig_checksums[ollama_multigpu_version] }}",
            ollama_multigpu_environment={"MY_TOKEN": "of {{ ollama_multigpu_version }}"},
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


def running(host: str) -> tuple[str, str]:
    """The release of the instance, and the secret of the process that serves."""
    pid = on(host, "systemctl", "show", "--value", "--property=MainPID", "ollama@gpu0-1.service").strip()
    variables = on(host, "cat", "/proc/%s/environ" % pid).split("\0")
    (token,) = [line for line in variables if line.startswith("MY_TOKEN=")]
    link = on(host, "readlink", "/usr/local/lib/ollama-multigpu/instances/gpu0-1")
    return link.strip().rsplit("/", 1)[1], token


def test_hosts_are_upgraded_the_canary_first(site):
    planned = site.play("site", "--check")
    assert "Write history %s/1: It is not in the history." % PLANS in planned.output
    site.play("site")
    upgraded = site.play("upgrade", *CANARY, *to(NEW))
    assert "Release: Ollama %s takes the place of %s." % (NEW, OLD) in upgraded.output
    batches = upgraded.output.split("PLAY [")[2:]
    assert [sorted(host for host in "ab" if "[%s]" % host in batch) for batch in batches][:2] == [["b"], ["a"]]
    for host in "ab":
        records = kept(host)
        assert {number: record["release"] for number, record in records.items()} == {1: OLD, 2: NEW}
        assert {record["verdict"] for record in records.values()} == {"pass"}
        assert records[2]["tokens_per_second"]["gpu0-1"]["tiny:latest-optimized"] == 200.0
        assert running(host) == (NEW, "MY_TOKEN=of " + NEW)
        # The old one is there for a quick way back.
        assert sorted(on(host, "ls", "/usr/local/lib/ollama-multigpu/releases").split()) == [OLD, NEW]
        assert 'MY_TOKEN="of %s"' % OLD in on(host, "cat", PLANS + "/1/instances/gpu0-1.env")
    assert changed(site.play("site", *to(NEW))) == {"a": 0, "b": 0}


def test_a_slower_release_is_given_up_on_the_canary(site):
    with site.untouched("a"):
        failed = site.play("upgrade", *CANARY, *to(SLOW), expect=2)
    told = str(failed.failures["b"])
    assert "generates 100.0 tokens/s with Ollama %s, and had 200.0 with Ollama %s when plan 2 was proven" % (
        SLOW,
        NEW,
    ) in (told)
    assert "gpu0-1 went back to Ollama %s" % NEW in told
    assert "b runs Ollama %s." % NEW in told and "a is untouched and runs Ollama %s." % NEW in told
    assert "a" not in failed.failures
    assert running("b") == (NEW, "MY_TOKEN=of " + NEW) and sorted(kept("b")) == [1, 2]


def test_hosts_go_back_on_request(site):
    """The variables of the role still say the new release."""
    with site.untouched("a"):
        planned = site.play("rollback", "--check", *to(NEW))
        assert "Write history %s/1: It comes into force again." % PLANS in planned.output
        refused = site.play("rollback", "-e", "ollama_multigpu_rollback_to=9", *to(NEW), expect=2)
        assert "a keeps no plan 9 to go back to. a keeps 1 (Ollama %s, " % OLD in str(refused.failures["a"])
    back = site.play("rollback", *to(NEW))
    assert back.output.count("Verdict: pass") >= 2
    for host in "ab":
        assert running(host) == (OLD, "MY_TOKEN=of " + OLD)
        assert kept(host)[1]["rolled_back_from"] == 2
    again = site.play("rollback", *to(NEW))
    assert changed(again) == {"a": 0, "b": 0} and "since the way back from plan 2" in again.output
