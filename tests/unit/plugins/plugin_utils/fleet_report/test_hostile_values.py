# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A report of a host that answers with anything in any place: the page is whole, and has the other hosts."""

from __future__ import annotations

import copy
import json
import math
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import charts, html, markdown
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import number
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils.fleet_report import made_hosts
from tests.unit.plugins.plugin_utils.fleet_report.made_benchmarks import made
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import Page, as_json, variables

HOSTILE = (
    *(5e-324, 1e-310, 1e-300, 1e-299, 1e300, 1e308, -1.5, -0.0, 0),
    *(float("nan"), float("inf"), float("-inf")),
    *(2**53 + 1, 2**63 - 1, 2**63, 10**400, -(10**400), True, False, None),
    *("", "5e-324", "nan", "\udcff", "x" * 5000, "<b>\x1b[2J"),
    *([], {}, [[]], {"median": {}}, [None] * 1000),
)
ANSWERS = variables(
    difference={"changes": [{"kind": "write", "object": "file", "what": "/etc/x", "reason": "r", "instance": ""}]}
)
BENCHMARKS = [made("T1", 80.0), made("T2")]


def paths_of(value, before=()):
    """Where something is in data: the leaves, and what holds them."""
    found = [before] if before else []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in parts:
        found += paths_of(one, (*before, key))
    return found


def put(data, path, value):
    """The same data with another value in a place."""
    found = place = copy.deepcopy(data)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return found


def shown(answers, benchmarks):
    """The page of a report of such a host and of one that is well, checked."""
    report = made_hosts.report_of(benchmarks={"evil": benchmarks}, evil=answers, well=variables())
    source = html.html_page(report)
    page = Page(source)
    source.encode("utf-8")
    markdown.markdown_page(report).encode("utf-8")
    json.loads(json.dumps(as_json(report), allow_nan=False))
    assert page.problems == []
    assert "cannot be shown" not in page.text  # the page replaces a host whose values it cannot draw
    assert {"evil", "well"} == {host.name for host in report.hosts}
    assert next(host for host in report.hosts if host.name == "well").state == "as planned"
    for _tag, attributes in page.nodes:
        for name in ("x", "x1", "x2", "y1", "y2", "cx", "cy", "width", "points", "d"):
            assert not re.search("nan|inf", attributes.get(name) or ""), (name, attributes)
    return report


@given(path=st.sampled_from(paths_of(ANSWERS)), value=st.sampled_from(HOSTILE))
def test_an_answer_may_be_anything_anywhere(path, value):
    shown(put(ANSWERS, path, value), BENCHMARKS)


@given(
    changes=st.lists(
        st.tuples(st.sampled_from(paths_of(BENCHMARKS[1])), st.sampled_from(HOSTILE)), min_size=1, max_size=3
    )
)
def test_a_benchmark_may_be_anything_anywhere(changes):
    found = BENCHMARKS[1]
    for path, value in changes:
        try:
            found = put(found, path, value)
        except (KeyError, IndexError, TypeError):  # what held it was replaced before
            continue
    drawn_inside(shown(ANSWERS, [BENCHMARKS[0], found]))


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize("figure", ["first_token_seconds", "total_tokens_per_second"])
def test_each_figure_that_is_drawn_may_be_anything(figure, value):
    benchmark = made()
    for row in benchmark["measurements"] + benchmark["untouched"]["measurements"]:
        row[figure] = {"median": value, "q1": value, "q3": value}
    report = shown(ANSWERS, [benchmark, benchmark])
    assert next(host for host in report.hosts if host.name == "evil").state == "as planned"
    drawn_inside(report)


def drawn_inside(report):
    """Lines are inside their drawings."""
    for host in report.hosts:
        for chart in charts.drawings(host.benchmark).charts if host.benchmark else []:
            for line in chart.lines:
                for x, y in line.points:
                    assert charts.LEFT <= x <= charts.RIGHT and charts.TOP <= y <= charts.BOTTOM, chart.title


def test_what_is_next_to_nothing_is_nothing():
    assert [number(value) for value in (5e-324, -5e-324, 1e-301, 0, -0.0)] == [0.0] * 5
    assert [math.copysign(1, number(value)) for value in (-5e-324, -0.0)] == [1, 1]
    assert number(1e-299) == 1e-299 and number(-1) is None and number(10**400) is None


def test_a_host_that_cannot_be_shown_is_said_so_and_the_others_are_there(monkeypatch):
    def broken(_benchmark):
        raise ArithmeticError("no <drawing>")

    monkeypatch.setattr(charts, "drawings", broken)
    report = made_hosts.report_of(benchmarks={"evil": BENCHMARKS}, evil=variables(), well=variables())
    page = Page.of(report)
    assert "cannot be shown (ArithmeticError: no <drawing>)" in page.text and page.problems == []
    assert len(page.gpus) == 2 and page.text.count("as planned") >= 4
