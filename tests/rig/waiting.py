# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Wait for a state in place of a look at once, or of a sleep that is too short on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds after which something does not come any more, on a machine with a load of 20 as well.
PATIENCE = 300.0
#: Seconds within which something ends that waits for nothing, or gives up, on such a machine. What it must not wait for
#: takes longer.
AT_ONCE = 60.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> object:
    """Return the value of `condition` as soon as it is true; AssertionError with `what` if it stays false."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError("after %g seconds still not: %s" % (seconds, what))
        time.sleep(0.02)
