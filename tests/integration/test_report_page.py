# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The report in a real browser: what it becomes there, without network, for everybody.

The image of the browser has some 900 MB, so only make test-full does this. The unit tests check what a parser can.
"""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page

from tests.browser import chromium
from tests.integration.support import CHECKOUT
from tests.rig.waiting import wait_until
from tests.unit.plugins.plugin_utils.fleet_report.made_benchmarks import made
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import (
    MODEL,
    Page,
    as_json,
    bytes_of_gpus,
    fleet_of,
    report_of,
    unreachable,
    variables,
)
from tests.unit.plugins.plugin_utils.report.made_plans import evidence_of, planned

pytestmark = [pytest.mark.hosts, pytest.mark.full]

DARK = "--blink-settings=preferredColorScheme=0"
PHONE, SCREEN = "--window-size=360,800", "--window-size=1280,1000"
PHONE_COLUMNS = 360
EVIL = "<script>document.title='owned'</script><img src='http://192.0.2.1/x'>"
#: Where pictures are kept, beside other output of tests.
PICTURES = pathlib.Path(os.environ.get("GPUFLEET_PICTURES") or CHECKOUT / "tests" / "output" / "pictures").absolute()


@pytest.fixture(scope="module")
def report():
    """A host that is well, one with a finding, one with a name that is a script, and one that is gone."""
    finding = {
        "finding": "cpu_only",
        "evidence": "NVML lists the engine on no GPU.",
        "remedy": "Restart ollama@gpu0.service.",
        "instance": "gpu0",
        "model": "gemma3:27b-optimized",
    }
    failing = variables(evidence=dict(evidence_of(planned(MODEL), "fail"), diagnosis=[finding]))
    evil = variables()
    evil["__ollama_multigpu_placement"]["placement"]["gpus"][0]["name"] = EVIL
    last = as_json(report_of(well=variables(), slow=variables(), evil=variables()))
    found = {"well": variables(), "slow": failing, "evil": evil, "gone": unreachable(EVIL)}
    benchmarks = {"well": [made("2026-11-28T09:00:00Z", 80.0), made()]}
    return report_of(last, "2026-11-30T09:00:00Z", benchmarks=benchmarks, **found)


@pytest.fixture(scope="module")
def place(podman_hosts, tmp_path_factory):
    chromium.ensure(say=lambda text: None)
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def written(place, report):
    page = place / "report.html"
    page.write_text(html_page(report), encoding="utf-8")
    return page


def with_script(page, name, script, everything_open=True):
    """A copy of a page in which a script of the test may run; its result is the text of the last element."""
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    if everything_open:
        source = source.replace("<details>", "<details open>")
    copy = page.with_name(name)
    ending = "<script>%s</script></body>" % script.replace("</script", "<\\/script")
    copy.write_text(source.replace("</body>", ending), encoding="utf-8")
    return copy


TELL = """function tell(x) {
  const e = document.createElement('pre'); e.id = 'told'; e.textContent = JSON.stringify(x); document.body.append(e);
};"""


def told(visit):
    """What a script of the test has told."""
    found = re.search(r'<pre id="told">(.*?)</pre>', visit.dom, re.DOTALL)
    assert found, visit.dom[-2000:]
    text = found[1]
    for reference, character in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", "\u00a0"), ("&amp;", "&")):
        text = text.replace(reference, character)
    return json.loads(text)


@pytest.mark.parametrize("mode", ["", DARK])
def test_the_page_needs_no_network_and_says_nothing_to_the_console(written, report, mode):
    visit = chromium.visit(written, chromium.TO_THE_END, *([mode] if mode else []))
    assert (visit.console, visit.requests) == ([], [])
    page = Page(visit.dom)
    assert page.gpus == bytes_of_gpus(as_json(report)["hosts"]) and len(page.gpus) == 6
    assert page.states == {host.name: host.state for host in report.hosts}
    assert not page.all("script") and not page.all("img")
    assert len(page.all("polyline")) == 2 * (3 + 3 + 1), "lines of the benchmark, and those of the legends"
    assert re.search(r"<title>GPU fleet: 4 hosts", visit.dom) and EVIL in page.text


@pytest.mark.parametrize("mode", ["", DARK])
@pytest.mark.parametrize("size", [PHONE, SCREEN])
def test_axe_finds_nothing(written, mode, size):
    script = chromium.axe() + TELL + "axe.run().then(r=>tell(r.violations.map(v=>[v.id,v.nodes.map(n=>n.html)])))"
    copy = with_script(written, "axe.html", script)
    assert told(chromium.visit(copy, chromium.TO_THE_END, size, *([mode] if mode else []))) == []


def test_axe_finds_something_where_there_is_something(written):
    """The test of the test: a page without a language and a drawing without a name."""
    broken = written.with_name("broken.html")
    source = written.read_text(encoding="utf-8")
    broken.write_text(
        re.sub(r' lang="en"| aria-(?:labelledby|describedby)="c[^"]*"|<title id.*?</title>', "", source),
        encoding="utf-8",
    )
    script = chromium.axe() + TELL + "axe.run().then(r=>tell(r.violations.map(v=>v.id)))"
    found = told(chromium.visit(with_script(broken, "axe-broken.html", script), chromium.TO_THE_END))
    assert {"html-has-lang", "svg-img-alt"} <= set(found)


def test_dark_and_light_are_those_of_the_reader(written):
    script = TELL + "tell(getComputedStyle(document.body).backgroundColor)"
    copy = with_script(written, "colours.html", script)
    assert told(chromium.visit(copy, chromium.TO_THE_END)) == "rgb(255, 255, 255)"
    assert told(chromium.visit(copy, chromium.TO_THE_END, DARK)) == "rgb(21, 23, 27)"


def test_a_request_of_a_page_would_be_noticed(written):
    """The test of the test: the same page with a picture from elsewhere, and no policy that forbids it."""
    asking = written.with_name("asking.html")
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", written.read_text(encoding="utf-8"))
    asking.write_text(source.replace("</main>", "</main><img src='http://192.0.2.1/x.png'>"), encoding="utf-8")
    assert chromium.visit(asking, chromium.TO_THE_END).requests == ["http://192.0.2.1/x.png"]


def test_nothing_is_wider_than_a_phone(written):
    """In a frame, because a window of Chromium is never that narrow."""
    root = "document.documentElement"
    with_script(written, "narrow.html", "parent.postMessage([%s.scrollWidth,%s.clientWidth],'*')" % (root, root))
    frame = written.with_name("frame.html")
    source = (
        "<script>%saddEventListener('message',m=>tell(m.data))</script><iframe src=narrow.html width=%d height=900>"
    )
    frame.write_text("<body>" + source % (TELL, PHONE_COLUMNS), encoding="utf-8")
    whole, seen = told(chromium.visit(frame, chromium.TO_THE_END))
    assert whole <= seen <= PHONE_COLUMNS


def test_a_link_of_the_overview_opens_its_host(written):
    script = TELL + (
        "const a=document.querySelector('tbody tr:last-child a');"
        "const d=document.querySelector(a.hash).closest('details');"
        "const before=d.open;a.click();setTimeout(()=>tell([before,d.open]),500)"
    )
    copy = with_script(written, "link.html", script, everything_open=False)
    assert told(chromium.visit(copy, chromium.TO_THE_END)) == [False, True]


#: The things that the keyboard comes to, in their order; those in a closed host are not there.
FOCUSABLE = """window.things = [...document.querySelectorAll("a[href], summary, [tabindex='0']")]
  .filter(one => one.checkVisibility()); things.length"""
FOCUSED = "window.things.indexOf(document.activeElement)"
SEEN = """(one => getComputedStyle(one).outlineStyle != "none" && one.getBoundingClientRect().left >= 0)
  (document.activeElement)"""
IS_CLOSED = (
    "document.activeElement.matches('li details:not([open]) > summary, section > details:not([open]) > summary')"
)


def test_the_keyboard_comes_to_everything_in_its_order_and_shows_where_it_is(written):
    with chromium.opened(written) as keys:
        count = keys.ask(FOCUSABLE)
        assert count > 4 + 4 + 1, "links to hosts, hosts, and the link that skips"
        for number in range(count):
            keys.press("Tab")
            assert keys.ask(FOCUSED) == number and keys.ask(SEEN), keys.ask("document.activeElement.outerHTML")


def test_the_keyboard_skips_opens_and_closes(written):
    with chromium.opened(written) as keys:
        keys.press("Tab")
        assert keys.ask("document.activeElement.className") == "skip"
        keys.press("Enter")
        assert keys.ask("location.hash") == "#hosts"
        keys.press("Tab")
        assert keys.ask("document.activeElement.matches('section[aria-labelledby=hosts] summary')")
        for _number in range(keys.ask(FOCUSABLE)):
            if keys.ask(IS_CLOSED):
                break
            keys.press("Tab")
        assert keys.ask(IS_CLOSED)
        keys.press("Enter")
        assert not keys.ask(IS_CLOSED) and keys.ask("document.activeElement.parentElement.open")
        keys.press("Enter")
        assert keys.ask(IS_CLOSED)


def test_a_link_of_the_overview_opens_its_host_by_the_keyboard(written):
    last = "document.activeElement.matches('section[aria-labelledby=overview] tbody tr:last-child a')"
    with chromium.opened(written) as keys:
        for _number in range(keys.ask(FOCUSABLE)):
            keys.press("Tab")
            if keys.ask(last):
                break
        assert keys.ask(last)
        host = "document.querySelector('%s').closest('details').open" % keys.ask("document.activeElement.hash")
        assert keys.ask(host) is False
        keys.press("Enter")
        wait_until(lambda: keys.ask(host), "the host is open")


def test_pictures(written):
    """Of a phone, a dark screen and paper. They are kept, for people who want to look at them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn = [
        chromium.picture(written, "phone.png", PHONE),
        chromium.picture(written, "dark.png", SCREEN, DARK),
        chromium.picture(written, "light.png", SCREEN),
        chromium.picture(written, "paper.pdf", "--no-pdf-header-footer"),
    ]
    for path in drawn:
        assert path.stat().st_size > 5000
        (PICTURES / path.name).write_bytes(path.read_bytes())


