# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Metrics in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4). Pure."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Tuple, Union

from ..common.printable import printable
from .metrics_list import METRICS, Metric

Number = Union[int, float]
#: {key of a metric: {values of its labels, in their order: value}}: no series is there twice, which node_exporter
#: refuses together with everything else of the host.
Samples = Mapping[str, Mapping[Tuple[str, ...], Number]]
#: Longest value of a label; names of GPUs and models are shorter.
_LONGEST = 300
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


def metrics_text(samples: Samples) -> str:
    """Return the text of all metrics that have samples, in the order of the list."""
    lines: list[str] = []
    for metric in METRICS:
        found = samples.get(metric.key) or {}
        if found:
            lines += ["# HELP %s %s" % (metric.name, metric.text), "# TYPE %s %s" % (metric.name, metric.kind)]
            lines += ["%s%s %s" % (metric.name, _labels(metric, labels), _number(found[labels])) for labels in found]
    return "".join(line + "\n" for line in lines)


def label_value(value: Any) -> str:
    """Return a value of a label as samples have it: what a terminal or a parser could stumble over is an escape."""
    text = str(value)[:_LONGEST]
    return "\n".join(printable(line) for line in text.split("\n"))


def escaped(value: str) -> str:
    """Return a value of a label as it stands between quotes."""
    return "".join(_ESCAPES.get(one, one) for one in value)


def _labels(metric: Metric, values: Iterable[str]) -> str:
    pairs = ['%s="%s"' % (name, escaped(value)) for name, value in zip(metric.labels, values)]
    return "{%s}" % ",".join(pairs) if pairs else ""


def _number(value: Number) -> str:
    return str(int(value)) if isinstance(value, int) else repr(value)
