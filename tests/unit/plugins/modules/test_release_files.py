# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module release_files: options, check mode, diff, messages. What it calls has tests of its own."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.release_install import Release

from tests.unit.plugins.module_utils.host import release_archives
from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.scripted_server import serving

place = release_archives.place
NAME = "ollama-linux-amd64.tar.zst"


@pytest.fixture(name="served")
def _served(tmp_path):
    """Options of a release whose archive is served over http, and the server."""
    with open(release_archives.pack(tmp_path / NAME, release_archives.release()), "rb") as stream:
        content = stream.read()
    with serving({("GET", "/v1/" + NAME): (200, content)}) as server:
        server.sha256 = hashlib.sha256(content).hexdigest()
        yield server


def options(served, place, **more):
    url = "%s/v1/%s" % (served.url, NAME)
    return dict({"version": "0.32.15", "url": url, "checksum": served.sha256, "path": str(place / "releases")}, **more)


def test_a_release_is_installed_once(served, place):
    planned = run_module("release_files", options(served, place), check=True)
    assert planned["changed"] and os.listdir(place) == [] and not served.requests
    done = run_module("release_files", options(served, place))
    assert done["changed"] and done["diff"] == planned["diff"] and done["directory"] == str(place / "releases/0.32.15")
    assert done["members"] == 8 and os.listdir(place / "releases") == ["0.32.15"]
    assert done["diff"]["before"]["state"] == "absent" and done["diff"]["after"]["checksum"] == served.sha256
    requests = len(served.requests)
    again = run_module("release_files", options(served, place))
    assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]
    assert len(served.requests) == requests


def test_what_another_run_has_installed_meanwhile_is_not_installed_again(served, place, monkeypatch):
    assert run_module("release_files", options(served, place))["changed"]
    answers = [None]
    real = Release.installed
    monkeypatch.setattr(Release, "installed", lambda release: answers.pop() if answers else real(release))
    requests = len(served.requests)
    late = run_module("release_files", options(served, place))
    assert not late["changed"] and "members" not in late and len(served.requests) == requests


def test_the_hash_may_have_its_name_before_it(served, place):
    assert run_module("release_files", options(served, place, checksum="sha256:" + served.sha256.upper()))["changed"]


@pytest.mark.parametrize(
    "more, words",
    [
        ({"checksum": "c" * 64}, ["checksum " + "c" * 64, "Nothing on the host was changed", "_release_checksum"]),
        ({"version": "0.32.14"}, ["Ollama 0.32.14 could not be installed", "its version is '0.32.15'"]),
        ({"version": "../x"}, ["version is '../x'", "0.32.15"]),
        ({"url": "file:///etc/x"}, ["url is 'file:///etc/x'", "https"]),
        ({"checksum": "abc"}, ["checksum is 'abc'", "64 hexadecimal digits"]),
        ({"checksum": "http://x/sha256sum.txt"}, ["checksum is 'http://x/sha256sum.txt'", "https address"]),
        ({"checksum": "https://x/sha256sum.txt"}, ["url is 'http://", "plain http needs a SHA-256"]),
        ({"path": "/proc/self/releases"}, ["No such file|Permission|not permitted|No such process"]),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(served, place, more, words):
    import re

    result = run_module("release_files", options(served, place, **more))
    assert result["failed"] and not result.get("changed")
    for word in words:
        assert re.search(word if "|" in word else re.escape(word), result["msg"]), result["msg"]
    assert os.listdir(place) == []


def test_a_password_in_an_address_is_neither_written_nor_shown(served, place):
    given = options(served, place)
    given["url"] = given["url"].replace("://", "://user:MARK@")
    done = run_module("release_files", given)
    assert done["changed"] and "MARK" not in str(done)
    given["checksum"] = "c" * 64
    failed = run_module("release_files", given)
    assert "could not be installed from http://***@" in failed["msg"] and "MARK" not in str(failed)
    # With the address of a sha256sum.txt, what is written down has no password, and another one installs nothing again.
    marker = place / "releases" / "0.32.15" / ".complete"
    marker.write_text('{"version": "0.32.15", "checksum": "https://***@mirror.example/sha256sum.txt"}')
    given["checksum"] = "https://user:MARK@mirror.example/sha256sum.txt"
    given["url"] = given["url"].replace("http://", "https://")
    again = run_module("release_files", given)
    assert not again["changed"] and "MARK" not in str(again)
    given["checksum"] = "http://user:MARK@mirror.example/sha256sum.txt"
    assert "MARK" not in run_module("release_files", given)["msg"]
