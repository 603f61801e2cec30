# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Rules of who may connect are read back from what five releases of nft have printed, and nothing else is taken for
them."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.firewall_rules import Firewall, read

RECORDED = json.loads(
    (pathlib.Path(__file__).parents[4] / "fixtures" / "recordings" / "nft-listings.json").read_text(encoding="utf-8")
)
USUAL = RECORDED["same"]["usual"][-1]["text"]


def listings(kind):
    """[(case, text)] of the recordings."""
    return [
        pytest.param(case, one["text"], id="%s-%s" % (case, one["releases"][-1]))
        for case, rows in RECORDED[kind].items()
        for one in rows
    ]


def rules(case):
    """The rules that were loaded."""
    return Firewall(*(tuple(RECORDED["rules"][case][part]) for part in ("ports", "allowed")))


@pytest.mark.parametrize(("case", "text"), listings("same"))
def test_what_nft_prints_of_rules_are_these_rules(case, text):
    assert read(text).digest == rules(case).digest


@pytest.mark.parametrize("case", RECORDED["rules"])
def test_a_file_is_read_as_it_is_written(case):
    wanted = rules(case)
    found = read(wanted.text)
    assert (found.ports, found.digest) == (wanted.ports, wanted.digest) == (found.ports, read(found.text).digest)


@pytest.mark.parametrize(("case", "text"), listings("other"))
def test_rules_that_somebody_has_changed_are_others(case, text):
    assert read(text) is None, case


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("packets 0 bytes 0", "packets 1234 bytes 56789012345"),
        ("priority filter", "priority 0"),
        ("{ 11434, 11435 }", "{ 11435, 11434 }"),
        ("{ 11434, 11435 }", "11434-11435"),
        ("{ 11434, 11435 }", "{ 11434,\n\t\t\t     11435 }"),
        ("{ 192.0.2.0/24, 198.51.100.9 }", "{ 198.51.100.9, 192.0.2.0-192.0.2.127, 192.0.2.128/25 }"),
        ("table inet ollama_multigpu {", "# Warning: said by nft\ntable inet ollama_multigpu {"),
    ],
)
def test_how_it_is_printed_does_not_matter(written, printed):
    assert written in USUAL
    assert read(USUAL.replace(written, printed)).digest == rules("usual").digest


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("{ 11434, 11435 }", "{ 11434 }"),
        ("{ 11434, 11435 }", "{ 11434-11436 }"),
        ("{ 11434, 11435 }", "{ 11434, http }"),
        ("{ 11434, 11435 }", "{ 11435-11434 }"),
        ("{ 11434, 11435 }", "0-99999999999"),
        ("{ 11434, 11435 }", "@more"),
        ("192.0.2.0/24", "192.0.2.0/23"),
        ("192.0.2.0/24", "192.0.2.0-192.0.3.0"),
        ("192.0.2.0/24", "192.0.2.0-2001:db8::"),
        ("192.0.2.0/24", "@more"),
        ("\t\tip6 saddr 2001:db8::/32 accept\n", ""),
        ("ip6 saddr 2001:db8::/32", "ip6 saddr 2001:db8::/31"),
        ('iifname "lo" accept', 'iifname "lo" accept\n\t\tmeta mark 1 accept'),
        ("table inet ollama_multigpu {", "table ip ollama_multigpu {"),
        ("table inet ollama_multigpu {", "table inet ollama_multigpu { # handle 7\n\t\taccept"),
    ],
)
def test_what_lets_others_through_is_another_set_of_rules(written, printed):
    assert written in USUAL
    found = read(USUAL.replace(written, printed))
    assert found is None or found.digest != rules("usual").digest


@pytest.mark.parametrize("more", ["add rule inet ollama_multigpu input accept\n", "flush ruleset\n"])
def test_a_file_that_does_more_is_another_set_of_rules(more):
    text = rules("usual").text
    assert read(text + more) is None and read(more + text) is None


@pytest.mark.parametrize("text", ["", "\n", "table inet ollama_multigpu {\n}\n", "x" * 10000, "{ " * 10000])
def test_nothing_is_no_set_of_rules(text):
    assert read(text) is None
