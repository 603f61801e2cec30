# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Clients that ask a gateway over TLS until their standard input ends. Runs on a rig host, with nothing but Python and
tests/rig/ollama/streams.py below its own directory.

    gateway_load_client.py HOST PORT KEY CA MODEL CLIENTS

Prints JSON: {what became of a request: how many}, see streams.py, and the errors.
"""

from __future__ import annotations

import asyncio
import collections
import json
import ssl
import sys
import threading

from tests.rig.ollama import streams


def main(host, port, key, authority, model, clients):
    """Ask until somebody ends the standard input."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set())).start()
    target = streams.Target(int(port), host, key, ssl.create_default_context(cafile=authority))
    request = {"model": model, "prompt": "Hi", "options": {"num_predict": 8}}
    found = asyncio.run(streams.stream(target, int(clients), over.is_set, request))
    counts = collections.Counter(outcome.kind for outcome in found)
    errors = collections.Counter("%s %d %s" % (one.kind, one.status, one.error) for one in found if one.kind != "whole")
    longest = max(outcome.seconds for outcome in found)
    print(json.dumps({"counts": counts, "errors": errors, "longest": longest}))


if __name__ == "__main__":
    main(*sys.argv[1:])
