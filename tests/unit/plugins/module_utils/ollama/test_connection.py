# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Addresses of Ollama servers."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import (
    InvalidUrl,
    OllamaError,
    check_url,
)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:11434", "https://gpu.example.com", "http://[::1]:11434", "http://h:1/"]
)
def test_addresses_of_a_server(url):
    assert check_url(url) == url.rstrip("/")


def test_no_message_tells_a_password():
    error = OllamaError(500, "pull model manifest: Get https://user:MARK@registry/v2/: no such host")
    assert error.message == str(error) and "MARK" not in error.message


@pytest.mark.parametrize(
    "url, words",
    [
        ("http://127.0.0.1:99999", "port that is not between 1 and 65535"),
        ("http://127.0.0.1:0", "port that is not between 1 and 65535"),
        ("http://h:port", "port"),
        ("127.0.0.1:11434", "not an http or https address"),
        ("ftp://h", "not an http or https address"),
        ("http://", "not an http or https address"),
        ("http://user:secret@h", "user name or password"),
        ("secret@h:1", "not an http or https address"),
        ("http://h/api", "path"),
        ("http://h\n", "white space"),
        (None, "no text"),
    ],
)
def test_what_is_no_address_is_refused(url, words):
    with pytest.raises(InvalidUrl, match=words) as caught:
        OllamaClient(url)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
