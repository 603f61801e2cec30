# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
# Managed by Ansible: the next run of the role ollama_gateway replaces changes.
"""Ends with status 0 if HAProxy of the gateway on this host works. keepalived runs it every second.

    check_gateway.py SOCKET

It asks HAProxy by its socket for administration, and not as a client does: a gateway that is at its limit of
connections works, and another one would be at it as well.
"""

from __future__ import annotations

import csv
import socket
import sys

_SECONDS = 2
_FRONTENDS = b"show stat -1 1 -1\n"  # management manual of HAProxy 2.6, 9.3


def main(path):
    """Return what is wrong, or None."""
    try:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(_SECONDS)
            admin.connect(path)
            admin.sendall(_FRONTENDS)
            answer = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
    except OSError as error:
        return "the gateway does not answer: %s" % error
    rows = csv.DictReader(answer.lstrip("# ").splitlines())
    if not any((row["pxname"], row["status"]) == ("clients", "OPEN") for row in rows):
        return "the gateway takes no clients"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
