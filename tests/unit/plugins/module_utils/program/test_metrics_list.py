# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The list of metrics: names as Prometheus has them, and what is made from the list."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics_list import COUNTER, METRICS

#: Labels that Prometheus gives to every series itself.
RESERVED = {"instance", "job"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_names_follow_the_rules_of_prometheus(metric):
    assert re.fullmatch("gpufleet_[a-z_]+", metric.name)
    assert all(re.fullmatch("[a-z_]+", label) and label not in RESERVED for label in metric.labels)
    assert metric.name.endswith("_total") == (metric.kind == COUNTER)
    assert not metric.unit or metric.name.endswith("_" + metric.unit)
    assert metric.text.endswith(".") and "\n" not in metric.text and "\\" not in metric.text


def test_no_metric_is_there_twice():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
