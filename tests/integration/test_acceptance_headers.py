# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A registry that serves another header than the file has: the plan is made again before anything is loaded."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest

from tests.integration.acceptance import SET, Site, on, requests
from tests.rig.hosts import fleet
from tests.rig.models import catalog
from tests.rig.registry import background
from tests.rig.settings import set_directory

pytestmark = pytest.mark.hosts

KEY = b"llama.context_length" + struct.pack("<I", 4)
HEAD = catalog.header_of("tiny")[0]


def lie(tokens):
    """A rule for the registry: another context length in a file of the same size, for which less memory is planned."""
    old, new = (KEY + struct.pack("<I", number) for number in (8192, tokens))
    return {"target": "library/tiny", "fault": "lie", "old": old.hex(), "new": new.hex()}


def applied():
    """The models of the plan on the host, with the headers that it was made from."""
    plan = json.loads(on("a", "cat", "/etc/ollama-multigpu/plan.json"))
    return plan, [model for instance in plan["instances"] for model in instance["models"]]


def kv_bytes(models):
    return [device["kv_bytes"] for model in models for device in model["predicted"]["devices"]]


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("headers"))
    fleet.up(SET, {"a": "rtx-4090-x2"}, say=lambda text: None)
    fleet.serve(SET, say=lambda text: None)
    model = {"name": "tiny", "insecure": True, "strategy": "replicate", "optimized": {}}
    site.inventory({"a": {}}, ollama_multigpu_models=[model])
    yield site
    fleet.down(SET)


def test_a_header_that_lies_is_replaced_by_that_of_the_file(site):
    background.control(fleet.require_server(SET), "POST", "faults", lie(4096))
    lied = site.play("plan").plans["a"]
    assert {instance["environment"]["OLLAMA_CONTEXT_LENGTH"] for instance in lied["instances"]} == {"4096"}
    first = site.play("site")
    assert "is not the one that the plan was made from" in first.text
    plan, models = applied()
    size = models[0]["headers"][0]["header_bytes"]
    assert models[0]["headers"] == [{"header_bytes": size, "header_sha256": hashlib.sha256(HEAD[:size]).hexdigest()}]
    assert {instance["environment"]["OLLAMA_CONTEXT_LENGTH"] for instance in plan["instances"]} == {"8192"}
    lied_models = [model for instance in lied["instances"] for model in instance["models"]]
    assert [2 * size for size in kv_bytes(lied_models)] == kv_bytes(models)
    assert any("served another header for tiny" in warning for warning in plan["warnings"])
    again = site.play("site")
    assert again.counts["a"]["changed"] == 0 and applied()[0] == plan


def test_a_tag_that_moved_leaves_the_model_and_is_said(site):
    background.control(fleet.require_server(SET), "DELETE", "faults")
    site.play("site")
    before = applied()[1]
    manifest = set_directory(SET) / "served" / "manifests" / "library" / "tiny" / "latest"
    moved = json.dumps(json.loads(manifest.read_text(encoding="utf-8")), indent=1).encode()
    manifest.write_bytes(moved)
    requests(clear=True)
    outcome = site.play("site")
    assert "the registry now has sha256:%s under that name" % hashlib.sha256(moved).hexdigest() in outcome.text
    assert applied()[1] == before
    assert {entry["kind"] for entry in requests()} <= {"manifest", "blob", "data"}
    assert all(entry["headers"].get("User-Agent") == "gpufleet.ollama" for entry in requests())
