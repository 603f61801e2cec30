# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What systemctl is told, and what becomes of its answers."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import units


@pytest.fixture(name="told")
def _told(monkeypatch):
    """The commands that were given; `told.answer` is what each of them gets."""

    class Told(list):
        answer = (0, "", "")
        error = None

    commands = Told()

    def ask(command, timeout):
        commands.append(command[2:])
        if commands.error is not None:
            raise commands.error
        return commands.answer

    monkeypatch.setattr(units, "ask", ask)
    return commands


def test_units_are_told_together(told):
    units.stop(["a.service", "b.service"])
    units.start(["a.service"])
    units.enable(["a.service"])
    units.disable(["b.service"])
    units.reload()
    units.load(["c.service"])
    assert told == [
        ["stop", "a.service", "b.service"],
        ["start", "--no-block", "a.service"],
        ["enable", "--quiet", "a.service"],
        ["disable", "--quiet", "b.service"],
        ["daemon-reload"],
        ["reload-or-restart", "c.service"],
    ]


def test_without_units_nothing_is_told(told):
    for tell in (units.stop, units.start, units.enable, units.disable):
        tell([])
    assert told == []


@pytest.mark.parametrize(
    "answer",
    [
        (5, "", "Failed to stop a.service: Unit a.service not loaded.\n"),
        (1, "", "Unit file a.service does not exist.\n"),
    ],
)
def test_what_does_not_exist_does_not_run(told, answer):
    told.answer = answer
    units.stop(["a.service"])
    units.disable(["a.service"])
    with pytest.raises(units.UnitError):
        units.start(["a.service"])


@pytest.mark.parametrize(
    "answer, words",
    [
        ((1, "", "Access denied\n"), "systemctl stop a.service ends with status 1: Access denied"),
        ((4, "", ""), "it does not say why"),
        (FileNotFoundError("systemctl"), "systemctl stop a.service: systemctl"),
        (TimeoutError("it does not end within 150 seconds"), "it does not end within 150 seconds"),
    ],
)
def test_what_fails_is_said(told, answer, words):
    told.answer, told.error = ((0, "", ""), answer) if isinstance(answer, Exception) else (answer, None)
    with pytest.raises(units.UnitError, match="systemctl stop a.service") as failure:
        units.stop(["a.service"])
    assert words in str(failure.value)
