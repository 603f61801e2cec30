# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models of the user's own files: what `source` may be, and what the plan says of it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask.own_source import check_source
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.oracle import models
from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, refused

SHA = "a" * 64
OWN = {"sha256": SHA, "size_bytes": 5, "architecture": "llama", "model_type": "8.0B", "file_type": "Q4_K_M"}


def entry(**source):
    return {"name": "mine", "source": source}


@pytest.mark.parametrize(
    "given, found",
    [
        (entry(file="models/m.gguf"), ("file", "models/m.gguf")),
        (entry(file="/m.gguf", sha256="sha256:" + SHA, url=None), ("file", "/m.gguf")),
        (entry(host_file="/m.gguf", sha256=SHA), ("host_file", "/m.gguf")),
        (entry(url="https://example.com/m.gguf?x=1", sha256=SHA.upper()), ("url", "https://example.com/m.gguf?x=1")),
        ({"name": "mine"}, None),
        ({"name": "mine", "source": None}, None),
    ],
)
def test_where_the_file_is(given, found):
    assert check_source(given) == found


@pytest.mark.parametrize(
    "given, words",
    [
        ({"name": "mine", "source": "/m.gguf"}, "give a mapping such as"),
        (entry(), "has no file: give one of file, host_file, url"),
        (entry(file="a", url="https://b/c", sha256=SHA), "file and url: give one"),
        (entry(url="https://b/c"), "has no sha256, which a url needs"),
        (entry(host_file="/m"), "has no sha256, which a host_file needs"),
        (entry(host_file="m", sha256=SHA), "give its whole path"),
        (entry(file="m", sha256="x"), "'x': give 64 hexadecimal digits"),
        (entry(url="ftp://b/c", sha256=SHA), "give the http or https address"),
        (entry(url="https://user:MARK@b/c", sha256=SHA), "without a user name and password"),
        (dict(entry(file="m"), digest="sha256:" + SHA), "leave digest out"),
    ],
)
def test_what_no_source_can_be(given, words):
    with pytest.raises(PlacementError) as error:
        check_source(given)
    assert words in str(error.value) and "MARK" not in str(error.value)


def test_the_plan_tells_the_file_and_insists_on_it():
    digest = "sha256:" + "b" * 64
    facts = dict(models.model("llama3.1-8b"), own_file=OWN, digest=digest)
    one = dict(entry(url="https://b/c", sha256=SHA), model=facts)
    model = make_plan(TWO_A6000, [one], "0.32.15")["instances"][0]["models"][0]
    assert model["source"] == {"kind": "url", "where": "https://b/c", **OWN}
    assert model["refresh"] is True and model["planned_digest"] == digest
    other = dict(one, source={"file": "m", "sha256": "c" * 64})
    assert "not %s: read them again" % ("c" * 64) in refused(models=[other])
    assert "are not those of its file" in refused(models=[dict(one, model=dict(facts, own_file=None))])
    plain = make_plan(TWO_A6000, [{"name": "mine", "model": facts}], "0.32.15")["instances"][0]["models"][0]
    assert plain["source"] is None and plain["refresh"] is False
