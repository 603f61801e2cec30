# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The files that are made from the list of metrics: the alert rules, the dashboard, and the table of the guide. Beside
them is a dashboard of the gateway, with metrics of HAProxy.

After a change of the list or of what is here, write them again with

    tests/setup/with-env python -c "import tests.conftest; from tests.unit import metrics_files as m; m.write()"
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re

import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.gpu_condition import HARDWARE_XIDS
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.metrics_list import BY_KEY, METRICS, PREFIX

from tests.unit.guide_tables import list_table

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "metrics"
ALERT_FILE, DASHBOARD_FILE = FOLDER / "alerts.yml", FOLDER / "dashboard.json"
GATEWAY_FILE = FOLDER / "gateway.json"
_HEADER = """\
---
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
# Alert rules for Prometheus, made from the list of metrics (tests/unit/metrics_files.py).
"""
CRITICAL, WARNING = "critical", "warning"
_DIAGNOSE = "sudo ollama-multigpu diagnose on the host says more."


@dataclasses.dataclass(frozen=True)
class Alert:
    """An alert rule; `expression` and the texts have "@key" for the name of a metric, `lasts` is how long it holds."""

    name: str
    expression: str
    severity: str
    summary: str
    description: str
    lasts: str = "0m"


ALERTS = (
    Alert(
        "OllamaNotAsPlanned",
        '@verdict{verdict="fail"} == 1',
        CRITICAL,
        "{{ $labels.instance }} is not as planned",
        "The last check has found something that contradicts the plan: sudo ollama-multigpu status names it.",
    ),
    Alert(
        "OllamaUnproven",
        '@verdict{verdict="unproven"} == 1',
        WARNING,
        "Nothing proves that {{ $labels.instance }} is as planned",
        "The host does not tell what has to be known: sudo ollama-multigpu status names what would prove it.",
        "30m",
    ),
    Alert(
        "OllamaVerdictOld",
        "time() - @verdict_timestamp_seconds > 3 * @check_interval_seconds",
        WARNING,
        "{{ $labels.instance }} was not checked for more than three intervals",
        "A run of the role or a benchmark may hold the checks up, or they fail: journalctl -u ollama-check.service.",
        "10m",
    ),
    Alert(
        "OllamaGpusUnreadable",
        "@gpus_readable == 0",
        CRITICAL,
        "The GPUs of {{ $labels.instance }} cannot be read",
        "NVML does not answer, or the driver is not loaded. " + _DIAGNOSE,
    ),
    Alert(
        "OllamaGpuMissing",
        "@gpu_present == 0",
        CRITICAL,
        "GPU {{ $labels.uuid }} of {{ $labels.instance }} is missing",
        "Models are planned on it, and the driver does not list it or no program can use it. " + _DIAGNOSE,
    ),
    Alert(
        "OllamaMemoryBelowPlan",
        "@gpu_observed_bytes < @gpu_least_bytes",
        CRITICAL,
        "{{ $labels.model }} holds less of GPU {{ $labels.uuid }} than planned on {{ $labels.instance }}",
        "A part of it may be on another GPU or on the CPU: sudo ollama-multigpu status.",
    ),
    Alert(
        "OllamaMemoryAbovePlan",
        "@gpu_observed_bytes > @gpu_most_bytes",
        WARNING,
        "{{ $labels.model }} holds more of GPU {{ $labels.uuid }} than planned on {{ $labels.instance }}",
        "Others on that GPU may find no room: sudo ollama-multigpu status.",
    ),
    Alert(
        "OllamaModelNotLoaded",
        '@model_loaded{resident="true"} == 0',
        CRITICAL,
        "{{ $labels.model }} is not loaded in {{ $labels.ollama_instance }} on {{ $labels.instance }}",
        "sudo ollama-multigpu load loads it, and says why it cannot be.",
        "15m",
    ),
    Alert(
        "OllamaGpuThrottled",
        "@gpu_throttled == 1",
        WARNING,
        "GPU {{ $labels.uuid }} of {{ $labels.instance }} is slowed down ({{ $labels.reason }})",
        "Look at fans, filters, the air of the rack and the power supplies.",
        "15m",
    ),
    Alert(
        "OllamaGpuMemoryErrors",
        "@gpu_ecc_uncorrected_errors_total > 0",
        CRITICAL,
        "GPU {{ $labels.uuid }} of {{ $labels.instance }} has uncorrected memory errors",
        "Reset the GPU (nvidia-smi --gpu-reset), which clears the count. If errors come again, replace the board.",
    ),
    Alert(
        "OllamaGpuXid",
        '@gpu_xid_messages{code=~"%s"} > 0' % "|".join(map(str, sorted(HARDWARE_XIDS))),
        CRITICAL,
        "The kernel of {{ $labels.instance }} has logged Xid {{ $labels.code }} of the GPU at {{ $labels.pci_bus_id }}",
        "It is a fault of the hardware, and stays in the log until the next boot. " + _DIAGNOSE,
    ),
)


