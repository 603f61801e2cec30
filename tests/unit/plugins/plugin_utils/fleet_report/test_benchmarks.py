# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Benchmarks in the report: their figures, their drawings, and what a host may have made up."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.file import BenchmarkFile, kept
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import charts, colours
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.benchmarks import benchmark_report
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.markdown import markdown_page

from tests.unit.plugins.plugin_utils.fleet_report import made_hosts
from tests.unit.plugins.plugin_utils.fleet_report.made_benchmarks import made, one
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import Page, as_json, unreachable, variables


def report_of(benchmarks, **hosts):
    return made_hosts.report_of(benchmarks=benchmarks, **(hosts or {"a": variables()}))


def drawn(kept_ones):
    return charts.drawings(benchmark_report(kept_ones)).charts


def test_the_newest_is_whole_and_the_others_are_a_history():
    found = benchmark_report([made("T1", 80.0), made("T2", 100.0)])
    assert (found.time, found.label, found.release) == ("T2", "stand-in", "0.32.15")
    assert [(row.on, row.is_untouched) for row in found.loads] == [(["gpu0"], False), (["gpu0"], True)]
    assert len(found.rows) == 8 + 3 and [row.is_untouched for row in found.rows[-3:]] == [True] * 3
    assert (found.rows[0].prompt, found.rows[0].streams, found.rows[0].tokens_per_second.median) == (32, 1, 100.0)
    assert [(one.time, one.tokens_per_second) for one in found.history] == [
        ("T1", {"tiny": 400.0}),
        ("T2", {"tiny": 500.0}),
    ]
    assert benchmark_report([]) is None


@pytest.mark.parametrize("value", [None, "x", -1, True, float("nan"), [1], {"median": "1"}], ids=str)
def test_what_is_no_figure_is_unknown(value):
    given = made(untouched=value, loads=value, notes=value)
    given["untouched"] = value
    given["measurements"][0]["total_tokens_per_second"] = value
    given["measurements"][1].update(model=value, instances=value, prompt=value, streams=value)
    report = report_of({"a": [given]})
    assert report.hosts[0].state == "as planned" and report.hosts[0].benchmark.rows[0].tokens_per_second is None
    assert Page.of(report).problems == [] and markdown_page(report)


def test_drawings_have_a_line_for_each_length_of_a_prompt_and_each_server():
    speed, first, history = drawn([made("T1", 80.0), made("T2")])
    assert (speed.title, first.title) == ("tiny: tokens/s of all requests", "tiny: time to the first token")
    names = ["plan, 32 tokens", "plan, 512 tokens", "untouched Ollama, 32 tokens"]
    assert [line.name for line in speed.lines] == [line.name for line in first.lines] == names
    assert [line.is_dashed for line in speed.lines] == [False, False, True]
    assert [tick.text for tick in speed.x_ticks] == ["1", "2", "4"]
    assert [tick.text for tick in speed.y_ticks] == ["0", "100", "200", "300", "400", "500"]
    assert "plan, 32 tokens: 100, 250, 500" in speed.description and "untouched Ollama, 32 tokens: 80, 80, 80" in (
        speed.description
    )
    assert [line.name for line in history.lines] == ["tiny"] and [tick.text for tick in history.x_ticks] == ["1", "2"]


def test_points_are_where_their_values_are():
    (speed, *_others) = drawn([made()])
    line = speed.lines[0]
    assert line.points[0] == (charts.LEFT, pytest.approx(charts.BOTTOM - (charts.BOTTOM - charts.TOP) / 5, abs=0.1))
    assert line.points[-1] == (charts.RIGHT, charts.TOP)
    for one_of in speed.lines:
        assert all(charts.LEFT <= x <= charts.RIGHT and charts.TOP <= y <= charts.BOTTOM for x, y in one_of.points)
        assert charts.BOTTOM < one_of.key[1] < speed.height


def test_nothing_is_drawn_of_one_point():
    rows = [one(["gpu0"], 32, 1, 100.0)]
    assert drawn([made(measurements=rows, untouched=False)]) == []
    assert drawn([made(measurements=[one(["gpu0"], 32, n, 0.0) for n in (1, 2)])])


@pytest.mark.parametrize("highest", [0, 1e-299, 1e-6, 0.07, 1, 9.99, 10, 101, 123456.0])
def test_an_axis_has_few_ticks_and_holds_the_highest(highest):
    rows = [one(["gpu0"], 32, streams, highest) for streams in (1, 2)]
    (speed, *_others) = drawn([made(measurements=rows, untouched=False)])
    assert 2 <= len(speed.y_ticks) <= 6 and speed.y_ticks[-1].at == charts.TOP
    assert float(speed.y_ticks[-1].text) >= highest * 0.999


def test_of_many_models_some_are_drawn_and_all_are_in_the_table():
    rows = [one(["gpu0"], 32, n, 10.0, "model%d" % number) for number in range(30) for n in (1, 2)]
    report = report_of({"a": [made(measurements=rows)]})
    page = Page.of(report)
    assert len([node for node in page.all("svg") if node.get("class") == "chart"]) == 12
    assert "Not all is drawn of model6, model7, " in page.text and "drawn of model5" not in page.text
    assert len(report.hosts[0].benchmark.rows) == 63


