# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Clients that ask a gateway over TLS until their standard input ends. Runs on a rig host, with nothing but Python.

    gateway_load_client.py URL KEY CA MODEL CLIENTS

Prints JSON: {what became of a request: how many}, and the errors. "whole" was answered to its end, "broken" had begun
and ended with an error, "refused" got another status, "lost" got no answer.
"""

from __future__ import annotations

import collections
import http.client
import json
import ssl
import sys
import threading
import urllib.error
import urllib.request


def ask(url, key, context, model):
    """(what became of one request, the error)."""
    body = json.dumps({"model": model, "prompt": "Hi", "options": {"num_predict": 8}}).encode()
    request = urllib.request.Request(url + "/api/generate", body, {"Authorization": "Bearer " + key})
    begun = False
    try:
        with urllib.request.urlopen(request, timeout=120, context=context) as response:
            line = b""
            for line in response:
                begun = True
            return ("whole", "") if json.loads(line or b"{}").get("done") else ("broken", "no end")
    except urllib.error.HTTPError as error:
        return "refused", "%d %s" % (error.code, error.read().decode())
    except (OSError, ValueError, http.client.HTTPException) as error:
        return ("broken" if begun else "lost"), repr(error)


def main(url, key, authority, model, clients):
    context, over = ssl.create_default_context(cafile=authority), threading.Event()
    counts, errors = collections.Counter(), collections.Counter()

    def client():
        while not over.is_set():
            kind, error = ask(url, key, context, model)
            counts[kind] += 1
            if error:
                errors["%s: %s" % (kind, error)] += 1

    threads = [threading.Thread(target=client) for unused in range(int(clients))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"counts": counts, "errors": errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
