# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask a server again where its trouble may pass: one stall in a fleet of hosts must not fail a run."""

from __future__ import annotations

import time
from typing import Any, Callable

ATTEMPTS = 3
PAUSE = 0.5  # seconds before the second attempt, doubled for the third


def answered(get: Callable[[], Any], exceptions: Any) -> Any:
    """Return the answer of get(), asked again after what may pass: an answer with 5xx, a broken connection, silence.

    A connection that is not made in time is not tried again: the kernel has sent its first packet several times by
    then.

    Args:
        get: asks once, and returns an answer of requests.
        exceptions: of requests.

    Returns:
        The first answer below 500, or the last one.

    Raises:
        requests.exceptions.RequestException: that of the last attempt; `get` may raise other exceptions.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            response = get()
        except (exceptions.SSLError, exceptions.ConnectTimeout):
            raise
        except exceptions.RequestException:
            pass
        else:
            if response.status_code < 500:
                return response
            response.close()
        time.sleep(PAUSE * 2**attempt)
    return get()
