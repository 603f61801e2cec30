# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The address by which a host reaches others, and by which others reach it where nobody says otherwise."""

from __future__ import annotations

import contextlib
import socket
from typing import Optional

#: Addresses for documentation (RFC 5737, RFC 3849): no host has them, so that only a default route leads there. A
#: datagram socket that is connected chooses its own address, and sends nothing.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_DISCARD_PORT = 9


def default_address() -> Optional[str]:
    """Return the host's address on the way of its default route, of IPv4 before IPv6; None without such a route."""
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, _DISCARD_PORT))
            return str(probe.getsockname()[0])
    return None
