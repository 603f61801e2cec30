# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Options in an argument list."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.arguments import option


def test_the_word_after_a_flag():
    words = ["llama-server", "--model", "/x", "--port"]
    assert option(words, "--model") == "/x"
    assert option(words + ["/y", "-m", "/z"], "--model", "-m") == "/z"  # the last one counts, by whatever name
    assert option(words + ["1", "--port", "2"], "--port") == "2"
    assert option(words, "--port") is None and option(words, "-c") is None and option([], "-c") is None
