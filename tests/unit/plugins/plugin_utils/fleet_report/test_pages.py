# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""HTML and Markdown: escaped, complete, small, and readable by everybody."""

from __future__ import annotations

import itertools
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import bars, colours, shapes
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page, in_words, settings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.markdown import markdown_page

from tests.oracle import hosts
from tests.unit.plugins.plugin_utils.colour_vision import VISIONS, distance, linear
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import (
    Page,
    as_json,
    bytes_of_gpus,
    fleet_of,
    report_of,
    unreachable,
    variables,
)

EVIL = "<script>alert(1)</script><img src=x onerror=y>'\"&amp;{{7*7}}${7}`x`\u202e\x1b[2J\n# h|a"


def everywhere(value, text):
    """The same data with a text in the place of each text that a host may have made up."""
    if isinstance(value, dict):
        return {key: everywhere(one, text) if key not in KEPT else one for key, one in value.items()}
    if isinstance(value, list):
        return [everywhere(one, text) for one in value]
    return text + value if isinstance(value, str) and not value.startswith(("GPU-", "0.")) else value


#: What decides how the rest is read.
KEPT = {"address", "default_address", "verdict", "unit", "health", "kind", "strategy", "parameters", "time"}


@pytest.fixture(scope="module")
def evil():
    given = everywhere(variables(failure={"task": "t", "msg": "m"}), EVIL)
    for gpu in given["ansible_facts"]["gpu_inventory"]["gpus"]:
        gpu["name"] = EVIL
    plan = given["__ollama_multigpu_placement"]["placement"]
    for instance in plan["instances"]:
        instance["environment"] = {EVIL: EVIL}
    plan["warnings"] = [EVIL]
    given["__ollama_multigpu_difference"]["changes"] = [
        {"kind": EVIL, "object": EVIL, "what": EVIL, "reason": EVIL, "instance": EVIL}
    ]
    given["__ollama_multigpu_evidence"]["diagnosis"] = [
        {"finding": EVIL, "evidence": EVIL, "remedy": EVIL, "instance": EVIL, "model": EVIL}
    ]
    first = report_of(a=variables(), gone=variables())
    return report_of(as_json(first), "2026-12-01T00:00:00Z", **{"a": given, "b" + EVIL: unreachable(EVIL)})


def test_the_evil_report_holds_the_text_in_many_places(evil):
    assert Page.of(evil).text.count("alert(1)") > 20 and markdown_page(evil).count("alert(1)") > 20


