# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The list of metrics: names as Prometheus has them, and what is made from the list."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics_list import COUNTER, METRICS

from tests.unit import metrics_files

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


def test_the_files_are_made_from_the_list():
    again = "write it again, as tests/unit/metrics_files.py says"
    assert metrics_files.ALERT_FILE.read_text(encoding="utf-8") == metrics_files.alert_text(), again
    dashboards = {"dashboard.json": metrics_files.dashboard(), "gateway.json": metrics_files.gateway_dashboard()}
    for name, content in dashboards.items():
        assert (metrics_files.FOLDER / name).read_text(encoding="utf-8") == metrics_files.dashboard_text(content), again


def test_the_dashboard_shows_every_metric():
    shown = {metric.key for panel in metrics_files.PANELS for metric in panel.metrics}
    assert shown == {metric.key for metric in METRICS}


def test_a_metric_that_is_not_in_the_list_is_in_no_rule():
    with pytest.raises(KeyError):
        metrics_files.named("@gpu_colour > 0")


def test_the_hosts_of_the_dashboard_can_be_chosen():
    assert metrics_files.query("time() - @verdict_timestamp_seconds") == (
        'time() - gpufleet_verdict_timestamp_seconds{instance=~"$host"}'
    )
    assert metrics_files.query('haproxy_server_status{state="UP"}') == (
        'haproxy_server_status{instance=~"$host",state="UP"}'
    )
    for dashboard, prefix in ((metrics_files.dashboard, "gpufleet_"), (metrics_files.gateway_dashboard, "haproxy_")):
        for target in (target for panel in dashboard()["panels"] for target in panel["targets"]):
            assert target["expr"].count(prefix) == target["expr"].count('instance=~"$host"') == 1


@pytest.mark.parametrize("dashboard", [metrics_files.dashboard, metrics_files.gateway_dashboard])
def test_the_panels_do_not_overlap(dashboard):
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _y in cells) < 24
        taken |= cells


def test_alerts_name_labels_that_their_metrics_have():
    """Prometheus would show an empty text."""
    for alert in metrics_files.ALERTS:
        (labels, *_others) = [
            {"instance", *metric.labels}
            for metric in METRICS
            if re.search(r"%s\b" % metric.name, metrics_files.named(alert.expression))
        ]
        used = set(re.findall(r"\$labels\.([a-z_]+)", alert.summary + alert.description))
        assert used <= labels and "instance" in used, alert.name
