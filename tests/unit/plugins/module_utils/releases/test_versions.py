# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which rules a version has."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import v0_30, versions
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.shapes import Decision

from tests.unit.plugins.module_utils.releases.loads import OLDER, decide, gpus, model


@pytest.mark.parametrize(
    "version, rules",
    [
        ("0.32.15", v0_30),
        ("v0.30.0", v0_30),
        ("0.33.0-rc2", v0_30),
        ("1.0.0", v0_30),
        ("0.24.0", v0_12_11),
        ("0.12.11", v0_12_11),
        ("0.12.10", v0_11_11),
        ("0.11.11", v0_11_11),
        ("0.11.10", v0_11_5),
        ("0.11.5", v0_11_5),
        ("0.11.4", v0_5),
        ("0.5.9", v0_5),
    ],
)
def test_rules_of_a_version(version, rules):
    assert versions.rules_for(version) is rules


def test_what_is_no_version_is_refused():
    with pytest.raises(ValueError, match="latest"):
        versions.rules_for("latest")


def test_the_rules_of_every_version_answer_the_same_questions():
    for rules in OLDER:
        decided = decide(rules, model("llama3.1-8b"), gpus(24), {"num_ctx": 4096})
        assert isinstance(decided, Decision)
        assert set(v0_30.EFFECTS) <= set(rules.EFFECTS)
    firsts = [rules.FIRST_VERSION for rules in versions.RULES]
    assert firsts == sorted(firsts, reverse=True)
