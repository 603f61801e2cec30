# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The endpoints of a fleet as one document."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import EndpointsError, plan_endpoints
from ansible_collections.gpufleet.ollama.plugins.plugin_utils import endpoints

from tests.unit.plugins.module_utils.changes.builders import model, plan


def entry(address, *models):
    """The endpoints of a host that listens on all addresses and has this one."""
    one = plan(*models)
    one["instances"][0]["address"] = "0.0.0.0"
    return json.loads(json.dumps(plan_endpoints(one, address)))


def test_a_model_has_the_addresses_of_all_its_replicas():
    big = dict(context_length=8192, parallel=2, capabilities=["completion", "vision"])
    small = dict(context_length=4096, parallel=1, capabilities=["completion"])
    hosts = {"b": entry("192.0.2.2", model(**small)), "a": entry("192.0.2.1", model(aliases=["chat"], **big))}
    found = endpoints.document(hosts)
    assert found["hosts"] == hosts
    assert list(found["models"]) == ["chat:latest", "llama3.1:8b"]
    of_a = {
        "host": "a",
        "instance": "gpu0",
        "url": "http://192.0.2.1:11434",
        "slots": 2,
        "context_length": 8192,
        "host_only": False,
    }
    of_b = dict(of_a, host="b", url="http://192.0.2.2:11434", slots=1, context_length=4096)
    assert found["models"]["llama3.1:8b"] == {
        "served_as": ["llama3.1:8b"],
        "replicas": 2,
        "slots": 3,
        "context_length": 4096,
        "capabilities": ["completion"],
        "endpoints": [of_a, of_b],
    }
    assert found["models"]["chat:latest"]["endpoints"] == [of_a]


def test_an_alias_may_name_another_model_on_another_host():
    hosts = {
        "a": entry("192.0.2.1", model("x", aliases=["chat"])),
        "b": entry("192.0.2.2", model("y", aliases=["Chat"])),
    }
    found = endpoints.document(hosts)["models"]
    assert list(found) == ["chat:latest", "x:latest", "y:latest"]
    assert found["chat:latest"]["served_as"] == ["x:latest", "y:latest"]


def test_capabilities_that_are_not_known_of_one_are_not_known():
    hosts = {"a": entry("192.0.2.1", model(capabilities=["completion"])), "b": entry("192.0.2.2", model())}
    assert endpoints.document(hosts)["models"]["llama3.1:8b"]["capabilities"] is None


def test_a_document_is_read_again():
    hosts = {"a": entry("192.0.2.1", model())}
    assert endpoints.hosts_of(json.loads(json.dumps(endpoints.document(hosts)))) == hosts


@pytest.mark.parametrize("content", [None, [], {}, {"hosts": []}, {"hosts": {}}, {"hosts": {}, "version": 2}])
def test_another_file_is_refused(content):
    with pytest.raises(EndpointsError, match="no hosts|has the version"):
        endpoints.hosts_of(content)
