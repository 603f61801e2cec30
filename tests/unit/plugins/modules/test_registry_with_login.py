# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models of a registry with a login: model_info reads them, instance_models and model download them from the rig."""

from __future__ import annotations

import hashlib

import pytest

from tests.unit.plugins.modules.ollama_rig import TINY_BYTES, TINY_DIGEST
from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.modules.test_instance_models import actions, entry, run

LOGIN = {"registry_username": "reader", "registry_password": "MARK"}
OPTIMIZED = {"parameters": {"num_ctx": 2048}, "from": "tiny"}


@pytest.fixture(name="closed", params=["basic", "bearer"])
def _closed(rig, request):
    """The rig, whose registry wants a login."""
    rig.registry.login.set("reader:MARK", request.param)
    rig.registry.requests.clear()
    yield rig
    rig.registry.login.set()


def read(rig, **options):
    return run_module("model_info", {"name": "tiny", "registry": rig.host, "insecure": True, **options})


def data_requests(rig):
    return [one for one in rig.registry.requests if one["kind"] == "data"]


def test_the_header_is_read_with_the_login(closed):
    assert read(closed, **LOGIN)["model"]["digest"] == TINY_DIGEST
    assert {one["authorization"] for one in data_requests(closed)} == {""}
    for options, words in (
        ({}, "needs a login"),
        (
            dict(LOGIN, registry_password="OTHER"),
            "check ollama_multigpu_registry_username and ollama_multigpu_registry",
        ),
        ({"registry_username": "reader"}, "is given without ollama_multigpu_registry_password"),
    ):
        refused = read(closed, **options)
        assert refused["failed"] and words in refused["msg"] and "MARK" not in str(refused)


def test_a_model_is_downloaded_once_checked_and_served(closed):
    models = [entry(closed, 0), entry(closed, 0, "tiny:made", **OPTIMIZED)]
    assert actions(run(closed, models, check=True, **LOGIN)) == ["pull", "create"] and closed.names() == []
    done = run(closed, models, **LOGIN)
    assert actions(done) == ["pull", "create"] and "MARK" not in str(done)
    assert done["models"][0]["digest"] == TINY_DIGEST and done["models"][0]["pulled_bytes"] == TINY_BYTES
    for blob in (closed.store(0) / "blobs").iterdir():
        assert blob.name == "sha256-" + hashlib.sha256(blob.read_bytes()).hexdigest()
    asked = {one["headers"].get("User-Agent") for one in closed.registry.requests}
    assert asked == {"gpufleet.ollama"} and {one["authorization"] for one in data_requests(closed)} == {""}
    closed.registry.requests.clear()
    assert actions(run(closed, models, **LOGIN)) == ["none"] * 2 and closed.registry.requests == []
    # Another instance links it.
    assert actions(run(closed, [entry(closed, 1)], **LOGIN)) == ["link"]


def test_a_download_goes_on_where_it_ended(closed):
    closed.registry.faults.add({"target": "library/tiny", "fault": "cut", "after": 300_000, "times": 1})
    assert actions(run(closed, [entry(closed, 0)], **LOGIN)) == ["pull"]
    ranges = [one["range"][0] for one in data_requests(closed) if one.get("range", [0, 0])[1] > 500_000]
    assert ranges[0] == 0 and 300_000 - 65536 <= ranges[1] <= 300_000


def test_other_bytes_are_refused_and_thrown_away(closed):
    closed.registry.faults.add({"target": "library/tiny", "fault": "corrupt", "times": 1})
    refused = run(closed, [entry(closed, 0)], **LOGIN)
    assert refused["failed"] and "has the SHA-256" in refused["msg"] and closed.names() == []
    assert actions(run(closed, [entry(closed, 0)], **LOGIN)) == ["pull"]


def test_a_wrong_password_changes_nothing(closed):
    refused = run(closed, [entry(closed, 0)], **dict(LOGIN, registry_password="OTHER"))
    assert refused["failed"] and closed.names() == []
    assert closed.host in refused["msg"] and "check ollama_multigpu_registry_username" in refused["msg"]
    no_name = run(closed, [entry(closed, 0)], registry_password="OTHER")
    assert "is given without ollama_multigpu_registry_username" in no_name["msg"] and "OTHER" not in str(no_name)


def test_the_login_goes_to_no_other_registry(closed):
    """The name of the model has a registry of its own, and the login is for the mirror."""
    model = entry(closed, 0, "%s/library/tiny" % closed.host.replace("127.0.0.1", "localhost"))
    refused = run(closed, [model], **LOGIN)
    assert refused["failed"] and closed.names() == []
    assert "Basic" not in {one["authorization"] for one in closed.registry.requests}


def test_the_module_of_one_model_takes_the_login(closed):
    options = {"name": "tiny", "registry": closed.host, "insecure": True, "url": closed.url(0), **LOGIN}
    nowhere = run_module("model", options)
    assert nowhere["failed"] and "needs the store on this host" in nowhere["msg"]
    options["store"] = str(closed.store(0))
    foreseen = run_module("model", options, check=True)
    assert foreseen["action"] == "pull" and closed.names() == []
    done = run_module("model", options)
    assert (done["action"], done["digest"]) == ("pull", TINY_DIGEST) and "MARK" not in str(done)
    assert run_module("model", options)["changed"] is False
    refused = run_module("model", dict(options, registry_password=""))
    assert "is given without ollama_multigpu_registry_password" in refused["msg"]
