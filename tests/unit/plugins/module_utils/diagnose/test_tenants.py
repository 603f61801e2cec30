# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Others on the GPUs, and who they are."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.diagnose.builders import (
    ENGINE_PID,
    GIB,
    OTHER_PID,
    UNIT,
    A,
    engine,
    found,
    host,
    inventory,
    server,
)

OWN = {"pid": ENGINE_PID, "name": "llama-server", "used_bytes": 10 * GIB, "unit": UNIT}


def shared(used, unit="batch.service", cgroup="0::/system.slice/batch.service\n", **changes):
    """A host where another process holds memory of the first GPU."""
    other = {"pid": OTHER_PID, "name": "python3", "used_bytes": used, "unit": unit}
    return host(inventory=inventory(first={"processes": [OWN, other]}), cgroups={OTHER_PID: cgroup}, **changes)


CASES = {"foreign_tenant": (shared(30 * GIB), ["process 4711 (python3, unit batch.service)", "of GPU 0 (RTX"])}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence for word in words) and finding.subject == A


def test_little_memory_of_others_is_well():
    assert not found(shared(GIB))


def test_a_tenant_matters_more_where_memory_lacks():
    assert found(shared(30 * GIB))["foreign_tenant"].confidence == "possible"
    short = (server(engines=(engine(log={"layers": 3, "layers_total": 9}),)),)
    assert found(shared(30 * GIB, servers=short))["foreign_tenant"].confidence == "likely"


def test_further_processes_of_a_server_are_no_tenants():
    assert not found(shared(30 * GIB, unit=UNIT))
