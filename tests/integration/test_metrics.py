# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What Prometheus' own tool says of the metrics and of the alert rules: their form, and when they fire.

test_acceptance_reboot.py has Prometheus and node_exporter with a host.
"""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.schema import OK
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics import samples
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics_text import metrics_text

from tests import shown
from tests.integration import grafana
from tests.integration.prometheus import promtool
from tests.unit import metrics_files
from tests.unit.plugins.module_utils.program.test_metrics import PROOF, XID, facts, source

#: {alert: (series that make it fire, the same where all is well, labels that it has beside its name)}; promtool's
#: "1+0x90" is 1 for 90 minutes.
CASES = {
    "OllamaNotAsPlanned": (
        {'verdict{verdict="fail"}': "1+0x90"},
        {'verdict{verdict="fail"}': "0+0x90", 'verdict{verdict="unproven"}': "1+0x90"},
        {"verdict": "fail"},
    ),
    "OllamaUnproven": (
        {'verdict{verdict="unproven"}': "1+0x90"},
        {'verdict{verdict="unproven"}': "0+0x90", 'verdict{verdict="pass"}': "1+0x90"},
        {"verdict": "unproven"},
    ),
    "OllamaVerdictOld": (
        {"verdict_timestamp_seconds": "0+0x90", "check_interval_seconds": "600+0x90"},
        {"verdict_timestamp_seconds": "0+60x90", "check_interval_seconds": "600+0x90"},
        {},
    ),
    "OllamaGpusUnreadable": ({"gpus_readable": "0+0x90"}, {"gpus_readable": "1+0x90"}, {}),
    "OllamaGpuMissing": (
        {'gpu_present{uuid="GPU-a"}': "0+0x90", 'gpu_present{uuid="GPU-b"}': "1+0x90"},
        {'gpu_present{uuid="GPU-a"}': "1+0x90"},
        {"uuid": "GPU-a"},
    ),
    "OllamaMemoryBelowPlan": (
        {"gpu_observed_bytes{OF_A_MODEL}": "99+0x90", "gpu_least_bytes{OF_A_MODEL}": "100+0x90"},
        {"gpu_observed_bytes{OF_A_MODEL}": "100+0x90", "gpu_least_bytes{OF_A_MODEL}": "100+0x90"},
        {"uuid": "GPU-a", "ollama_instance": "gpu0", "model": "tiny:latest"},
    ),
    "OllamaMemoryAbovePlan": (
        {"gpu_observed_bytes{OF_A_MODEL}": "101+0x90", "gpu_most_bytes{OF_A_MODEL}": "100+0x90"},
        {"gpu_observed_bytes{OF_A_MODEL}": "100+0x90", "gpu_most_bytes{OF_A_MODEL}": "100+0x90"},
        {"uuid": "GPU-a", "ollama_instance": "gpu0", "model": "tiny:latest"},
    ),
    "OllamaModelNotLoaded": (
        {'model_loaded{ollama_instance="gpu0",model="tiny:latest",resident="true"}': "0+0x90"},
        {'model_loaded{ollama_instance="gpu0",model="tiny:latest",resident="false"}': "0+0x90"},
        {"ollama_instance": "gpu0", "model": "tiny:latest", "resident": "true"},
    ),
    "OllamaGpuThrottled": (
        {'gpu_throttled{uuid="GPU-a",reason="hardware_slowdown"}': "1+0x90"},
        # One check of four: it was hot for a moment.
        {'gpu_throttled{uuid="GPU-a",reason="hardware_slowdown"}': "0+0x30 1+0x9 0+0x50"},
        {"uuid": "GPU-a", "reason": "hardware_slowdown"},
    ),
    "OllamaGpuMemoryErrors": (
        {'gpu_ecc_uncorrected_errors_total{uuid="GPU-a"}': "2+0x90"},
        {
            'gpu_ecc_uncorrected_errors_total{uuid="GPU-a"}': "0+0x90",
            'gpu_ecc_uncorrected_lifetime_errors_total{uuid="GPU-a"}': "2+0x90",
        },
        {"uuid": "GPU-a"},
    ),
    "OllamaGpuXid": (
        {'gpu_xid_messages{uuid="",pci_bus_id="0000:41:00",code="79"}': "1+0x90"},
        {
            'gpu_xid_messages{uuid="GPU-a",pci_bus_id="0000:41:00.0",code="79"}': "0+0x90",
            'gpu_xid_messages{uuid="GPU-a",pci_bus_id="0000:41:00.0",code="31"}': "5+0x90",
        },
        {"uuid": "", "pci_bus_id": "0000:41:00", "code": "79"},
    ),
}
_OF_A_MODEL = 'uuid="GPU-a",ollama_instance="gpu0",model="tiny:latest"'
#: Minute in which the series begin to be wrong, where that is not the first; and the last one.
_BEGINS, _LAST = {"OllamaVerdictOld": 31}, 85


def test_every_alert_has_a_case():
    assert set(CASES) == {alert.name for alert in metrics_files.ALERTS}


@pytest.mark.parametrize("alert", metrics_files.ALERTS, ids=lambda alert: alert.name)
def test_an_alert_fires_when_it_should_and_only_then(alert, tmp_path):
    firing, quiet, labels = CASES[alert.name]
    due = _BEGINS.get(alert.name, 0) + int(alert.lasts.rstrip("m"))
    expected = {minute: labels if minute >= due else None for minute in (due - 1, due, _LAST) if minute >= 0}
    tests = [_test(alert, firing, expected), _test(alert, quiet, dict.fromkeys(range(0, _LAST + 1, 5)))]
    content = {"rule_files": [str(metrics_files.ALERT_FILE)], "evaluation_interval": "1m", "tests": tests}
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(path))


def _test(alert, series, expected):
    """A test of promtool: {minute: labels of the alert that fires then, None for none}."""
    return {
        "interval": "1m",
        "input_series": [{"series": _full(name), "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": "%dm" % minute, "alertname": alert.name, "exp_alerts": _alerts(alert, labels)}
            for minute, labels in expected.items()
        ],
    }


def _full(name):
    """A series with its prefix and the label that Prometheus gives it."""
    name, _brace, labels = name.replace("OF_A_MODEL", _OF_A_MODEL).partition("{")
    return 'gpufleet_%s{instance="gpu-a:9100"%s' % (name, "," + labels if labels else "}")


def _alerts(alert, labels):
    if labels is None:
        return []
    named = {"instance": "gpu-a:9100", **labels}
    texts = {
        key: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: named[match.group(1)], text)
        for key, text in (("summary", alert.summary), ("description", alert.description))
    }
    # A label without a value is none.
    told = {name: value for name, value in {**named, "severity": alert.severity}.items() if value}
    return [{"exp_labels": told, "exp_annotations": texts}]


def test_the_rules_have_no_fault():
    line = shown.command("promtool check rules /etc/prometheus/ollama-alerts.yml")
    words = line.replace("/etc/prometheus/ollama-alerts.yml", str(metrics_files.ALERT_FILE)).split()
    assert "%d rules found" % len(metrics_files.ALERTS) in promtool(*words[1:])


@pytest.mark.parametrize("dashboard", [metrics_files.dashboard, metrics_files.gateway_dashboard])
def test_grafana_knows_every_field_of_a_dashboard(dashboard):
    assert grafana.lost(dashboard(), grafana.kept(dashboard())) == []


def test_a_field_that_grafana_does_not_know_is_found():
    """The test of the test."""
    wrong = metrics_files.dashboard()
    wrong["panels"][0]["gridPosition"] = wrong["panels"][0].pop("gridPos")
    wrong["panels"][1]["targets"][0]["expression"] = "x"
    wrong["templates"] = {}
    found = {"/panels/0/gridPosition", "/panels/1/targets/0/expression", "/templates"}
    assert set(grafana.lost(wrong, grafana.kept(wrong))) == found


def test_the_text_is_what_prometheus_reads():
    """With all metrics there are, and names that break out of what they stand in."""
    found = dataclasses.replace(
        source(), proof=PROOF, interval=600, kernel_lines=[XID % ("0000:18:00", 79), XID % ("0000:af:00", 13)]
    )
    facts(found)["name"] = 'RTX "4090"\n# TYPE gpufleet_verdict counter\\'
    facts(found, 1)["name"] = "Kärtchen \x00\x1b[2J\r\ud800"
    for number in (0, 1):
        facts(found, number).update(
            temperature_celsius=60,
            slowdown_temperature_celsius=90,
            throttle_reasons=["hardware_slowdown"],
            ecc={"uncorrected_volatile": 0, "uncorrected_aggregate": 1},
        )
    assert found.inventory["state"] == OK
    text = metrics_text(samples(found))
    assert set(re.findall("# TYPE gpufleet_(\\S+)", text)) - {"verdict counter\\\\"} == {
        metric.key for metric in metrics_files.METRICS
    }
    promtool("check", "metrics", stdin=text)
