# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Everything that protects a converged host is missed where it is gone: it is taken away, one thing after the other.

The scenario default runs the same check on its hosts. This one takes five minutes.
"""

from __future__ import annotations

import pytest

from tests.integration.acceptance import SET, Site
from tests.integration.protections import Host
from tests.rig.hosts import fleet

pytestmark = [pytest.mark.hosts, pytest.mark.full]


@pytest.fixture(name="host", scope="module")
def _host(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("protections"))
    fleet.up(SET, {"guarded": "rtx-a6000-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory({"guarded": {}}, ollama_multigpu_models=[{"name": "tiny", "insecure": True, "optimized": {}}])
        site.play("site")
        yield Host(fleet.container_name(SET, "guarded"), "gpu0")
    finally:
        fleet.down(SET)


def test_a_converged_host_has_all_of_them(host):
    assert host.findings() == []


def test_each_is_missed(host):
    unnoticed = []
    for loss in host.losses():
        found = host.findings_without(loss)
        names = {line.partition(": ")[0] for line in found}
        print("%-90s %s" % (loss.name, ", ".join(sorted(names))))
        if not loss.missed(names):
            unnoticed.append("%s: %s" % (loss.name, found))
    assert not unnoticed, "\n".join(unnoticed)
    assert host.findings() == []
