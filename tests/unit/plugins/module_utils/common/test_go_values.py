# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Go reads booleans, and Ollama its variables."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import go_values


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_what_go_takes_for_true(text):
    assert go_values.boolean(text) is True and go_values.switch(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_what_go_takes_for_false(text):
    assert go_values.boolean(text) is False and go_values.switch(text, default=True) is False


@pytest.mark.parametrize("text", ["", "2", "yes", "no", "off", "tRUE", " 1"])
def test_what_go_takes_for_no_boolean(text):
    assert go_values.boolean(text) is None


def test_a_variable_is_on_at_every_text_that_is_no_false_one():
    assert go_values.switch("fales") and go_values.switch("no") and go_values.switch(" 1 ")
    assert not go_values.switch("'0' ") and not go_values.switch(0)
    for empty in (None, "", "  ", '""'):
        assert go_values.switch(empty, True) is True and go_values.switch(empty) is False
