# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan of a host, and why it cannot be used."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.applied import applied_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import NO_PLAN, Refused

from tests.unit.plugins.module_utils.evidence.builders import plan


def test_the_plan_is_read(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(plan()), encoding="utf-8")
    assert applied_plan(str(tmp_path / "plan.json")) == plan()


@pytest.mark.parametrize("content, said", [(None, "no plan on this host"), ("{", "is no plan"), ("{}", "instances")])
def test_a_plan_that_cannot_be_used_is_a_sentence(tmp_path, content, said):
    if content is not None:
        (tmp_path / "plan.json").write_text(content, encoding="utf-8")
    with pytest.raises(Refused, match=said) as refused:
        applied_plan(str(tmp_path / "plan.json"))
    assert refused.value.code == NO_PLAN
