# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Answers of made-up hosts, and a reader of the HTML that says what a browser would have."""

from __future__ import annotations

import copy
import dataclasses
from html.parser import HTMLParser

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.answers import Answers, answers_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.fleet import Run, fleet_report
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page

from tests.oracle import hosts
from tests.unit.plugins.plugin_utils.report.made_plans import evidence_of, planned

MODEL = {"name": "gemma3:27b", "context_length": 8192}
TIME = "2026-11-29T09:00:00Z"
VOID = {"meta", "link", "br", "rect"}


def loaded(plan, sizes):
    """The GPUs with the processes of the plan's instances."""
    found = hosts.loaded(hosts.inventory(*sizes), plan)
    return dict(found, driver_version="580.65", cuda_version="13.0")


def variables(plan=None, sizes=(hosts.A6000, hosts.A6000), verdict="pass", **more):
    """The variables of a host after a run of the role."""
    plan = planned(MODEL, gpus=sizes) if plan is None else plan
    info = {"applied_plan": plan, "default_address": "192.0.2.7", "architecture": "x86_64", "history": {"plans": []}}
    found = {
        "__ollama_multigpu_reached": {"host": info},
        "__ollama_multigpu_placement": {"placement": plan},
        "__ollama_multigpu_difference": {"changes": [], "obstacles": []},
        "__ollama_multigpu_evidence": evidence_of(plan, verdict),
        "__ollama_multigpu_run_ended": {"ended": True},
        "ansible_facts": {"gpu_inventory": loaded(plan, sizes)},
    }
    return copy.deepcopy({**found, **{"__ollama_multigpu_" + key: value for key, value in more.items()}})


def unreachable(text="Failed to connect to the host via ssh: No route to host"):
    """The variables of a host that cannot be reached."""
    return {
        "__ollama_multigpu_reached": {"unreachable": True, "msg": text},
        "__ollama_multigpu_run_ended": {"ended": True},
    }


def bytes_of_gpus(hosts_of_json):
    """What the page has of the GPUs in the JSON of a report; see Page.gpus."""
    gpus = [gpu for host in hosts_of_json for gpu in host["gpus"]]
    both = [
        (gpu["uuid"], *(gpu[row] and gpu[row]["models_bytes"] for row in ("predicted", "observed"))) for gpu in gpus
    ]
    return [tuple(one if one is None else str(one) for one in entry) for entry in both]


def report_of(last=None, time=TIME, complete=True, changes_nothing=False, benchmarks=None, **found):
    """The report of hosts, {name: variables}, with their benchmarks {name: [benchmark]}."""
    answers = {name: one if isinstance(one, Answers) else answers_of(one) for name, one in found.items()}
    return fleet_report(answers, last or {}, Run(time, complete, changes_nothing, benchmarks or {}))


def fleet_of(count):
    """The report of so many hosts: equal ones with 8 GPUs each, and one that cannot be reached."""
    one = variables(sizes=(hosts.A6000,) * 8)
    return report_of(gone=unreachable(), **{"node%04d" % number: one for number in range(count - 1)})


def as_json(report):
    """The JSON of a report as the next run reads it."""
    return dataclasses.asdict(report)


class Page(HTMLParser):
    """What is in a page: `nodes` are (tag, attributes), `text` all of its texts, and `problems` what is not closed.

    `gpus` are nodes with the UUID of a GPU: (UUID, predicted bytes, observed bytes), None for bytes that it has not.
    `states` are those of the hosts in the table at the beginning.
    """

    def __init__(self, source):
        super().__init__()
        self.nodes, self.texts, self.problems, self._open = [], [], [], []
        self.gpus, self.states, self._host = [], {}, ""
        self.feed(source)
        self.close()
        self.problems += self._open

    @classmethod
    def of(cls, report):
        return cls(html_page(report))

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.nodes if name == tag]

    def handle_starttag(self, tag, attrs):
        self.nodes.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.nodes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:  # a browser writes it for those of SVG
            return
        if not self._open or self._open.pop() != tag:
            self.problems.append("</%s>" % tag)

    def handle_data(self, data):
        if self._open[-2:] == ["figcaption", "code"]:
            found = self.nodes[-1][1]
            self.gpus.append((data, *(found.get("data-%s-bytes" % which) for which in ("predicted", "observed"))))
        if self._open[-3:] == ["tr", "th", "a"]:
            self._host = data
        if self._open[-3:] == ["tr", "td", "span"]:
            self.states[self._host] = data
        if "style" not in self._open:
            self.texts.append(data)
