# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which servers' answers count."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.known_servers import (
    known_servers,
    listening,
    with_stored_contents,
)

from tests.unit.plugins.module_utils.changes.builders import applied_host, difference, model, plan, process, serving


def two_instances(first_port):
    """A plan with a model of its own for each of two instances."""
    wanted = plan(model("m1"), port=first_port)
    wanted["instances"] += plan(model("m2"), name="gpu1", port=first_port + 1)["instances"]
    return wanted


def changed(server, **variables):
    """A server whose process has other variables than planned."""
    differences = [{"name": name, "difference": "other_than_planned"} for name in variables]
    environment = dict(
        server["environment"], process=dict(server["environment"]["process"], **variables), differences=differences
    )
    return dict(server, environment=environment)


def test_no_model_of_a_sibling_at_the_new_address_is_deleted():
    """Ports move by one: at the new address of gpu0 still gpu1 answers."""
    before, after = two_instances(11434), two_instances(11435)
    running = serving(before)
    servers = {
        "gpu0": changed(running["gpu1"], OLLAMA_HOST="127.0.0.1:11434", OLLAMA_MODELS="/models/instances/gpu0"),
        "gpu1": changed(dict(running["gpu1"], reachable=False, models=[]), OLLAMA_HOST="127.0.0.1:11435"),
    }
    changes = difference(after, applied_host(before), servers)
    assert changes.of("delete", "model") == [] and [one for one in changes.models if one.state == "absent"] == []
    assert {change.instance for change in changes.of("restart", "instance")} == {"gpu0", "gpu1"}
    # A sibling's answer says nothing of what gpu0 has or can be linked from, either.
    assert known_servers(after, servers) == {}


def test_what_the_store_before_holds_is_not_in_the_new_store():
    before = plan(model("m1"))
    after = copy.deepcopy(before)
    after["models_dir"] = "/new"
    after["instances"][0]["store"] = "/new/instances/gpu0"
    servers = {"gpu0": changed(serving(before)["gpu0"], OLLAMA_MODELS="/models/instances/gpu0")}
    changes = difference(after, applied_host(before), servers)
    assert [change.what for change in changes.of("fetch", "model")] == ["m1"]
    assert len(changes.of("load", "model")) == 1


def test_a_process_that_cannot_be_read_is_not_known():
    wanted = plan(model("m1"))
    servers = serving(wanted)
    assert list(known_servers(wanted, servers)) == ["gpu0"]
    servers["gpu0"]["environment"]["process"] = None
    assert known_servers(wanted, servers) == {}


@pytest.mark.parametrize(
    "url, value, known",
    [
        ("http://127.0.0.1:11434", "127.0.0.1:11434", True),
        ("http://127.0.0.1:11434", "", True),
        ("http://127.0.0.1:11434", "127.0.0.1", True),
        ("http://127.0.0.1:11434", "http://localhost:11434/", True),
        ("http://127.0.0.1:11434", "0.0.0.0", True),
        ("http://127.0.0.1:11434", ":11434", True),
        ("http://127.0.0.1:11434", '"127.0.0.1:11434" ', True),
        ("http://127.0.0.1:11434", "127.0.0.1:11435", False),
        ("http://127.0.0.1:11434", "http://127.0.0.1", False),
        ("http://127.0.0.1:11434", "10.0.0.7:11434", False),
        ("http://127.0.0.1:11434", "[::1]:11434", False),
        ("http://[::1]:11434", "[::1]:11434", True),
        ("http://[::1]:11434", "[0:0::1]", True),
        ("http://[::1]:11434", "::1", True),
        ("http://[::1]:11434", "[::]:11434", True),
    ],
)
def test_addresses_are_compared_as_ollama_reads_them(url, value, known):
    wanted = plan(model("m1"))
    wanted["instances"][0]["url"] = url
    servers = serving(wanted)
    servers["gpu0"]["environment"]["process"]["OLLAMA_HOST"] = value
    assert bool(known_servers(wanted, servers)) is known


@pytest.mark.parametrize(
    "value, address",
    [
        ("https://example.com", ("example.com", 443)),
        ("example.com:99999", ("example.com", 11434)),
        ("example.com:x", ("example.com", 11434)),
        ("[::1]:80/path", ("::1", 80)),
    ],
)
def test_ports_of_ollama(value, address):
    assert listening(value) == address


def test_a_store_is_compared_without_quotes_and_slashes():
    wanted = plan(model("m1"))
    servers = serving(wanted)
    servers["gpu0"]["environment"]["process"] = dict(process("gpu0"), OLLAMA_MODELS="'/models//instances/gpu0/'")
    assert list(known_servers(wanted, servers)) == ["gpu0"]
    servers["gpu0"]["environment"]["process"]["OLLAMA_MODELS"] = ""
    assert known_servers(wanted, servers) == {}


def test_what_stores_of_stopped_instances_contain_is_known_beside_what_servers_say():
    told = {"tiny:latest": {"content": {}}}
    servers = {
        "gpu0": {"reachable": False, "contents": told, "models": [{"name": "of another"}]},
        "gpu1": {"reachable": True, "contents": told},
        "gpu2": {"reachable": False, "contents": {}},
    }
    assert with_stored_contents({}, servers) == {"gpu0": {"reachable": False, "contents": told}}
    assert with_stored_contents({"gpu0": servers["gpu1"]}, servers) == {"gpu0": servers["gpu1"]}
