# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""`ollama serve` and `ollama --version` of the double."""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import sys
import threading
import time

from double import cloud, gotext, settings
from double.api import Server
from double.scheduler import Scheduler
from double.store import Store
from double.version import FAULT, VERSION


def main(arguments):
    """Run one command; return the exit status."""
    if arguments in (["serve"], ["start"]):
        return serve()
    if arguments in (["--version"], ["-v"]):
        return version()
    print(
        'Error: unknown command "%s" for "ollama" (this is the rig\'s double: serve and --version only)'
        % " ".join(arguments),
        file=sys.stderr,
    )
    return 1


def version():
    """The output of `ollama --version`, with and without a server."""
    _scheme, address, port = settings.host()
    found = None
    try:
        connection = http.client.HTTPConnection("127.0.0.1" if address == "0.0.0.0" else address, port, timeout=60)
        connection.request("GET", "/api/version")
        found = json.loads(connection.getresponse().read())["version"]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        print("Warning: could not connect to a running Ollama instance")
    own = "0.0.1" if FAULT == "wrong-version-text" else VERSION
    if found:
        print("ollama version is %s" % found)
    if found != own:
        print("Warning: client version is %s" % own)
    return 0


def serve():
    """Listen, discover GPUs, and serve until SIGTERM or SIGINT. Returns 1 if that is not possible."""
    if not os.environ.get("HOME"):
        print("Error: $HOME is not defined", file=sys.stderr)
        return 1
    if FAULT == "does-not-start":
        print("Error: this release does not start", file=sys.stderr)
        return 1
    _scheme, address, port = settings.host()
    time.sleep(settings.rig_seconds("server.start_ms"))
    try:
        _key_file()
        server = Server((address, port), None)
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "address already in use",
            errno.EACCES: "permission denied",
            errno.EADDRNOTAVAIL: "cannot assign requested address",
        }.get(error.errno, str(error))
        print(
            "Error: listen tcp %s:%d: bind: %s" % (address, port, reason)
            if error.filename is None
            else "Error: could not create directory mkdir %s: %s" % (error.filename, (error.strerror or "").lower()),
            file=sys.stderr,
        )
        return 1
    gotext.log("INFO", "routes.go:1951", "server config", env=settings.config_text())
    gotext.log("INFO", "routes.go:1953", "Ollama cloud disabled: %s" % str(settings.boolean("OLLAMA_NO_CLOUD")).lower())
    try:
        server.store = Store(settings.models_dir())
        server.store.prune()
    except OSError as error:
        print("Error: mkdir %s: %s" % (error.filename, (error.strerror or "").lower()), file=sys.stderr)
        return 1
    shown = "[::]" if address == "0.0.0.0" else address
    gotext.log("INFO", "routes.go:2008", "Listening on %s:%d (version %s)" % (shown, port, VERSION))
    server.scheduler = Scheduler()
    cloud.start()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_unused: stopped.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stopped.wait()
    time.sleep(settings.rig_seconds("server.stop_ms"))
    server.scheduler.stop()
    sys.stderr.flush()
    os._exit(0)  # requests in progress are dropped, as the real server drops them


def _key_file():
    """The key that the real server creates at its first start. Here it is a placeholder, because nothing is signed with
    it.
    """
    path = os.path.join(os.path.expanduser("~"), ".ollama", "id_ed25519")
    if os.path.exists(path):
        return
    gotext.write("Couldn't find '%s'. Generating new private key." % path)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as stream:
        stream.write("placeholder of the rig's double\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
