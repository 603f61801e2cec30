# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Texts of hosts in Markdown, as a renderer for GitHub's tables, links and struck text shows them."""

from __future__ import annotations

import html
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.markdown import cell, code, escaped
from markdown_it import MarkdownIt

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![picture](http://203.0.113.1/x.png)",
    "[link](http://203.0.113.1)",
    "[link][1]",
    "http://203.0.113.1/x and www.example.org and a@example.org",
    "`code` and ``more``",
    "``` fence",
    "a | b | c",
    "\\| and \\\\|",
    "**bold** _slanted_ ~~struck~~ $x$",
    "# title",
    "- item",
    "1. item",
    "> quote",
    "&lt;b&gt; &amp;",
    "line\n\n# title\r\n| a |",
    "\x1b[2J\u202e",
    "NVIDIA GeForce RTX 4090",
    "trailing \\",
    " `leading and trailing` ",
    "<!-- comment -->",
    "12) item",
    "+ item",
    "=== line",
    "--- line",
    " # x",
    "&#60;b&#62; &copy",
    "a_b_c 2*3*4 <br> ~x~",
]
ALLOWED = {"p", "code", "table", "thead", "tbody", "tr", "th", "td"}


def rendered(text):
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


def plain(page):
    """What a reader sees, without marks of no width, and whether anything else than paragraphs, code and cells is."""
    assert set(re.findall(r"</?([a-z0-9]+)", page)) <= ALLOWED, page
    return html.unescape(re.sub(r"<[^>]*>", "", page)).replace("\u200b", "").strip()


def shown(text):
    """A text in one line, as printable() writes it."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text).strip()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_text(text):
    assert plain(rendered("x " + escaped(text))).split() == ("x " + shown(text)).split()
    assert plain(rendered(escaped(text))).split() == shown(text).split()
    listed = rendered("- " + escaped(text))
    assert listed.count("<li>") == 1 and plain(re.sub("</?(ul|li)>", "", listed)).split() == shown(text).split()
    assert plain(rendered("x " + code(text))).split() == ("x " + shown(text)).split()


@pytest.mark.parametrize("write", [escaped, code])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_in_its_cell(text, write):
    page = rendered("| a | b |\n|---|---|\n| %s | end |\n" % cell(write(text)))
    cells = re.findall(r"<td>(.*?)</td>", page, flags=re.DOTALL)
    assert len(cells) == 2 and cells[1] == "end", page
    assert "<script" not in page and "<img" not in page and "<a " not in page


@pytest.mark.parametrize("text", ["@everyone", "see #12", "!34", "~label", "%milestone"])
def test_nobody_is_notified(text):
    """After Markdown is done, GitHub and GitLab look for references in what was text."""
    page = html.unescape(rendered(escaped(text)))
    assert not re.search(r"[@#!~%]\w", page), page


@pytest.mark.parametrize("text", ["http://203.0.113.1/x", "see https://a.example", "www.a.example", "a WWW.a.example"])
def test_an_address_becomes_no_link(text):
    """GitHub looks for "://" and "www." in what has no escape."""
    assert not re.search(r"(?<!\\)://|www\.", escaped(text), re.IGNORECASE)


@pytest.mark.parametrize("text", ["a@b.example", "a@-b.example", "a@_b.example"])
def test_an_address_of_mail_becomes_no_link(text):
    assert "@\u200b" in escaped(text)


def test_ordinary_texts_stay_readable():
    assert escaped("Write 2 files (a.env, b): gemma3:27b -> 0.3.") == "Write 2 files (a.env, b): gemma3:27b -> 0.3."
    assert escaped("Ollama 0.32.14 to 0.32.15 on RTX A6000") == "Ollama 0.32.14 to 0.32.15 on RTX A6000"
    assert code("") == "` `" and code("gpu-a") == "`gpu-a`"
