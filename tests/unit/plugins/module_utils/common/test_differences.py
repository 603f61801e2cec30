# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Differences for people: what matters, and not the texts that the role brings."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.differences import LONGEST_NEW, differences

LONG = "x\n" * (LONGEST_NEW + 1)
SHORT = "x\n" * LONGEST_NEW


def shown(*pairs, details=False):
    entries = [("/%d" % number, before, after) for number, (before, after) in enumerate(pairs)]
    return [(one["before_header"], one["before"], one["after"]) for one in differences(entries, "rest", details)]


def test_differences_of_texts_are_shown_one_by_one():
    changed = LONG + "y\n"
    assert shown((SHORT, ""), ("", SHORT), (LONG, changed)) == [
        ("/0", SHORT, ""),
        ("/1", "", SHORT),
        ("/2", LONG, changed),
    ]


def test_a_text_that_several_things_have_is_shown_once():
    """Such as the definition of a model that each instance gets; not what is other before or after."""
    assert shown(("", "x"), ("a", "b"), ("", "x"), ("a", "x"), (None, "x")) == [
        ("/0, /2, /4", "", "x"),
        ("/1", "a", "b"),
        ("/3", "a", "x"),
    ]


def test_what_is_new_and_long_is_shown_on_request():
    told = ": 11 lines, which -v shows\n"
    assert shown(("", LONG), (LONG, ""), (None, LONG), ({}, {"mode": "0600"})) == [
        ("rest", "/1" + told, "/0" + told + "/2" + told + "/3: mode 0600\n")
    ]
    assert shown(("", LONG), (LONG, ""), details=True) == [("/0", "", LONG), ("/1", LONG, "")]


def test_what_has_no_text_shares_a_difference():
    absent, directory = {"state": "absent"}, {"state": "directory", "owner": "root", "mode": "0755"}
    link = {"state": "link", "target": "a"}
    pairs = (absent, directory), (link, dict(link, target="b")), ("x", "y"), (directory, absent)
    assert shown(
        *pairs, ({"digest": None}, {"digest": "1", "same_as": "x"}), ({"loaded": False}, {"loaded": True})
    ) == [
        ("/2", "x", "y"),
        (
            "rest",
            "/1: link, target a\n/3: directory, owner root, mode 0755\n/5: not loaded\n",
            "/0: directory, owner root, mode 0755\n/1: link, target b\n/4: digest 1, same as x\n/5: loaded\n",
        ),
    ]


def test_nothing_differs():
    assert shown() == [] and shown((None, None)) == []