def test_what_hosts_answer_is_text_in_html(evil):
    page = Page.of(evil)
    assert page.problems == []
    tags = {tag for tag, _attributes in page.nodes}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form"}
    assert not [name for _tag, attributes in page.nodes for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script><img src=x onerror=y>" in page.text
    assert "\\u202e\\x1b[2J\\n# h|a" in page.text and "{{7*7}}" in page.text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", html_page(evil))


def test_what_hosts_answer_is_text_in_markdown(evil):
    text = markdown_page(evil)
    assert not re.search(r"(?<!\\)[<`]", text) and "\x1b" not in text and "alert(1)" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {7}
    heads = [line for line in text.splitlines() if line.startswith("#")]
    titles = r"#{1,3} (GPU fleet|Since|What|Changed|Notes|History|Why|Settings|a:|b.*:)"
    assert all(re.match(titles, line) for line in heads)


# -- what is in it -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page():
    return Page.of(report_of(a=variables(), b=variables(verdict="fail"), c=unreachable()))


def test_every_gpu_is_a_node_with_its_uuid_and_bytes(page):
    report = report_of(a=variables(), b=variables(verdict="fail"), c=unreachable())
    gpus = [gpu for host in report.hosts for gpu in host.gpus]
    assert len(gpus) == 4
    wanted = [(gpu.uuid, str(gpu.predicted.models_bytes), str(gpu.observed.models_bytes)) for gpu in gpus]
    assert page.gpus == wanted == bytes_of_gpus(as_json(report)["hosts"]) and len(page.all("figure")) == 4
    for gpu in gpus:
        assert gpu.uuid in page.text and "{:,} bytes".format(gpu.total_bytes).replace(",", " ") in page.text
        words = " predicted %s observed %s " % (in_words(gpu.predicted), in_words(gpu.observed))
        assert words in page.text


def test_the_table_has_the_state_of_each_host(page, evil):
    assert page.states == {"a": "as planned", "b": "not as planned", "c": "unreachable"}
    assert list(Page.of(evil).states.values()) == [host.state for host in evil.hosts]
    unread = variables(evidence={})
    unread["ansible_facts"]["gpu_inventory"]["gpus"] = []
    report = report_of(a=unread)
    found = Page.of(report).gpus
    assert [observed for _uuid, _predicted, observed in found] == [None, None]
    assert found == bytes_of_gpus(as_json(report)["hosts"])


def test_all_three_have_the_same_hosts_gpus_and_models():
    report = report_of(a=variables(), b=unreachable())
    text = markdown_page(report)
    for host in as_json(report)["hosts"]:
        assert host["name"] in text
        for gpu in host["gpus"]:
            assert gpu["uuid"] in text and str(gpu["total_bytes"]) in text
    assert "//192.0.2.7" not in text and "No route to host" in text and "41.5 tokens/s" in text


def test_one_host_is_no_hosts():
    one, two = report_of(a=variables()), report_of(a=variables(), b=unreachable())
    assert "GPU fleet: 1 host," in html_page(one) and "1 host: 1 as planned" in Page.of(one).text
    assert "1 host: 1 as planned" in markdown_page(one) and "2 hosts: 1 unreachable" in markdown_page(two)


def test_nothing_comes_from_the_network(page):
    source = html_page(report_of(a=variables()))
    assert not re.search(r"(?:src|href|action|data)=\"(?!#|data:,)", source)
    assert "url(" not in source and "@import" not in source
    policy = [one["content"] for one in page.all("meta") if one.get("http-equiv")]
    assert policy and policy[0].startswith("default-src 'none'")


def test_bars_have_what_the_data_have():
    gpu = report_of(a=variables()).hosts[0].gpus[0]
    predicted, observed = bars.bars(gpu)
    assert [one.part for one in predicted.segments] == ["weights", "kv", "compute", "others"]
    assert [one.part for one in observed.segments] == ["models", "others"]
    for drawn in (predicted, observed):
        for one, following in itertools.pairwise(drawn.segments):
            assert abs(one.start + one.length - following.start) < 0.02
        assert drawn.segments[-1].start + drawn.segments[-1].length <= 100.0
    drawn = [*predicted.segments, *observed.segments]
    rects = Page.of(report_of(a=variables(sizes=(hosts.A6000,)))).all("rect")
    assert [(one["class"], one["width"]) for one in rects] == [(one.part[0], "%g%%" % one.length) for one in drawn]
    assert [one.get("x", "0%") for one in rects] == ["%g%%" % one.start for one in drawn]
    weights = predicted.segments[0]
    assert abs(weights.length - 100 * gpu.predicted.weights_bytes / gpu.total_bytes) < 0.01 and weights.label


def test_more_than_there_is_does_not_leave_the_drawing():
    given = variables()
    for gpu in given["ansible_facts"]["gpu_inventory"]["gpus"]:
        gpu["processes"][0]["used_bytes"] = 10 * gpu["memory"]["total_bytes"]
    for gpu in report_of(a=given).hosts[0].gpus:
        assert all(one.start + one.length <= 100.01 for drawn in bars.bars(gpu) for one in drawn.segments)


# -- for everybody -----------------------------------------------------------------------------------------------------


def test_rules_of_accessibility_that_a_parser_can_check(page):
    assert page.problems == []
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _attributes in page.nodes if re.match(r"h[1-6]$", tag)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _tag, attributes in page.nodes if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {one["href"][1:] for one in page.all("a")} <= set(ids)
    for tag, attributes in page.nodes:
        assert attributes.get("aria-labelledby", ids[0]) in ids
        if tag == "svg":
            assert attributes["aria-hidden"] == "true", "the text below it has the same figures"
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
        if attributes.get("tabindex"):
            assert attributes["role"] == "region" and attributes["aria-label"]
    assert page.all("main") and page.all("title") and page.all("caption")
    assert [one for one in page.all("meta") if one.get("name") == "viewport"]


def _contrast(one: str, other: str) -> float:
    """Return the contrast of two colours ("#0072b2"), 1 to 21, as WCAG 2.2 defines it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of a colour of sRGB (WCAG 2.2, definition of terms)."""
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("mode", [colours.LIGHT, colours.DARK])
def test_contrast_is_enough(mode):
    tones = colours.PAGE[mode]
    for ground in ("paper", "panel"):
        for name in set(tones) - {"paper", "panel"}:
            least = 3 if name == "rule" else 4.5
            assert _contrast(tones[name], tones[ground]) >= least, (name, ground)
    for part, (colour, on_it) in colours.PARTS.items():
        assert _contrast(colour, on_it) >= 4.5, part
    for colour in colours.LINES:
        assert _contrast(colour, tones["paper"]) >= 3, colour


def test_contrast_is_that_of_wcag():
    assert round(_contrast("#ffffff", "#000000"), 2) == 21
    assert round(_contrast("#777777", "#ffffff"), 2) == 4.48


#: Distances that people see without looking for them: of colours in one drawing, and of those that touch.
APART, TOUCHING = 15, 20


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("mode", [colours.LIGHT, colours.DARK])
def test_parts_and_lines_are_apart_for_everybody(vision, mode):
    paper = colours.PAGE[mode]["paper"]
    fills = {part: colour for part, (colour, _on_it) in colours.PARTS.items()}
    for one, other in itertools.combinations([*fills.values(), paper], 2):
        assert distance(one, other, vision) >= APART, (one, other)
    for drawn in bars.bars(report_of(a=variables()).hosts[0].gpus[0]):
        row = [fills[one.part] for one in drawn.segments] + [paper]
        for one, other in itertools.pairwise(row):
            assert distance(one, other, vision) >= TOUCHING, (one, other)
    for one, other in itertools.combinations([*colours.LINES, paper], 2):
        assert distance(one, other, vision) >= APART, (one, other)


def test_the_simulation_knows_what_some_people_cannot_tell_apart():
    """The test of the test, with the colours of states, which have signs and words for this reason."""
    tones = colours.PAGE[colours.DARK]
    assert distance(tones["good"], tones["bad"], "all cones") > 70 > 5 > distance(tones["good"], tones["bad"], "deutan")
    for vision in VISIONS:
        assert 99 < distance("#ffffff", "#000000", vision) < 101 and distance("#777777", "#777777", vision) == 0
    assert round(distance("#ff0000", "#00ff00", "all cones")) == 171
    source = html_page(report_of(a=variables()))
    assert len(set(re.findall(r"\.(?:good|bad|note)::before{content:\"(.)", source))) == 3


# -- a fleet -----------------------------------------------------------------------------------------------------------


def test_a_thousand_hosts_are_clearly_less_than_ten_megabytes():
    source = html_page(fleet_of(1000))
    assert len(source.encode()) < 8.3 * 1000 * 1000
    assert source.count("OLLAMA_NO_CLOUD=1") == 1, "what all hosts have is there once"
    assert source.count("<figure>") == 999 * 8


def test_an_instance_without_settings_of_its_own_is_not_named():
    instances = [shapes.InstanceReport("gpu%d" % number, settings=own) for number, own in enumerate([{"A": "1"}, {}])]
    host = shapes.HostReport("a", shapes.AS_PLANNED, instances=instances)
    assert list(settings(host)) == [("gpu0", {"A": "1"})]
    assert list(settings(host, True, {"A": "1"})) == []
