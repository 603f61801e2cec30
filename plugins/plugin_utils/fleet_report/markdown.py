# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report as Markdown. Every value is text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import counted, gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import (
    figure,
    known,
    on,
    settings,
    speeds,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.shapes import (
    BenchmarkReport,
    FleetReport,
    GpuReport,
    HostReport,
    InstanceReport,
    MemoryParts,
    ModelReport,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.markdown import escaped


def markdown_page(report: FleetReport) -> str:
    """Return the page."""
    lines = [
        "# GPU fleet",
        "",
        "%s: %s. Written %s." % (counted(len(report.hosts), "host"), _counts(report), report.time),
        "",
    ]
    if not report.complete:
        lines += ["**The run has not come to its end: this shows what was known when it began.**", ""]
    lines += _overview(report) + _since(report)
    for host in report.hosts:
        lines += _host(host)
    for release, effects in report.settings.items():
        lines += ["## What settings do on Ollama %s" % escaped(release), ""]
        lines += [*("* %s: %s" % (escaped(name), escaped(text)) for name, text in effects.items()), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _counts(report: FleetReport) -> str:
    return ", ".join("%d %s" % (count, state) for state, count in report.counts.items())


def _row(cells: Iterable[Any]) -> str:
    return "| %s |" % " | ".join(escaped(known(cell)) for cell in cells)


def _table(head: list[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    return [_row(head), "|%s" % (" --- |" * len(head)), *map(_row, rows), ""]


def _overview(report: FleetReport) -> list[str]:
    rows = [
        (
            host.name,
            host.state,
            host.ollama_version,
            len(host.gpus),
            ", ".join(model.name for instance in host.instances for model in instance.models),
            len(host.findings),
        )
        for host in report.hosts
    ]
    return _table(["Host", "State", "Ollama", "GPUs", "Models", "Findings"], rows)


def _since(report: FleetReport) -> list[str]:
    if not report.since.time:
        return []
    lines = ["## Since the report of %s" % escaped(report.since.time), ""]
    if not report.since.changes:
        return [*lines, "Nothing differs.", ""]
    lines += ["* %s: %s" % (escaped(host), escaped("; ".join(said))) for host, said in report.since.changes.items()]
    return [*lines, ""]


def _host(host: HostReport) -> list[str]:
    lines = ["## %s: %s" % (escaped(host.name), host.state), ""]
    if host.reason:
        lines += [escaped(host.reason), ""]
    versions = (("Ollama", host.ollama_version), ("driver", host.driver_version), ("CUDA", host.cuda_version))
    versions += (("architecture", host.architecture), ("address", host.address))
    lines += [", ".join("%s %s" % (word, escaped(known(value))) for word, value in versions), ""]
    for one in host.findings:
        where = " (%s)" % escaped(one.where) if one.where else ""
        remedy = " Remedy: %s" % escaped(one.remedy) if one.remedy else ""
        lines.append(
            "* **%s**%s: %s%s" % (escaped(one.finding), where, escaped(one.evidence.rstrip(".")) + ".", remedy)
        )
    lines += [""] if host.findings else []
    if host.gpus:
        lines += _table(["GPU", "UUID", "Bytes", "Predicted", "Observed", "Models"], map(_gpu, host.gpus))
    lines += _listed("Notes about GPUs", ["%s: %s" % (gpu.label, text) for gpu in host.gpus for text in gpu.notes])
    for instance in host.instances:
        lines += list(_instance(instance))
    lines += [""] if host.instances else []
    lines += _listed("Why", ["%s: %s" % pair for pair in host.why.items()])
    lines += _listed("Settings", map(_settings, settings(host)))
    lines += _benchmark(host.benchmark) if host.benchmark else []
    for title, said in ((_title(host), host.changes), ("Notes", host.notes), ("History", _history(host))):
        lines += _listed(title, said)
    return lines


def _listed(title: str, said: Iterable[str]) -> list[str]:
    """A list with its title; nothing where there is nothing to list."""
    items = ["* %s" % escaped(text) for text in said]
    return ["### %s" % title, "", *items, ""] if items else []


def _benchmark(found: BenchmarkReport) -> list[str]:
    """The figures of the newest benchmark, and the history of all."""
    what = [found.time, "Ollama %s" % found.release if found.release else "", found.label]
    lines = ["### Benchmark", "", escaped(", ".join(one for one in what if one)), ""]
    lines += _table(
        ["Model", "On", "Prompt", "Requests at a time", "First token (s)", "Tokens/s", "Requests/min"],
        [
            (row.model, on(row), row.prompt, row.streams)
            + tuple(map(figure, (row.first_token_seconds, row.tokens_per_second, row.requests_per_minute)))
            for row in found.rows
        ],
    )
    lines += _table(["Model", "On", "Load (s)"], [(row.model, on(row), figure(row.seconds)) for row in found.loads])
    lines += ["* %s" % escaped(note) for note in found.notes] + ([""] if found.notes else [])
    if len(found.history) > 1:
        lines += ["Most tokens/s of each benchmark:", ""]
        lines += ["* %s" % escaped(speeds(entry)) for entry in reversed(found.history)] + [""]
    return lines


def _title(host: HostReport) -> str:
    return "Differs from the plan" if host.is_drift else "Changed by this run"


def _gpu(gpu: GpuReport) -> tuple[Any, ...]:
    place = "at %s" % gpu.pci_bus_id if gpu.pci_bus_id else ""
    health = "(%s)" % gpu.health if gpu.health != "ok" else ""
    title = " ".join(one for one in (gpu.label, gpu.name, place, health) if one)
    return (title, gpu.uuid, gpu.total_bytes, _parts(gpu.predicted), _parts(gpu.observed), ", ".join(gpu.models))


def _parts(parts: MemoryParts | None) -> str:
    if parts is None:
        return ""
    named = (
        ("models", parts.models_bytes),
        ("weights", parts.weights_bytes),
        ("KV cache", parts.kv_bytes),
        ("compute", parts.compute_bytes),
        ("others", parts.others_bytes),
        ("free", parts.free_bytes),
    )
    return ", ".join("%s %s" % (word, gib(size)) for word, size in named if size is not None)


def _instance(instance: InstanceReport) -> Iterator[str]:
    where = instance.url or "no address for clients is known"
    yield "* %s on %s, %s" % (escaped(instance.name), escaped(instance.on), escaped(where))
    for model in instance.models:
        yield "  * %s" % escaped(_model(model))
        for text in model.problems:
            yield "    * %s" % escaped(text)
    for text in instance.problems:
        yield "  * %s" % escaped(text)


def _settings(found: tuple[str, dict[str, str]]) -> str:
    whose, values = found
    return "%s: %s" % (whose, ", ".join("%s=%s" % pair for pair in values.items()))


def _model(model: ModelReport) -> str:
    said = [
        model.name + (" (also %s)" % ", ".join(model.further_names) if model.further_names else ""),
        model.verdict,
        model.strategy,
        "%s of %s layers on GPUs" % (known(model.gpu_layers), known(model.total_layers)),
        "context %s" % known(model.context_length),
        "%s %s" % (known(model.slots), "slot" if model.slots == 1 else "slots"),
        "KV cache %s" % known(model.kv_cache_type),
        "predicted %s" % gib(model.predicted_bytes, "–"),
        "observed %s" % gib(model.observed_bytes, "–") if model.verdict else "",
        "" if model.tokens_per_second is None else "%g tokens/s" % model.tokens_per_second,
        "" if model.load_seconds is None else "loaded in %g s" % model.load_seconds,
    ]
    return ", ".join(one for one in said if one)


def _history(host: HostReport) -> list[str]:
    return [
        "%s, %s, %s: %s%s"
        % (
            one.time,
            one.source,
            "Ollama %s" % (one.release or "unknown"),
            one.verdict,
            "".join("; %s %g tokens/s" % pair for pair in one.tokens_per_second.items()),
        )
        for one in reversed(host.history)
    ]
