# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The samples of README.md are what the collection draws today for a recorded run of make demo."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.shown import shown
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawn

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
RECORDED = json.loads((CHECKOUT / "tests" / "fixtures" / "report" / "demo-b.json").read_text(encoding="utf-8"))


def sample(**options):
    return "\n".join(drawn(Style(), shown(options, Style(), "b").lines))


@pytest.mark.parametrize(
    "options", [{"plan": RECORDED["plan"]}, {"evidence": RECORDED["evidence"], "plan": RECORDED["plan"]}], ids=len
)
def test_the_sample_is_what_is_drawn(options):
    text = sample(**options)
    assert "\n```\n%s\n```\n" % text in (CHECKOUT / "README.md").read_text(encoding="utf-8"), "\n" + text