@dataclasses.dataclass(frozen=True)
class Panel:
    """A panel of the dashboard: queries with "@key" for the name of a metric and their legends, and its width of 24."""

    title: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 12
    #: Of a panel without metrics of the list.
    text: str = ""
    unit: str = ""

    @property
    def metrics(self):
        """The metrics of its queries."""
        keys = [key for query, _legend in self.queries for key in _keys(query)]
        return [BY_KEY[key] for key in dict.fromkeys(keys)]


_ON_GPU = "{{instance}} {{uuid}}"
PANELS = (
    Panel("Verdicts", (("@verdict == 1", "{{instance}}: {{verdict}}"),), "stat", 16),
    Panel("Age of the verdict", (("time() - @verdict_timestamp_seconds", "{{instance}}"),), "stat", 8),
    Panel("Instances", (("@instance_verdict == 1", "{{instance}} {{ollama_instance}}: {{verdict}}"),), "table"),
    Panel("Loaded models", (("@model_loaded", "{{instance}} {{ollama_instance}} {{model}}"),), "table"),
    Panel(
        "Memory of the models on each GPU, predicted and observed",
        (
            ("sum by (instance, uuid) (@gpu_predicted_bytes)", _ON_GPU + " predicted"),
            ("sum by (instance, uuid) (@gpu_observed_bytes)", _ON_GPU + " observed"),
        ),
    ),
    Panel(
        "Memory of each model, and what the plan allows",
        (
            ("@gpu_observed_bytes", "{{model}} on {{uuid}}"),
            ("@gpu_least_bytes", "{{model}} on {{uuid}} at least"),
            ("@gpu_most_bytes", "{{model}} on {{uuid}} at most"),
        ),
    ),
    Panel(
        "Memory of each GPU in use, by whomever",
        (("@gpu_memory_used_bytes", _ON_GPU), ("@gpu_memory_total_bytes", _ON_GPU + " total")),
    ),
    Panel(
        "Tokens per second of the last proof",
        (("@proof_tokens_per_second", "{{instance}} {{ollama_instance}} {{model}}"),),
        "table",
    ),
    Panel(
        "Temperature",
        (("@gpu_temperature_celsius", _ON_GPU), ("@gpu_slowdown_temperature_celsius", _ON_GPU + " slowdown")),
    ),
    Panel("GPUs that are slowed down", (("@gpu_throttled", _ON_GPU + " {{reason}}"),)),
    Panel(
        "Uncorrected memory errors",
        (
            ("@gpu_ecc_uncorrected_errors_total", _ON_GPU),
            ("@gpu_ecc_uncorrected_lifetime_errors_total", _ON_GPU + " over its life"),
        ),
    ),
    Panel(
        "Messages Xid since the boot",
        (("sum by (instance, pci_bus_id, code) (@gpu_xid_messages)", "{{instance}} {{pci_bus_id}} Xid {{code}}"),),
    ),
    Panel("Planned GPUs", (("@gpu_present", _ON_GPU),), "table", 8),
    Panel("GPUs", (("@gpu_info", "{{uuid}}"),), "table", 16),
    Panel("Age of the proof", (("time() - @proof_timestamp_seconds", "{{instance}}"),), "stat", 8),
    Panel("Seconds between checks", (("@check_interval_seconds", "{{instance}}"),), "stat", 8),
    Panel("GPUs can be read", (("@gpus_readable", "{{instance}}"),), "stat", 8),
    Panel("Releases", (("@program_info", "{{instance}}"),), "table", 24),
)
_INSTANCE = "{{proxy}} {{server}}"
_BY_INSTANCE = "sum by (instance, proxy, server) "
#: Of HAProxy (manual of its 2.6, prometheus-exporter): proxies are models, and servers are HOST_INSTANCE.
GATEWAY_PANELS = (
    Panel(
        "Requests per second of each instance",
        ((_BY_INSTANCE + "(rate(haproxy_server_http_responses_total[$__rate_interval]))", _INSTANCE),),
        text="Requests that each instance has answered.",
        unit="reqps",
    ),
    Panel(
        "Requests of each instance since HAProxy was started",
        (("sum by (instance, proxy, server, code) (haproxy_server_http_responses_total)", _INSTANCE),),
        "table",
        text="By class of the answer. Those that HAProxy answered itself are not among them.",
        unit="short",
    ),
    Panel(
        "Requests that are being answered",
        ((_BY_INSTANCE + "(haproxy_server_current_sessions)", _INSTANCE),),
        text="Requests that each instance works on.",
        unit="short",
    ),
    Panel(
        "Requests that wait",
        (("sum by (instance, proxy) (haproxy_backend_current_queue)", "{{proxy}}"),),
        text="Requests that wait for a free slot of a model.",
        unit="short",
    ),
    Panel(
        "Seconds of an answer",
        ((_BY_INSTANCE + "(haproxy_server_total_time_average_seconds)", _INSTANCE),),
        text="Mean of the last 1024 requests of each instance.",
        unit="s",
    ),
    Panel(
        "Instances that take requests",
        (('haproxy_server_status{state="UP"}', _INSTANCE),),
        "table",
        text="1 for an instance that HAProxy gives requests to, 0 for one that does not answer or is drained.",
        unit="short",
    ),
)
_HEIGHT, _COLUMNS = 8, 24
_UNITS = {"bytes": "bytes", "seconds": "s", "celsius": "celsius", "": "short"}
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Added to each metric of a query: the hosts that were chosen above the panels.
_CHOSEN = 'instance=~"$host"'


