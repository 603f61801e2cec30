# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What all services of a host have in common: directory, address and ports."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, refused


@pytest.mark.parametrize(
    "options, words",
    [
        ({"base_port": 70000}, ["70000", "65535", "11434"]),
        ({"base_port": 0}, ["base_port", "at least 1"]),
        ({"base_port": float("inf")}, ["base_port", "inf"]),
        ({"listen_address": ""}, ["''", "127.0.0.1"]),
        ({"advertise_address": "0.0.0.0"}, ["advertise_address '0.0.0.0'", "all addresses"]),
        ({"advertise_address": "127.0.0.1", "listen_address": "::"}, ["'127.0.0.1'", "the client itself"]),
        ({"listen_address": "10.0.0.1:11434"}, ["10.0.0.1:11434", "base_port"]),
        ({"listen_address": "300.1.2.3"}, ["300.1.2.3"]),
        ({"listen_address": "::::"}, ["::::"]),
        ({"listen_address": "[::1"}, ["[::1"]),
        ({"listen_address": "[127.0.0.1]"}, ["[127.0.0.1]"]),
        ({"listen_address": "fe80::1%eth0"}, ["fe80::1%eth0"]),
        ({"listen_address": "http://localhost"}, ["http://localhost"]),
        ({"models_dir": "/a\nb"}, ["'/a\\nb'", "systemd"]),
        ({"models_dir": "/a b"}, ["'/a b'", "' '", "systemd"]),
        ({"models_dir": "/%h"}, ["'/%h'", "'%'"]),
        ({"models_dir": "/srv/../etc"}, ["'/srv/../etc'", "absolute"]),
        ({"ollama_version": "0.30"}, ["'0.30'", "0.32.15"]),
        ({"ollama_version": "\u0660.\u0661.\u0662"}, ["number of a release"]),
        ({"selectors": [""]}, ["''", TWO_A6000["gpus"][0]["uuid"]]),
        ({"base_port": "http"}, ["'http'"]),
        ({"listen_address": "not an address"}, ["not an address"]),
        ({"models_dir": "models"}, ["'models'", "absolute"]),
        ({"headroom_bytes": "1GiB"}, ["headroom_bytes", "'1GiB'"]),
        ({"overhead_bytes": -1}, ["overhead_bytes"]),
        ({"ollama_version": "latest"}, ["'latest'"]),
        ({"selectors": ["7"]}, ["'7'", TWO_A6000["gpus"][0]["uuid"]]),
        ({"selectors": ["GPU-nope"]}, ["'GPU-nope'"]),
    ],
)
def test_wrong_settings_of_the_host(options, words):
    message = refused(**options)
    for word in words:
        assert word in message


def test_ports_that_run_past_the_last_one():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    with pytest.raises(PlacementError, match="65536"):
        make_plan(TWO_A6000, [entry], "0.32.15", base_port=65535)


def test_addresses():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    instance = make_plan(TWO_A6000, [entry], "0.32.15", listen_address="0.0.0.0")["instances"][0]
    assert (instance["environment"]["OLLAMA_HOST"], instance["url"]) == ("0.0.0.0:11434", "http://127.0.0.1:11434")
    for given in ("::", "[::]", "0:0:0:0:0:0:0:0"):
        instance = make_plan(TWO_A6000, [entry], "0.32.15", listen_address=given)["instances"][0]
        assert (instance["address"], instance["environment"]["OLLAMA_HOST"], instance["url"]) == (
            "::",
            "[::]:11434",
            "http://[::1]:11434",
        )
    for given, host in (
        ("[FD00::5]", "[fd00::5]"),
        ("gpu-1.example.org", "gpu-1.example.org"),
        ("localhost", "localhost"),
    ):
        instance = make_plan(TWO_A6000, [entry], "0.32.15", listen_address=given)["instances"][0]
        assert instance["environment"]["OLLAMA_HOST"] == host + ":11434" and instance["url"] == "http://%s:11434" % host


def test_the_address_for_clients():
    entry = {"name": "llama3", "model": models.model("llama3.1-8b")}
    found = make_plan(TWO_A6000, [entry], "0.32.15", listen_address="0.0.0.0", advertise_address="[2001:DB8::7]")
    assert found["advertise_address"] == "2001:db8::7"
    assert found["instances"][0]["environment"]["OLLAMA_HOST"] == "0.0.0.0:11434"
    for none in ("", None):
        assert make_plan(TWO_A6000, [entry], "0.32.15", advertise_address=none)["advertise_address"] is None
