# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How long the report of 1,000 hosts with 8 GPUs takes to be made, and to open in Chromium beside smaller ones.

The pages are opened in turn, in the same run and by the same Chromium, which has no network and no screen. A page is
open when it is read and its first screen is drawn. With all hosts open, the browser has to lay out everything: what the
closed ones save is the reason why a large report opens fast.
"""

from __future__ import annotations

import pathlib
import statistics

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page

from tests.bench.timing import row, seconds
from tests.browser import chromium
from tests.rig.settings import RigError
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import fleet_of

EMPTY, OPEN = "empty page", "1,000 hosts, all open"
FLEETS = {"2 hosts": 2, "100 hosts": 100, "1,000 hosts": 1000}
FEW, MANY = "100 hosts", "1,000 hosts"
ROUNDS = 3
#: Of the seconds to make ten times as many hosts, and of those to open 1,000 hosts beside the same ones all open.
MOST_TO_MAKE, MOST_OF_OPEN = 15, 0.5


def made(directory, limits):
    """Write the pages, {name: file}; print what they take, and hold the limit."""
    reports = {name: fleet_of(count) for name, count in FLEETS.items()}
    few, many = (seconds(lambda report=reports[name]: html_page(report), 1) for name in (FEW, MANY))
    row("report of %s / of %s, to be made" % (MANY, FEW), many / few, "%.2f s and %.2f s" % (many, few))
    met = many <= MOST_TO_MAKE * few
    limits.hold("report of 1,000 hosts / of 100, made", "%.1f" % (many / few), "at most %d" % MOST_TO_MAKE, met)
    sources = {name: html_page(report) for name, report in reports.items()}
    sources[EMPTY] = "<!doctype html><html lang=en><title>Nothing</title><p>Nothing"
    sources[OPEN] = sources[MANY].replace("<details>", "<details open>")
    files = {name: directory / ("page%d.html" % number) for number, name in enumerate(sources)}
    for name, path in files.items():
        path.write_text(sources[name], encoding="utf-8")
    return files


def opened(files):
    """{name of a page: median seconds until it is open}."""
    with chromium.opened(files[EMPTY]) as browser:

        def one(path):
            browser.turn_to(files[EMPTY].name)  # what is left of the page before is taken away
            return browser.turn_to(path.name)

        rounds = [{name: one(path) for name, path in files.items()} for unused in range(ROUNDS)]
    return {name: statistics.median(times[name] for times in rounds) for name in files}


def measure(scratch, limits):
    """Print the ratios and hold the limits. Without Chromium, nothing is opened."""
    print("\nthe report in Chromium (median of %d rounds in turn)" % ROUNDS)
    files = made(pathlib.Path(scratch), limits)
    try:
        chromium.ensure()
    except RigError as error:
        print("how fast it opens is not measured: %s" % error)
        return
    found = opened(files)
    many, size = found[MANY], files[MANY].stat().st_size / 1e6
    for name in files:
        if name != MANY:
            row("%s (%.1f MB) / %s, to open" % (MANY, size, name), many / found[name], of(many, found[name]))
    share = many / found[OPEN]
    limits.hold(
        "1,000 hosts / the same all open, opened", "%.2f" % share, "at most %.2f" % MOST_OF_OPEN, share <= MOST_OF_OPEN
    )


def of(*times):
    return " and ".join("%.2f s" % one for one in times)
