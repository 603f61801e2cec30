# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ends of cordons: what is taken for a date, and which moment it is."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask import until
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

PLUS_2 = datetime.timezone(datetime.timedelta(hours=2))
NOW = datetime.datetime(2026, 7, 1, 12, 0, tzinfo=PLUS_2)


@pytest.mark.parametrize(
    "given, moment",
    [
        ("2026-12-31", "2027-01-01T00:00:00+02:00"),
        (datetime.date(2026, 2, 28), "2026-03-01T00:00:00+02:00"),
        ("2026-12-31T18:00", "2026-12-31T18:00:00+02:00"),
        (" 2026-12-31 18:00:30 ", "2026-12-31T18:00:30+02:00"),
        (datetime.datetime(2026, 12, 31, 18, 0), "2026-12-31T18:00:00+02:00"),
        (datetime.datetime(2026, 12, 31, 18, 0, 0, 250000), "2026-12-31T18:00:00+02:00"),
        ("2026-12-31T18:00Z", "2026-12-31T18:00:00+00:00"),
        ("2026-12-31t18:00:00z", "2026-12-31T18:00:00+00:00"),
        ("2026-12-31 18:00:00 +01:00", "2026-12-31T18:00:00+01:00"),
        ("2026-12-31T18:00-0530", "2026-12-31T18:00:00-05:30"),
        ("2026-12-31T18:00+05", "2026-12-31T18:00:00+05:00"),
        (datetime.datetime(2026, 12, 31, 18, 0, tzinfo=datetime.timezone.utc), "2026-12-31T18:00:00+00:00"),
    ],
)
def test_an_end_is_a_moment(given, moment):
    assert until.parse(given, "until").at(NOW).isoformat() == moment


@pytest.mark.parametrize(
    "given",
    [
        "tomorrow",
        "2026-13-01",
        "2026-02-30",
        "2026-1-1",
        "31.12.2026",
        "20261231",
        "2026-W53-1",
        "2026-12-31T25:00",
        "2026-12-31T18",
        "2026-12-31T18:00+99:00",
        "2026-12-31T18:00 CET",
        1798675200,
        True,
        {},
        "9999-12-31",
        "0000-01-01",
        "2026-12-31\n2027",
    ],
)
def test_a_wrong_end_is_refused_in_words(given):
    with pytest.raises(PlacementError) as caught:
        until.parse(given, "until of entry 1 of cordon")
    message = str(caught.value)
    assert message.startswith("until of entry 1 of cordon is '") and "such as 2026-12-31" in message
    assert message.endswith(".")


def test_an_end_in_words_and_in_the_plan():
    day, moment = until.parse("2026-12-31", "until"), until.parse("2026-12-31 18:00Z", "until")
    assert (day.shown, day.text) == ("the end of 2026-12-31", "2026-12-31")
    assert (moment.shown, moment.text) == ("2026-12-31 18:00+00:00", "2026-12-31T18:00:00+00:00")
