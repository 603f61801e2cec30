# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What GPU hosts say of their endpoints, and what is known of those that say nothing."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.host_facts import known, remembered
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

from tests.unit.plugins.plugin_utils.gateway.builders import endpoint, facts, model

BOTH = endpoint("a", "gpu0", model("x:latest")), endpoint("b", "gpu0", model("y:latest"))
HOSTS = json.loads(json.dumps(facts(*BOTH)))
TEXTS = {host: json.dumps(entry) for host, entry in HOSTS.items()}


def test_what_hosts_say_is_taken():
    found = known(TEXTS, "not read, because every host answers")
    assert (found.hosts, found.not_reached) == (HOSTS, ())


def test_a_host_that_cannot_be_reached_has_what_it_had_before():
    before = remembered(HOSTS)
    found = known({"a": TEXTS["a"], "b": None}, before)
    assert found.hosts == HOSTS and remembered(found.hosts) == before
    assert found.not_reached == ("The GPU host b cannot be reached. Its endpoints are those of the run before.",)
    assert list(known({"b": None}, before).hosts) == ["b"], "a host that is not asked for any more is forgotten"


@pytest.mark.parametrize("before", ["", remembered({"a": HOSTS["a"]})])
def test_a_host_that_was_never_reached_is_left_out(before):
    found = known({"a": TEXTS["a"], "b": None}, before)
    assert list(found.hosts) == ["a"]
    assert found.not_reached == (
        "The GPU host b cannot be reached, and no run has read its endpoints yet. It is left out.",
    )
    with pytest.raises(GatewayError, match="None of the hosts in ollama_gateway_gpu_hosts can be reached: b, c."):
        known({"b": None, "c": None}, before)


@pytest.mark.parametrize("text", ["", "[]", "{" * 100000, "x" * (5 * 1024 * 1024)])
def test_facts_that_are_none_are_said(text):
    with pytest.raises(GatewayError, match="The facts of a are"):
        known({"a": text}, remembered(HOSTS))


@pytest.mark.parametrize("before", ["x", "[]", "{" * 100000, '{"version": 99, "hosts": {}}'])
def test_endpoints_of_the_run_before_that_are_none_are_said(before):
    with pytest.raises(GatewayError, match="The endpoints of the run before cannot be read: "):
        known({"a": TEXTS["a"], "b": None}, before)
