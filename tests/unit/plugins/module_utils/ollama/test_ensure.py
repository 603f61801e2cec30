# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Options of models; what is done is in the tests of the modules model and instance_models."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import ensure

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient, digest_of


def options(**given):
    """All options of a model."""
    unset = dict.fromkeys(
        ("source", "registry", "digest", "modelfile", "parameters", "template", "system", "adapters", "store", "from")
    )
    common = dict(
        unset,
        name="tiny",
        state="present",
        url=FakeClient.url,
        insecure=False,
        link_from=None,
        keep_alive="-1",
        timeout=60,
    )
    return dict(common, **given)


def wanted(instance="gpu0", **given):
    return ensure.read_wanted(options(**given), instance)


def test_options_are_read():
    model = wanted(
        store="/stores/gpu0", link_from=["/stores/gpu1/"], registry="mirror:5000", digest="A" * 64, keep_alive="10m"
    )
    assert (str(model.name), model.state, model.instance) == ("tiny:latest", "present", "gpu0")
    assert (model.pin, model.keep_alive, model.request) == ("sha256:" + "a" * 64, "10m", None)
    assert [store.path for store in model.pull.link_from] == ["/stores/gpu1"] and model.pull.registry == "mirror:5000"
    built = wanted(**{"from": "tiny", "name": "tiny:optimized", "parameters": {"num_ctx": 1}, "system": "Be brief."})
    assert (built.request["from"], built.request["parameters"]) == ("tiny", {"num_ctx": 1})
    assert wanted(name="mine", modelfile="FROM tiny\nPARAMETER num_ctx 1").request["parameters"] == {"num_ctx": 1}


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"timeout": 0},
        {"digest": "abc"},
        {"keep_alive": "0"},
        {"link_from": ["/stores/gpu1"]},
        {"registry": "mirror", "source": "other"},
        {"registry": "mirror:0"},
        {"source": "not a name"},
        {"parameters": {"num_ctx": 1}},
        {"from": "tiny", "parameters": {"nun_ctx": 1}},
        {"from": "tiny", "modelfile": "FROM tiny"},
        {"from": "./tiny.gguf"},
        {"modelfile": "SYSTEM x"},
    ],
)
def test_wrong_options_are_refused(given):
    with pytest.raises(ensure.EXPECTED_ERRORS):
        wanted(**given)


def test_what_satisfies_an_entry():
    digest, other = digest_of("a"), digest_of("b")
    assert wanted().satisfied_by(wanted(name="Tiny"), digest)
    assert not wanted().satisfied_by(wanted(name="tiny:other"), digest)
    assert wanted(digest=digest).satisfied_by(wanted(), digest)
    assert wanted(digest=digest).satisfied_by(wanted(digest=digest), None)
    assert not wanted(digest=digest).satisfied_by(wanted(digest=other), other)
    assert not wanted().satisfied_by(wanted(**{"from": "base"}), digest)