def _keys(text):
    return re.findall(r"@([a-z_]+)", text)


def named(text):
    """A text with the names of its metrics; one that is not in the list is an error."""
    return re.sub(r"@([a-z_]+)", lambda match: BY_KEY[match.group(1)].name, text)


def query(text):
    """A query of a dashboard, of the hosts that were chosen."""
    names = r"\b(?:%s|haproxy_)[a-z_]+" % PREFIX
    return re.sub(names, lambda match: "%s{%s}" % (match.group(), _CHOSEN), named(text)).replace("}{", ",")


def alert_rules():
    """The alert rules as data."""
    rules = [
        {
            "alert": alert.name,
            "expr": named(alert.expression),
            "for": alert.lasts,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.description},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "gpufleet_ollama", "rules": rules}]}


class _Indented(yaml.SafeDumper):
    """Lists stand in their key, as yamllint wants it."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


def alert_text():
    """The file of the alert rules."""
    return _HEADER + yaml.dump(alert_rules(), Dumper=_Indented, sort_keys=False, width=100)


def dashboard():
    """The dashboard of the hosts as Grafana imports it."""
    return _dashboard("gpufleet-ollama", "Ollama on GPUs: plan and evidence", PANELS, named("@verdict"))


def gateway_dashboard():
    """The dashboard of the gateways as Grafana imports it."""
    return _dashboard("gpufleet-ollama-gateway", "Gateway of Ollama", GATEWAY_PANELS, "haproxy_process_uptime_seconds")


def _dashboard(uid, title, shown, of_each_host):
    """A dashboard of panels; `of_each_host` is a metric that every host has."""
    panels, left, top = [], 0, 0
    for number, panel in enumerate(shown, 1):
        if left + panel.width > _COLUMNS:
            left, top = 0, top + _HEIGHT
        panels.append(_panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": _HEIGHT}))
        left += panel.width
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {
            "name": "host",
            "type": "query",
            "datasource": _SOURCE,
            "query": "label_values(%s, instance)" % of_each_host,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
        },
    ]
    return {
        "uid": uid,
        "title": title,
        "schemaVersion": 36,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


def _panel(panel, number, place):
    table = panel.kind == "table"
    return {
        "id": number,
        "title": panel.title,
        "description": panel.text or " ".join(metric.text for metric in panel.metrics),
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit or _UNITS[panel.metrics[0].unit]}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place_of),
                "datasource": _SOURCE,
                "expr": query(text),
                "legendFormat": legend,
                **({"format": "table", "instant": True} if table else {"instant": panel.kind == "stat"}),
            }
            for place_of, (text, legend) in enumerate(panel.queries)
        ],
    }


def dashboard_text(content):
    """The file of a dashboard."""
    return json.dumps(content, indent=2) + "\n"


def table():
    """The table of the guide."""
    rows = [
        ["``%s``" % metric.name, ", ".join("``%s``" % label for label in metric.labels) or "none", metric.text]
        for metric in METRICS
    ]
    return list_table(["metric", "labels", "what it is"], rows)


def alert_table():
    """The table of the alerts for the guide."""
    rows = [
        ["``%s``" % alert.name, alert.severity, "``%s``" % named(alert.expression), alert.lasts] for alert in ALERTS
    ]
    return list_table(["alert", "severity", "where", "for"], rows)


def write():
    """Write the files again."""
    FOLDER.mkdir(exist_ok=True)
    ALERT_FILE.write_text(alert_text(), encoding="utf-8")
    for path, content in ((DASHBOARD_FILE, dashboard()), (GATEWAY_FILE, gateway_dashboard())):
        path.write_text(dashboard_text(content), encoding="utf-8")
    print(table())
    print(alert_table())
