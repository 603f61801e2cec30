# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How many lines a run prints: of a first run what people need, and nothing of what stays as it is."""

from __future__ import annotations

import pytest

from tests.integration.acceptance import SET, Site
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

HOSTS = {"a": "rtx-4090-x2", "b": "rtx-4090-x2", "c": "rtx-4090-x2"}
INVENTORY = {name: {} for name in HOSTS}
TINY = {"name": "tiny", "insecure": True, "optimized": {}}
WIDEST = 80


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-lines"))
    fleet.up(SET, HOSTS, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory(INVENTORY, ollama_multigpu_models=[TINY])
        yield site
    finally:
        fleet.down(SET)


def lines(site, *arguments, callback="gpufleet.ollama.fleet"):
    """What a run prints; warnings are of ansible-core and have any length."""
    output = site.play("site", *arguments, callback=callback).output
    print("%d lines: site %s with %s" % (len(output.splitlines()), " ".join(arguments), callback))
    return [line for line in output.splitlines() if not line.startswith("[")]


def without_differences(found):
    """The lines that are no part of a difference of files."""
    return [line for line in found if not line.startswith(("+", "-", " " * 5, "@@"))]


def test_a_first_run_shows_once_what_all_hosts_share(site):
    found = lines(site, "--check", "--diff")
    text = "\n".join(found)
    assert len(found) < 280 and max(map(len, without_differences(found))) <= WIDEST, text
    for part in (
        "  to fetch   Ollama 0.32.15 and 1 MiB of models (tiny)",
        "  address    http://127.0.0.1:11434 is new and serves tiny:latest-optimized",
        "+/etc/systemd/system/ollama@.service: 55 lines, which -v shows",
        "+/etc/ollama-multigpu/plan.json: file, content not shown",
        "Overview: 3 hosts, 3 would change",
    ):
        assert found.count(part) == 1, (part, text)
    # The plan and the changes of the two other hosts.
    assert len([line for line in found if line.startswith("  the same as on ")]) >= 4
    assert '"instances":' not in text and "[Service]" not in text and "import " not in text


def test_with_ansibles_own_callback_changes_are_listed_once_for_each_host(site):
    """What it prints of tasks that do nothing is not ours."""
    found = lines(site, "--check", "--diff", callback="default")
    ours = [line for line in found if not line.startswith(("TASK [", "skipping: [", "ok: [", "included: ")) and line]
    text = "\n".join(found)
    assert len(ours) < 560, text
    assert len([line for line in found if line.endswith(" lines, which -v shows")]) == 3 * 7, text
    for host in HOSTS:
        assert found.count("Would switch gpu0, gpu1 on %s: 23 changes" % host) == 1, text
    assert "  Write file /etc/systemd/system/ollama@.service: It is not there." not in found
    assert '"instances":' not in text and "[Service]" not in text


def test_a_run_that_changes_nothing_and_a_small_change(site):
    lines(site)
    again = lines(site)
    text = "\n".join(again)
    assert 3 < len(again) < 40 and "Overview: 3 hosts, 3 proven" in again, text
    assert [line for line in again if line.startswith("a: ")] == ["a: proven, nothing changed"], text
    head, *rows = [line.split() for line in again[-4:]]
    assert head[0] == "seconds" and head[-1] == "all" and {"plan", "verify"} <= set(head), text
    assert [row[0] for row in rows] == list(HOSTS) and all(float(row[-1]) > 0 for row in rows), text
    again = lines(site, "--check", "--diff")
    assert 3 < len(again) < 40 and "Overview: 3 hosts, 3 proven" in again, "\n".join(again)
    changed = {"OLLAMA_KEEP_ALIVE": "24h"}
    site.inventory(INVENTORY, ollama_multigpu_models=[TINY], ollama_multigpu_environment=changed)
    found = lines(site, "--check", "--diff")
    text = "\n".join(found)
    assert len(found) < 120 and max(map(len, without_differences(found))) <= WIDEST, text
    assert "  plan       environment of gpu0 and gpu1: OLLAMA_KEEP_ALIVE -1 -> 24h" in found
    # One for each instance, on one host of three.
    assert found.count('-OLLAMA_KEEP_ALIVE="-1"') == found.count('+OLLAMA_KEEP_ALIVE="24h"') == 2
