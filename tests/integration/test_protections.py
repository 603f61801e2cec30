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
    fleet.up(SET, {"guarded": "rtx-a6000-x2", "open": "rtx-a6000-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        on_network = {"ollama_multigpu_listen_address": "0.0.0.0", "ollama_multigpu_allow_from": ["192.0.2.0/24"]}
        models = [{"name": "tiny", "insecure": True, "optimized": {}}]
        site.inventory({"guarded": {}, "open": on_network}, ollama_multigpu_models=models)
        site.play("site")
        yield Host(fleet.container_name(SET, "guarded"), "gpu0")
    finally:
        fleet.down(SET)


@pytest.fixture(name="network_host", scope="module")
def _network_host(host):
    return Host(fleet.container_name(SET, "open"), "gpu0", "network_protections.py")


def test_a_converged_host_has_all_of_them(host, network_host):
    assert host.findings() == [] == network_host.findings()


def test_each_is_missed(host):
    _each_is_missed(host, host.losses())


def test_what_keeps_others_from_the_network_is_missed(network_host):
    _each_is_missed(network_host, network_host.network_losses())


def _each_is_missed(host, losses):
    unnoticed = []
    for loss in losses:
        found = host.findings_without(loss)
        names = {line.partition(": ")[0] for line in found}
        print("%-90s %s" % (loss.name, ", ".join(sorted(names))))
        if not loss.missed(names):
            unnoticed.append("%s: %s" % (loss.name, found))
    assert not unnoticed, "\n".join(unnoticed)
    assert host.findings() == []
