# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The content of files as everybody may read it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.shown_text import shown_difference, shown_text

UNIT = """\
[Unit]
Description=x
[Service]
# MY_TOKEN=MARK
Environment="OLLAMA_HOST=0.0.0.0" OLLAMA_DEBUG=1
Environment="OLLAMA_ORIGINS=x" "HF_TOKEN=MARK a" OTHER=MARK
Environment=HTTPS_PROXY=http://u:MARK@proxy \\
  'A_KEY=MARK MARK'
Environment="NEVER_CLOSED=MARK
SetCredential=key:MARK
ExecStart=/usr/bin/env X_SECRET=MARK Y_KEY="MARK MARK" /usr/bin/x http://u:MARK@host/
KeyringMode=private
"""
SHOWN_UNIT = """\
[Unit]
Description=x
[Service]
# MY_TOKEN=(hidden)
Environment="OLLAMA_HOST=0.0.0.0" OLLAMA_DEBUG=1
Environment="OLLAMA_ORIGINS=x" "HF_TOKEN=(hidden)" "OTHER=(hidden)"
Environment="HTTPS_PROXY=(hidden)" "'A_KEY=(hidden)"
Environment=(hidden)
SetCredential=(hidden)
ExecStart=/usr/bin/env X_SECRET=(hidden) Y_KEY=(hidden) /usr/bin/x http://***@host/
KeyringMode=private
"""


def test_a_unit_file_is_shown_without_secrets():
    assert shown_text(UNIT) == SHOWN_UNIT


@pytest.mark.parametrize(
    "line, shown",
    [
        ('OLLAMA_HOST="127.0.0.1:1"', 'OLLAMA_HOST="127.0.0.1:1"'),
        ('HF_TOKEN="MARK"', "HF_TOKEN=(hidden)"),
        ("export MyThing='MARK'", "export MyThing=(hidden)"),
        ('HTTP_PROXY="http://u:MARK@h"', "HTTP_PROXY=(hidden)"),
        ("A_TOKEN=one\\\nMARK", "A_TOKEN=(hidden)"),
        ("; A_TOKEN=MARK", "; A_TOKEN=(hidden)"),
        ("", ""),
        ('  "HF_TOKEN": "MA\\"RK",', '  "HF_TOKEN": "(hidden)",'),
        ('  "url": "http://127.0.0.1:11434",', '  "url": "http://127.0.0.1:11434",'),
    ],
)
def test_a_line_is_shown_without_secrets(line, shown):
    assert shown_text("A_LINE=\n%s\n" % line) == "A_LINE=(hidden)\n%s\n" % shown
    assert "MARK" not in shown_text(line)


def test_a_difference_that_only_secrets_have_is_said():
    before, after = shown_difference("A_KEY=one\n", "A_KEY=two\n")
    assert before == "A_KEY=(hidden)\n" and after == before + "(a value that is not shown has changed)\n"
    assert shown_difference("A_KEY=one\n", "A_KEY=one\n") == (before, before)
    assert shown_difference("", "A_KEY=one\n") == ("", before)