def test_what_is_closed_on_a_screen_is_printed(written):
    """By the number of pages: hosts of which only the summary is printed need less."""
    pages = []
    source = written.read_text(encoding="utf-8").replace("<details open>", "<details>")
    for name, text in (
        ("closed", source),
        ("open", source.replace("<details>", "<details open>")),
        ("screen", source.replace("details::details-content", "details::nothing")),
    ):
        page = written.with_name(name + ".html")
        page.write_text(text, encoding="utf-8")
        printed = chromium.picture(page, name + ".pdf", "--no-pdf-header-footer").read_bytes()
        pages.append(len(re.findall(rb"/Type\s*/Page\b", printed)))
    assert pages[0] == pages[1] > pages[2], "the last one is the test of the test"


def test_of_a_thousand_hosts_only_those_that_are_open_are_laid_out(place):
    """This is why they open fast; make bench has the seconds."""
    page = place / "fleet.html"
    page.write_text(html_page(fleet_of(1000)), encoding="utf-8")
    with chromium.opened(page) as keys:
        assert keys.ask("document.querySelectorAll('figure').length") == 999 * 8
        elements, boxes = keys.ask("document.getElementsByTagName('*').length"), keys.boxes()
        # The overview, and the first lines of the hosts on the screen. With those of all hosts, it would be a sixth.
        assert 1000 < boxes < elements / 8, (boxes, elements)
