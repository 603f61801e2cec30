# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An optimized model whose draft model is the file of another model: against the rig's doubles of Ollama 0.32.15."""

from __future__ import annotations

import pytest

from tests.rig.models import store as rig_models
from tests.unit.plugins.modules.test_instance_models import actions, entry, run

SMALL_FILE = max(rig_models.blobs("small"), key=lambda blob: blob.size).digest
OPTIMIZED = {"from": "tiny", "parameters": {"num_ctx": 2048, "draft_num_predict": 4}}


@pytest.fixture(scope="module", autouse=True)
def offered(started_rig):
    """The registry has the draft model as well."""
    rig_models.write_into_store("small", started_rig.directory / "content", registry="")


def models(rig, number=0, draft="small"):
    """What the role asks for of an instance."""
    named = [entry(rig, number, draft)] if draft else []
    optimized = dict(OPTIMIZED, draft=draft) if draft else OPTIMIZED
    return [entry(rig, number), *named, entry(rig, number, "tiny:optimized", **optimized)]


def drafts(rig, number=0):
    """The draft models that the server shows for the optimized model, as digests."""
    show = rig.server(number).request("POST", "/api/show", {"model": "tiny:optimized"})[2]
    lines = [line for line in show["modelfile"].splitlines() if line.startswith("DRAFT ")]
    return [line.rpartition("sha256-")[2] for line in lines]


def test_check_do_repeat(rig):
    check = run(rig, models(rig), check=True)
    assert actions(check) == ["pull", "pull", "create"]
    done = run(rig, models(rig))
    assert actions(done) == ["pull", "pull", "create"] and not done.get("warnings")
    assert drafts(rig) == [SMALL_FILE.rpartition(":")[2]]
    for again in (True, False):
        assert actions(run(rig, models(rig), check=again)) == ["none"] * 3


def test_a_draft_that_is_added_or_left_out_creates_the_model_again(rig):
    run(rig, models(rig, draft=""))
    assert drafts(rig) == []
    assert actions(run(rig, models(rig), check=True)) == ["none", "pull", "create"]
    assert actions(run(rig, models(rig))) == ["none", "pull", "create"]
    assert drafts(rig) == [SMALL_FILE.rpartition(":")[2]]
    without = [*models(rig, draft=""), entry(rig, 0, "small", "absent")]
    assert actions(run(rig, without)) == ["none", "create", "delete"]
    assert drafts(rig) == [] and rig.names() == ["tiny:latest", "tiny:optimized"]
    assert not list(rig.store().glob("blobs/" + SMALL_FILE.replace(":", "-")))


def test_a_second_instance_links_all_of_it(rig):
    run(rig, models(rig))
    assert actions(run(rig, models(rig, 1))) == ["link", "link", "link"]
    assert drafts(rig, 1) == drafts(rig, 0)


def test_a_name_that_was_given_to_the_optimized_model_still_is_the_draft(rig):
    """So that a request under it does not take the place of the planned model."""
    given = entry(rig, 0, "small", same_as="tiny:optimized")
    assert actions(run(rig, [*models(rig), given])) == ["pull", "pull", "create", "alias"]
    assert actions(run(rig, [*models(rig), given])) == ["none"] * 4
    other = [dict(one) for one in models(rig)]
    other[2]["parameters"] = dict(OPTIMIZED["parameters"], num_ctx=1024)
    assert actions(run(rig, [*other, given])) == ["none", "none", "create", "alias"]
    assert drafts(rig) == [SMALL_FILE.rpartition(":")[2]]


def test_a_draft_that_is_not_there_is_said(rig):
    result = run(rig, [entry(rig, 0), models(rig)[2]])
    assert result["failed"] and "has no model small:latest, which is to be the draft model" in result["msg"]
