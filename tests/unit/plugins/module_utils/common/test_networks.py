# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lists of networks."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import networks


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        (None, ()),
        ("", ()),
        ([], ()),
        ("192.0.2.7, 198.51.100.0/24,", ("192.0.2.7", "198.51.100.0/24")),
        ([" 192.0.2.7 ", ""], ("192.0.2.7",)),
        ([7], ("7",)),
    ],
)
def test_entries_of_a_list_or_a_text(value, entries):
    assert networks.listed(value) == entries


def test_entries_that_are_no_networks_are_left_out():
    assert networks.usable("192.0.2.7, 10.0.0.1/8, nobody, ::/0") == ("192.0.2.7", "::/0")


@pytest.mark.parametrize(
    ("values", "usual"),
    [
        ([], ()),
        (["192.0.2.7/32", "192.0.2.7"], ("192.0.2.7",)),
        (["2001:DB8::/32", "10.0.0.0/8", "10.1.2.3"], ("10.0.0.0/8", "2001:db8::/32")),
        (["10.0.0.0/255.0.0.0", "[::1]"], ("10.0.0.0/8", "::1")),
        (["192.0.2.128/25", "192.0.2.0/25"], ("192.0.2.0/24",)),
        (["::ffff:192.0.2.7", "::ffff:10.0.0.0/104"], ("10.0.0.0/8", "192.0.2.7")),
        (["::/0"], ("::/0",)),
    ],
)
def test_the_usual_form(values, usual):
    assert networks.canonical(values) == usual


def test_networks_of_one_version():
    usual = networks.canonical(["::1", "10.0.0.0/8", "192.0.2.7"])
    assert networks.of_version(usual, 4) == ("10.0.0.0/8", "192.0.2.7")
    assert networks.of_version(usual, 6) == ("::1",)


@pytest.mark.parametrize(
    ("others", "outside"),
    [
        ([], ("192.0.2.0/24", "::1")),
        (["0.0.0.0/0"], ("::1",)),
        (["::/0", "192.0.2.0/25"], ("192.0.2.0/24",)),
        (["192.0.2.128/25", "192.0.2.0/25", "::1"], ()),
    ],
)
def test_networks_that_others_do_not_hold(others, outside):
    assert networks.outside(("192.0.2.0/24", "::1"), others) == outside


@pytest.mark.parametrize(
    ("values", "everybody"),
    [
        ([], False),
        (["10.0.0.0/8", "2001:db8::/32"], False),
        (["128.0.0.0/1"], False),
        (["0.0.0.0/0"], True),
        (["10.0.0.1", "::/0"], True),
        (["0.0.0.0/1", "128.0.0.0/1"], True),
        (["::ffff:0.0.0.0/96"], True),
    ],
)
def test_lists_that_hold_everybody(values, everybody):
    assert networks.hold_everybody(values) is everybody


@pytest.mark.parametrize("value", ["192.0.2.7", "192.0.2.0/24", "::1", "[2001:db8::1]", "2001:db8::/32"])
def test_networks_have_no_problem(value):
    assert networks.problem(value) is None


@pytest.mark.parametrize(
    ("values", "of_a_link"),
    [
        (["192.0.2.7", "169.254.1.7"], True),
        (["169.254.0.0/16"], True),
        (["::ffff:169.254.1.7"], True),
        (["fe80::1"], True),
        (["fe80::/10"], True),
        (["192.0.2.7", "2001:db8::/32"], False),
        (["0.0.0.0/0", "::/0"], False),  # nobody means the addresses of a link by them
        ([], False),
    ],
)
def test_networks_of_a_link(values, of_a_link):
    assert networks.any_of_a_link(values) is of_a_link


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("192.0.2.7/24", "give 192.0.2.0/24 for the network"),
        ("2001:db8::1/32", "give 2001:db8::/32"),
        ("192.0.2.0/33", "neither"),
        ("192.0.2", "neither"),
        ("example.org", "neither"),
        ("any", "neither"),
        ("fe80::1%eth0", "neither"),
        ("192.0.2.7\nUser=root", "neither"),
        ("", "neither"),
    ],
)
def test_what_is_wrong_with_a_text(value, words):
    assert words in networks.problem(value)
