# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The server process: python -m tests.rig.registry DIRECTORY READY_FILE PORT ADDRESS... ; ends on SIGTERM."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys

from tests.rig.registry.server import Registry, serve


def main(arguments: list[str]) -> int:
    """Serve until told to end; the ready file appears when all addresses listen."""
    directory, ready, port, *addresses = arguments
    # Blocked before any thread starts, so that only sigwait below takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    registry = Registry(pathlib.Path(directory), addresses)
    try:
        servers = serve(registry, addresses, int(port))
    except OSError as error:
        print(f"cannot listen on port {port} of {', '.join(addresses)}: {error.strerror}", file=sys.stderr)
        return 1
    temporary = pathlib.Path(f"{ready}.{os.getpid()}")
    temporary.write_text(json.dumps({"pid": os.getpid(), "port": servers[0].server_address[1], "addresses": addresses}))
    temporary.replace(ready)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    pathlib.Path(ready).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
