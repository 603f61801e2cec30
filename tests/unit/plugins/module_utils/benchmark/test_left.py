# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a benchmark that ends early has not measured."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.left import Left


def test_what_is_left_by_what_and_prompt():
    left = Left({"a": (1, 2), "b": (1,)}, (16, 64))
    left.done("a", {"prompt": 16, "streams": 1})
    left.done("a", {"prompt": 64, "streams": 1})
    left.done("a", {"prompt": 64, "streams": 2})
    assert left.notes("the time was over") == [
        "Not measured, because the time was over: a with prompts of 16 tokens and 2 requests at a time; b with prompts "
        "of 16 tokens and 1 request at a time; b with prompts of 64 tokens and 1 request at a time."
    ]
    left.only("b", (64,))
    assert "b with prompts of 64 tokens" in left.notes("x")[0] and "b with prompts of 16" not in left.notes("x")[0]
    left.only("b", ())
    left.done("a", {"prompt": 16, "streams": 2})
    assert left.notes("x") == []
