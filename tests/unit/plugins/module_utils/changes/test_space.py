# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run brings has to fit into the file systems of a host, all of it together."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import archives

from tests.unit.plugins.module_utils.changes.builders import EXISTING, applied_host, difference, host, model, plan
from tests.unit.plugins.module_utils.changes.test_held_models import OWN, STOPPED, adopting, store

GIB = 1024**3
FETCH = "/models/fetch"


def room(models, releases=10**12, same=False):
    return [
        {"path": paths.RELEASES, "device": 1 if same else 2, "free_bytes": models if same else releases},
        {"path": "/models", "device": 1, "free_bytes": models},
    ]


def fetching(free, *names, begun=0, held=(), **more):
    """What stands in the way of fetching models of 3 GiB."""
    wanted = plan(*(model(name, size_bytes=3 * GIB) for name in names))
    stores = {OWN: store(*held), FETCH: dict(store(), begun_bytes=begun)}
    state = applied_host(wanted, stores=stores, file_systems=room(free), **more)
    return difference(wanted, state, STOPPED).obstacles


@pytest.mark.parametrize("free, fits", [(3 * GIB, True), (3 * GIB - 1, False)])
def test_copies_have_to_fit(free, fits):
    wanted, state = adopting("gpu0", same=False)
    state["file_systems"] = room(free)
    obstacles = difference(wanted, state, adopt=True).obstacles
    assert bool(obstacles) != fits
    if not fits:
        assert "3.0 GiB for models that are copied from /old/models. Free 1 bytes more" in obstacles[0]
    del state["file_systems"]
    assert difference(wanted, state, adopt=True).obstacles == (), "nothing is known of its file systems"


def test_all_copies_count_together():
    wanted = plan(model("tiny"), model("small"))
    stores = {"/old/models": store("tiny:latest", "small:latest", owned=False)}
    state = host(existing=EXISTING, stores=stores, file_systems=room(5 * GIB))
    (obstacle,) = difference(wanted, state, adopt=True).obstacles
    assert "needs %d (6.0 GiB) there" % (6 * GIB) in obstacle and "Free %d bytes more" % GIB in obstacle
    stores["/old/models"]["owned"] = True
    assert difference(wanted, state, adopt=True).obstacles == (), "links take no space"


def test_models_that_are_fetched_have_to_fit():
    assert fetching(6 * GIB, "a", "b") == ()
    (obstacle,) = fetching(6 * GIB - 1, "a", "b")
    assert obstacle.startswith("The file system of /models has %d bytes (6.0 GiB) free" % (6 * GIB - 1))
    assert "6.0 GiB for models that are fetched (a, b)" in obstacle
    assert obstacle.endswith("or set ollama_multigpu_models_dir to a directory on a larger file system.")


def test_what_was_downloaded_before_an_interruption_is_not_counted_again():
    assert fetching(2 * GIB, "a", begun=GIB) == () and fetching(2 * GIB, "a", begun=GIB - 1) != ()


def test_nothing_is_refused_that_may_fit():
    """Of a model that a store has in another form, the blobs may be there already."""
    wanted = plan(model("a", size_bytes=3 * GIB, digest="sha256:" + "c" * 64))
    state = applied_host(wanted, stores={OWN: store("a:latest")}, file_systems=room(5))
    changes = difference(wanted, state, STOPPED)
    assert changes.of("fetch", "model") and changes.obstacles == ()


def release(checksum, free, sizes=None, same=False):
    wanted = plan(model("tiny", size_bytes=GIB))
    state = applied_host(wanted, stores={OWN: store()}, file_systems=room(free if same else 10**12, free, same))
    state["release"] = {"current": None, "complete": {}, "sizes": sizes or {}, "leftovers": []}
    return difference(wanted, state, STOPPED, checksum=checksum).obstacles


def test_a_release_and_models_on_one_file_system_are_summed():
    upstream = archives.CHECKSUMS["0.32.15"]["amd64"]
    least = sum(archives.LEAST_BYTES["amd64"])
    assert release(upstream, least) == ()
    (obstacle,) = release(upstream, least - 1)
    assert obstacle.startswith("The file system of %s has" % paths.RELEASES) and "Ollama 0.32.15" in obstacle
    assert release(upstream, least + GIB, same=True) == ()
    (obstacle,) = release(upstream, least + GIB - 1, same=True)
    assert "Ollama 0.32.15" in obstacle and "fetched (tiny)" in obstacle
    # One that is installed says how large such a release is.
    assert release(upstream, least, sizes={"0.32.14": 9 * GIB}) != ()
    assert release("a" * 64, 5, sizes={"0.32.14": 9 * GIB}) == (), "of an archive of one's own, nothing is known"
