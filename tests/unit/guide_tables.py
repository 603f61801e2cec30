# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the guides show and the code knows: plans as they are drawn, and tables of the releases, as text."""

from __future__ import annotations

import itertools
import json

import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import service_variables
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.service_variables import version_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import archives, engine_table, setting_effects
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.release import (
    NEWEST_CHECKED,
    OLDEST_CHECKED,
    is_checked,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.versions import RULES, effects, parse_version
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fetch_progress import Progress
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fetch_progress import read as read_download
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.load_progress import LoadSentences
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.load_progress import read as read_load
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.shown import shown
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawn, sentence

from tests import shown as pages
from tests.unit.plugins.plugin_utils.report.made_plans import planned

_A6000 = {"name": "NVIDIA RTX A6000"}
_SHOWN_AS = {"num_gpu_all": "``num_gpu`` above the number of layers"}


def drawn_plan(name, models):
    """The plan of a host with two RTX A6000 as a run shows it."""
    lines = drawn(Style(), shown({"plan": planned(*models, **_A6000)}, Style(), name).lines)
    return "".join(line.rstrip() + "\n" for line in lines)


def two_gpus():
    """The plan of the inventory in the guide: a model that needs both GPUs."""
    hosts = yaml.safe_load(pages.block("quickstart", "yaml+jinja"))["all"]["hosts"]
    ((name, variables),) = hosts.items()
    return drawn_plan(name, variables["ollama_multigpu_models"])


def several_models():
    """The plan of the models in the guide: two beside each other, one of them twice."""
    variables = yaml.safe_load(pages.block("several", "yaml", 0))
    return drawn_plan("gpu-a.example.org", variables["ollama_multigpu_models"])


def progress():
    """A download and a load that take long."""
    gib = 1024**3
    total = int(62.4 * gib)
    download, load = Progress("gpu-a"), LoadSentences()
    for seconds, share in ((0.0, 0.2), (15.6, 0.3)):
        models = {"llama4:16x17b": {"completed": int(share * total) + 1, "total": total}}
        fetched = list(download.lines(read_download(json.dumps({"models": models})), seconds))
    for seconds in (36, 41):
        entry = {"seconds": seconds, "total_bytes": total, "read_bytes": 38 * gib, "disk_bytes": 34 * gib}
        models = {"gpu0-1/llama4:16x17b-optimized": entry}
        loading = list(load.sentences(read_load(json.dumps({"models": models})), seconds))
    style = Style()
    return "".join(text + "\n" for text in fetched + drawn(style, sentence(style, loading[0], "gpu-a: ", "  ")))


def settings_by_release():
    """What each setting that concerns placement does, and on which releases."""
    bounds = sorted({OLDEST_CHECKED} | {since for since in _changes() if OLDEST_CHECKED < since <= NEWEST_CHECKED})
    told = [effects(version_text(bound)) for bound in bounds]
    rows = []
    for name in sorted({name for one in told for name in one}, key=str.lower):
        texts = [(bound, one.get(name) or "no effect") for bound, one in zip(bounds, told)]
        spans = [(text, [bound for _text, bound in group]) for text, group in _runs(texts)]
        for place, (text, _bounds) in reversed(list(enumerate(spans))):
            first = spans[place][1][0]
            since = "from %s" % version_text(first) if place else ""
            until = "before %s" % version_text(spans[place + 1][1][0]) if place + 1 < len(spans) else ""
            shown_name = _SHOWN_AS.get(name, "``%s``" % name)
            rows.append([shown_name, ", ".join(part for part in (since, until) if part) or "all", text])
    return list_table(["setting", "releases", "what it does"], rows)


def _runs(texts):
    return [
        (text, [(text, bound) for bound, _text in group])
        for text, group in itertools.groupby(texts, key=lambda pair: pair[1])
    ]


def _changes():
    """The releases from which on a setting may do something else."""
    for rules in RULES:
        yield rules.FIRST_VERSION
    for changes in setting_effects.COMMON.values():
        for since, _text in changes:
            yield since
    for name in {name for rules in RULES for name in rules.EFFECTS} | set(setting_effects.COMMON):
        variable = service_variables.find(name)
        yield from (bound for bound in (variable.first, _after(variable.last)) if bound)


def _after(last):
    """The release after the last one that reads a setting."""
    return last and (*last[:2], last[2] + 1)


def known_releases():
    """The releases whose checksums are known or whose rules were checked."""
    rows = []
    for version in sorted(set(archives.CHECKSUMS) | {version_text(NEWEST_CHECKED)}, key=parse_version, reverse=True):
        kinds = []
        for architecture in ("amd64", "arm64"):
            found = archives.checksum(version, architecture, "", "https://x/a")
            there = "read from its ``sha256sum.txt``" if found else "to be given"
            kinds.append("known" if archives.is_sha256(found) else there)
        checked = "checked" if is_checked(parse_version(version)) else "not checked"
        rows.append(["``%s``" % version, *kinds, checked])
    return list_table(["release", "SHA-256 for amd64", "SHA-256 for arm64", "rules of placement"], rows)


def engines():
    """The builds of the engine, with the CUDA libraries and what each of them is for."""
    rows = []
    for libraries, group in itertools.groupby(engine_table.TABLE, key=lambda row: row.libraries):
        of_group = list(group)
        rows += [
            [
                "from %s" % version_text(of_group[-1].first),
                "``%s``" % library.name,
                ", ".join(library.machines),
                _capabilities(library.machine_code),
                _capabilities(library.ptx),
                _driver(library),
            ]
            for library in libraries
        ]
    return list_table(["release", "library", "machines", "machine code", "compiled by the driver", "driver"], rows)


def _capabilities(found):
    return ", ".join(".".join(str(part) for part in one) for one in found) or "none"


def _driver(library):
    if not library.driver:
        return "that of JetPack"
    if library.legacy_driver != library.driver:
        return "%d; below compute capability 7.0 %d" % (library.driver, library.legacy_driver)
    return str(library.driver)


def list_table(head, rows):
    """A table of reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [head, *rows]:
        lines += ["   %s %s" % ("  -" if place else "* -", cell) for place, cell in enumerate(row)]
    return "\n".join(lines) + "\n"
