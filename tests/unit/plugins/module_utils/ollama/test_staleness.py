# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether a loaded model is the one in the store and stays loaded."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import staleness

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "entry, asked, trained, word",
    [
        ({"digest": "a" * 64, "context_length": 4096}, 4096, 8192, None),
        ({"digest": "b" * 64, "context_length": 4096}, 4096, 8192, "older digest bbbbbbbbbbbb"),
        ({"digest": "a" * 64, "context_length": 2048}, 4096, 8192, "2048 tokens instead of 4096"),
        # The server takes no more than the model was trained for.
        ({"digest": "a" * 64, "context_length": 8192}, 10000, 8192, None),
        ({"digest": "a" * 64, "context_length": 2048}, None, 8192, None),
        ({"digest": None, "context_length": 2048}, 2048, None, None),
    ],
)
def test_a_model_that_is_not_the_one_in_the_store(entry, asked, trained, word):
    reason = staleness.stale_reason(DIGEST, entry, asked, trained)
    assert reason is None if word is None else word in reason


def test_the_context_that_a_model_was_trained_for():
    show = {"model_info": {"general.architecture": "llama", "llama.context_length": 8192}}
    assert staleness.trained_context(show) == 8192 and staleness.trained_context({}) is None


@pytest.mark.parametrize(
    "keep_alive, until, expected",
    [
        (-1, "2319-01-01T00:00:00Z", False),
        (-1, "2026-01-01T00:00:00Z", True),
        ("-1", "", True),
        ("10m", "2026-01-01T00:00:00Z", False),
    ],
)
def test_a_model_that_expires(keep_alive, until, expected):
    assert staleness.expires(keep_alive, {"expires_at": until}) is expected