def looks(chart):
    """What tells the lines of a drawing apart."""
    return [(line.number, line.is_dashed) for line in chart.lines]


def test_lines_of_many_prompts_are_in_several_drawings_and_no_two_of_one_are_alike():
    prompts = [16 * number for number in range(1, 11)]
    rows = [one(["gpu0"], prompt, n, 10.0 * n) for prompt in prompts for n in (1, 2)]
    given = made(measurements=rows)
    given["untouched"] = {"measurements": rows}
    found = drawn([given])
    assert [chart.title for chart in found[:3]] == [
        "tiny: tokens/s of all requests, prompts of 16 to 64 tokens",
        "tiny: time to the first token, prompts of 16 to 64 tokens",
        "tiny: tokens/s of all requests, prompts of 80 to 128 tokens",
    ]
    for chart in found:
        assert len(set(looks(chart))) == len(chart.lines)
        assert all(line.number < len(colours.LINES) for line in chart.lines)
    names = [line.name for chart in found for line in chart.lines if "tokens/s" in chart.title]
    assert len(names) == len(set(names)) == 2 * len(prompts)


def test_lines_of_many_models_over_time_are_in_two_drawings_and_the_others_are_named():
    models = ["model%d" % number for number in range(11)]
    rows = [one(["gpu0"], 32, 1, 10.0, model) for model in models]
    both = [made(time, measurements=rows, untouched=False) for time in ("T1", "T2")]
    found = charts.drawings(benchmark_report(both))
    assert [chart.title[-8:] for chart in found.charts] == ["(1 of 3)", "(2 of 3)"]
    for chart in found.charts:
        assert len(set(looks(chart))) == len(chart.lines) == 4
    assert found.left_out == models[8:]


def test_html_markdown_and_json_have_the_same_figures():
    report = report_of({"a": [made("T1", 80.0), made("T2")]})
    page, text, data = Page.of(report), markdown_page(report), as_json(report)
    assert page.problems == []
    for shown in ("500 (450 to 550)", "0.05 (0.045 to 0.055)", "T2, Ollama 0.32.15, stand-in", "untouched Ollama"):
        assert shown in page.text and shown in text.replace("\\", ""), shown
    rows = data["hosts"][0]["benchmark"]["rows"]
    assert rows[7]["tokens_per_second"] == {"median": 500.0, "q1": 450.0, "q3": pytest.approx(550.0)}
    assert text.count("| tiny |") == len(rows) + 2 and "### Benchmark" in text
    assert json.loads(json.dumps(data)) == data


def test_what_was_not_measured_is_said():
    given = made(notes=["Not of the plan."])
    given["untouched"]["notes"] = ["Not of the other, `x`."]
    given["untouched"]["measurements"][1]["disturbed"] = 2
    report = report_of({"a": [given]})
    served = "Others were served before 2 of the repeats: tiny on untouched Ollama, prompts of 32 tokens, 2 at a time."
    for note in ("Not of the plan.", "Not of the other, `x`.", served):
        assert note in Page.of(report).text and note in markdown_page(report).replace("\\", ""), note
        assert note in as_json(report)["hosts"][0]["benchmark"]["notes"]


def test_drawings_are_named_and_described_and_ids_are_unique():
    report = report_of({"a": [made()], "b": [made()]}, a=variables(), b=unreachable())
    page = Page.of(report)
    drawn = [node for node in page.all("svg") if node.get("class") == "chart"]
    ids = [attributes["id"] for _tag, attributes in page.nodes if "id" in attributes]
    assert len(drawn) == 4 and len(ids) == len(set(ids))
    for node in drawn:
        assert node["role"] == "img" and {node["aria-labelledby"], node["aria-describedby"]} <= set(ids)
    assert len(page.all("desc")) == 4 and page.all("title")


def test_what_a_host_made_up_is_text():
    evil = "<script>alert(1)</script>\x1b[2J|`"
    report = report_of({"a": [made(model=evil, label=evil, release=evil, time=evil)] * 2})
    source = html_page(report)
    assert "<script" not in source and "\x1b" not in source and "&lt;script&gt;" in source
    text = markdown_page(report)
    assert "\x1b" not in text and "\\<script" in text


def test_no_two_lines_are_alike():
    assert len(set(colours.LINES)) == len(colours.LINES)


def test_of_a_large_fleet_the_page_has_none():
    hosts = {"n%03d" % number: unreachable() for number in range(101)}
    report = report_of(dict.fromkeys(hosts, [made()]), **hosts)
    source = html_page(report)
    assert '<svg class="chart"' not in source and "<h4>Benchmark</h4>" not in source
    assert markdown_page(report).count("### Benchmark") == 101


def test_files_of_a_host_are_read_the_last_ones_and_no_others(tmp_path):
    for day in range(1, 6):
        BenchmarkFile(str(tmp_path), "a", "2026110%dT000000Z" % day).write(made("T%d" % day))
    BenchmarkFile(str(tmp_path), "a.b", "20261109T000000Z").write(made("other"))
    (tmp_path / "a.20261105T000000Z.json").write_text("{")
    assert [one["time"] for one in kept(str(tmp_path), "a", 3)] == ["T3", "T4"]
    assert kept(str(tmp_path / "none"), "a", 3) == [] and kept(str(tmp_path), "../a", 3) == []
