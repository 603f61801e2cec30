# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""After a change of the models directory, the old one is reported and linked from, and never deleted."""

from __future__ import annotations

import pytest

from tests.integration.acceptance import SET, STORE, Site, on, requests
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

NEW = "/srv/models"


def test_a_changed_models_directory_leaves_the_old_one(podman_hosts, collections, tmp_path):
    site = Site(collections, tmp_path)
    fleet.up(SET, {"a": "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory(
            {"a": {}},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}],
        )
        site.play("site")
        requests(clear=True)
        moved = site.play("site", "-e", "ollama_multigpu_models_dir=" + NEW)
        assert (
            "ollama_multigpu_models_dir was %s and is %s: %s/instances keeps its " % (STORE, NEW, STORE) in moved.text
        )
        assert "linked into the new place and not deleted there" in moved.text
        assert {request["kind"] for request in requests()} == {"manifest"}
        blobs = on(
            "a", "find", STORE + "/instances", NEW + "/instances", "-path", "*/blobs/*", "-printf", "%i\\n"
        ).split()
        assert len(blobs) == 2 * len(set(blobs)) > 0
    finally:
        fleet.down(SET)
