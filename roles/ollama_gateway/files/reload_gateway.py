# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
# Managed by Ansible: the next run of the role ollama_gateway replaces changes.
"""Makes HAProxy of the gateway read its configuration again. Ends with status 0 if it runs with that then.

    reload_gateway.py SOCKET PID SECONDS

HAProxy does not tell it: the process PID goes on with the worker of before if a new one cannot start, for example
because a port is in use, which no check of the configuration sees. So the worker that answers at the socket for
administration has to be another one within SECONDS.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time

_PAUSE = 0.1
_PID = re.compile(rb"(?m)^Pid: (\d+)$")  # management manual of HAProxy 2.6, 9.3: "show info"


def worker(path):
    """Return the process that answers at a socket for administration, or None."""
    try:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(2)
            admin.connect(path)
            admin.sendall(b"show info\n")
            found = _PID.search(b"".join(iter(lambda: admin.recv(65536), b"")))
    except OSError:
        return None
    return int(found.group(1)) if found else None


def other_worker(path, former, seconds):
    """Return the process that answers at a socket, as soon as it is another one than `former`; None after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = worker(path)
        if found not in (None, former) or time.monotonic() > deadline:
            return found if found != former else None
        time.sleep(_PAUSE)


def main(path, pid, seconds):
    """Return what is wrong, or None."""
    before = other_worker(path, None, float(seconds))
    if before is None:
        return "HAProxy does not answer at %s: restart it" % path
    os.kill(int(pid), signal.SIGUSR2)
    if other_worker(path, before, float(seconds)):
        return None
    return "HAProxy did not start with the new configuration and goes on with the one of before: see its lines above"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
