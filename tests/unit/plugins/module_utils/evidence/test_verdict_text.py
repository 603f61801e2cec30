# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Evidence in sentences."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import verdict_text

CHECK = {"name": "layers", "passed": False, "expected": "33/33", "observed": "0/33"}
MODEL = {"name": "tiny", "checks": [CHECK], "notes": ["It was loaded again."]}
FINDING = {"instance": "gpu0", "evidence": "nothing is on a GPU", "finding": "cpu_only", "remedy": "Look."}


def test_the_first_finding_is_told():
    result = {"instances": [{"models": [MODEL]}], "diagnosis": [FINDING, FINDING]}
    assert verdict_text.summary(result) == (
        "Instance gpu0: nothing is on a GPU (cpu_only). Look. There is 1 more in diagnosis."
    )
    assert verdict_text.notes(result) == ["It was loaded again."]


def test_a_check_that_failed_is_told_where_nothing_explains_it():
    result = {"instances": [{"models": [MODEL]}], "diagnosis": []}
    assert verdict_text.summary(result) == "tiny is not as planned: layers is 0/33 instead of 33/33."
