# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Exceptions of requests in words."""

from __future__ import annotations

import socket

import pytest
import requests
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import failed_requests


def nested(text):
    """An exception as requests raises it: what urllib3 raised is its reason, behind the connection that it is of."""

    class Reason(Exception):
        reason = OSError("<HTTPConnection object at 0x7f00> Failed to establish a new connection: %s" % text)

    return requests.exceptions.ConnectionError(Reason("Max retries exceeded with url: /v2/"))


@pytest.mark.parametrize(
    "text, phrase",
    [
        ("[Errno 101] Network is unreachable", "the network is unreachable"),
        ("[Errno 99] Cannot assign address", "Failed to establish a new connection: [Errno 99] Cannot assign address"),
    ],
)
def test_the_innermost_reason_is_told(text, phrase):
    assert failed_requests.innermost(nested(text)) == "Failed to establish a new connection: " + text
    error = requests.exceptions.ConnectionError(nested(text).args[0].reason)
    assert failed_requests.phrase(error) == phrase


def test_nobody_who_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(requests.exceptions.ConnectionError) as caught:
            requests.get("http://127.0.0.1:%d/" % taken.getsockname()[1], timeout=5)
    assert failed_requests.phrase(caught.value) == failed_requests.REFUSED


def test_an_exception_without_a_text_has_its_name():
    assert failed_requests.phrase(requests.exceptions.ChunkedEncodingError()) == "ChunkedEncodingError"
    assert failed_requests.phrase(requests.exceptions.ConnectionError("<pool> ")) == "ConnectionError"
