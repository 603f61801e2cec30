# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model file behind an address, whatever its server makes of ranges."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.file_address import AddressError, FileAtAddress

from tests.unit.plugins.scripted_server import serving

CONTENT = bytes(range(256)) * 1000


def answering(status=206, headers=None, whole=False):
    """A server of one file."""

    def answer(request, _handler):
        first, _dash, last = request.headers["Range"].partition("=")[2].partition("-")
        end = int(last) + 1 if last else len(CONTENT)
        body = CONTENT if whole else CONTENT[int(first) : end]
        told = {} if whole else {"Content-Range": "bytes %s-%d/%d" % (first, int(first) + len(body) - 1, len(CONTENT))}
        return status, body, {**told, **(headers or {})}

    return serving({("GET", "/m.gguf"): answer})


@pytest.mark.parametrize("whole", [False, True])
def test_size_and_ranges(whole):
    with answering(200 if whole else 206, whole=whole) as double:
        file = FileAtAddress(double.url + "/m.gguf", 5)
        assert file.size() == len(CONTENT)
        assert file.range(1000, 70_000) == CONTENT[1000:71_000]
        assert file.range(len(CONTENT) - 3, 10) == CONTENT[-3:]
        with file.reader(500) as read:
            assert read(7) == CONTENT[500:507] and read(5) == CONTENT[507:512]


@pytest.mark.parametrize(
    "status, headers, words",
    [
        (404, None, "answers with the status 404"),
        (206, {"Content-Range": "bytes 7-9/10"}, "another range than asked for"),
        (206, {"Content-Encoding": "gzip"}, "a compressed file"),
    ],
)
def test_what_is_no_answer(status, headers, words):
    with answering(status, headers) as double:
        with pytest.raises(AddressError, match=words):
            FileAtAddress(double.url + "/m.gguf", 5).range(0, 10)


@pytest.mark.parametrize("status", [500, 503])
def test_trouble_of_the_server_that_passes_is_tried_again(monkeypatch, status):
    monkeypatch.setattr(attempts, "PAUSE", 0)
    good = (206, CONTENT[:10], {"Content-Range": "bytes 0-9/%d" % len(CONTENT)})
    with serving({("GET", "/m.gguf"): [(status, {}), (status, {}), good]}) as double:
        assert FileAtAddress(double.url + "/m.gguf", 5).range(0, 10) == CONTENT[:10]
    with serving({("GET", "/m.gguf"): (status, {})}) as double:
        with pytest.raises(AddressError, match="answers with the status %d" % status):
            FileAtAddress(double.url + "/m.gguf", 5).range(0, 10)
        assert len(double.requests) == 3


def test_an_address_that_nobody_answers():
    with pytest.raises(AddressError, match="cannot be read"):
        FileAtAddress("http://127.0.0.1:9/m.gguf", 1).size()
