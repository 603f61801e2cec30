# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The end of a cordon: a date, or a date and time, compared with the time that the caller gives. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import re
from typing import Any, Union

from ..errors import PlacementError

# As YAML and ISO 8601 write them. `datetime.fromisoformat` takes more from Python 3.11 on.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]+([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]+)?\s*"
    r"(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)?\Z"
)
EXAMPLE = "give a date such as 2026-12-31, which counts as a whole day, or a time such as 2026-12-31T18:00"


@dataclasses.dataclass(frozen=True)
class Until:
    """An end that a user gave.

    Attributes:
        moment: the first moment after it; with a time zone only where the user gave one.
        shown: it in words that follow "until".
        text: it in ISO 8601.
    """

    moment: datetime.datetime
    shown: str
    text: str

    def at(self, now: datetime.datetime) -> datetime.datetime:
        """The first moment after it, with a time zone.

        Args:
            now: with a time zone, which is that of an end that has none of its own.
        """
        return self.moment if self.moment.tzinfo else self.moment.replace(tzinfo=now.tzinfo)


def parse(value: Any, where: str) -> Until:
    """Read a date, or a date and time.

    Args:
        value: a text, or what YAML makes of one.
        where: words that say whose end it is, for the message.

    Raises:
        PlacementError: it is neither, or there is no such day or time.
    """
    text = str(value).strip()
    try:
        if _DATE.match(text):
            day = datetime.date.fromisoformat(text)
            midnight = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(days=1)
            return Until(midnight, "the end of %s" % text, text)
        moment = moment_of(text)
    except (ValueError, OverflowError) as error:
        raise PlacementError("%s is '%.80s' (%s): %s." % (where, text, error, EXAMPLE))
    if moment is None:
        raise PlacementError("%s is '%.80s', which is no date: %s." % (where, text, EXAMPLE))
    return Until(moment, moment.isoformat(" ", "minutes"), moment.isoformat())


def moment_of(text: str) -> Union[datetime.datetime, None]:
    """A date and time, or None where a text is not written as one.

    Raises:
        ValueError: there is no such day, time or time zone.
    """
    match = _DATE_TIME.match(text)
    if match is None:
        return None
    day, time, zone = match.groups()
    zone = "+00:00" if zone in ("Z", "z") else zone or ""
    if zone:
        digits = zone[1:].replace(":", "").ljust(4, "0")
        zone = "%s%s:%s" % (zone[0], digits[:2], digits[2:])
    return datetime.datetime.fromisoformat("%sT%s%s" % (day, time, zone))
