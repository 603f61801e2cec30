# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What opens a service to others."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import exposure


@pytest.mark.parametrize(
    "value, names",
    [
        (["a", "b"], ("a", "b")),
        ("OLLAMA_ORIGINS, listen_address", ("OLLAMA_ORIGINS", "listen_address")),
        ("", ()),
        (None, ()),
    ],
)
def test_names_are_a_list_or_a_text_of_the_command_line(value, names):
    assert exposure.acknowledged(value) == names


@pytest.mark.parametrize(
    "address, opens",
    [
        ("0.0.0.0", True),
        ("::", True),
        ("[::]", True),
        ("0:0:0:0:0:0:0:0", True),
        ("::ffff:0.0.0.0", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("192.0.2.7", True),
        ("fe80::1", True),
        ("", False),
        ("localhost", False),
    ],
)
def test_an_address_beyond_loopback_opens_a_host(address, opens):
    assert (exposure.of_address(address) is not None) is opens


@pytest.mark.parametrize(
    "allowed, opens",
    [
        ((), True),
        (("192.0.2.0/24",), False),
        (("2001:db8::/32", "192.0.2.7"), False),
        (("0.0.0.0/0",), True),
        (("0.0.0.0/1", "128.0.0.0/1"), True),
        (("192.0.2.7", "::/0"), True),
    ],
)
def test_listed_clients_open_nothing_unless_they_are_everybody(allowed, opens):
    assert (exposure.of_address("0.0.0.0", allowed) is not None) is opens


@pytest.mark.parametrize(
    "name, value, opens",
    [
        ("OLLAMA_ORIGINS", "*", True),
        ("OLLAMA_ORIGINS", "'*'", True),
        ("OLLAMA_ORIGINS", "https://chat.example.com, *", True),
        ("OLLAMA_ORIGINS", "http://*", True),
        ("OLLAMA_ORIGINS", "HTTPS://*:*", True),
        ("OLLAMA_ORIGINS", "http*", True),
        ("OLLAMA_ORIGINS", "*://*", True),
        ("OLLAMA_ORIGINS", "https://*.example.com", False),
        ("OLLAMA_ORIGINS", "app://*", False),
        ("OLLAMA_ORIGINS", "", False),
        ("OLLAMA_NO_CLOUD", "0", True),
        ("OLLAMA_NO_CLOUD", "1", False),
        ("OLLAMA_NO_CLOUD", "", False),
        ("OLLAMA_DEBUG_LOG_REQUESTS", "1", True),
        ("OLLAMA_DEBUG_LOG_REQUESTS", "0", False),
        ("OLLAMA_NOPRUNE", "0", False),
    ],
)
def test_a_variable_opens_a_service_with_some_of_its_values(name, value, opens):
    assert (exposure.of_variable(name, value) is not None) is opens
