# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A client on a rig host: asks a model of each of these ports every 100 ms until /tmp/asking_client.stop is there.

Prints a line of JSON for each request when its outcome is known: {"at": seconds since 1970 when it was sent, "port",
"seconds": until the outcome, "error": null or what went wrong}. A port that leaves several requests without an outcome
gets no further one meanwhile; when the oldest of them has waited for SLOW seconds, that is noted as an error too, so
that a server which hangs is no gap in the notes. It runs on the host's own Python.
"""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

STOP = "/tmp/asking_client.stop"
#: Requests to one port that may be under way: on a busy machine, more of them would only wait for one another.
MOST = 3
SLOW = 45
BODY = json.dumps({"model": "tiny", "prompt": "Hi", "stream": False, "options": {"num_predict": 1}}).encode()
LOCK = threading.Lock()


def error_of(port):
    """Ask once; return what went wrong, None where there was an answer."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:%d/api/generate" % port, BODY, timeout=60) as response:
            text = response.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return "%s: %s" % (error, error.read(300).decode("utf-8", "replace"))
    except Exception as error:  # pylint: disable=broad-except  # whatever it is, no answer came
        return repr(error)
    try:
        return None if json.loads(text)["done"] is True else "not done: " + text[:300]
    except (ValueError, KeyError, TypeError):
        return "no answer of Ollama: " + text[:300]


def note(port, at, error):
    """Print the outcome of the request that was sent to a port at a time."""
    entry = {"at": round(at, 2), "port": port, "seconds": round(time.time() - at, 2), "error": error}
    print(json.dumps(entry), flush=True)


def ask(port, at, waiting):
    """Ask a port and note the outcome; `waiting` are the times of its requests without an outcome."""
    error = error_of(port)
    with LOCK:
        waiting.remove(at)
        note(port, at, error)


def main(ports):
    """Ask all ports at each moment, without waiting for the answers of the moment before."""
    if os.path.exists(STOP):
        os.unlink(STOP)
    waiting, threads, begun, looks = {port: [] for port in ports}, [], time.monotonic(), 0
    while not os.path.exists(STOP):
        now = time.time()
        for port in ports:
            with LOCK:
                if len(waiting[port]) < MOST:
                    waiting[port].append(now)
                    threads.append(threading.Thread(target=ask, args=(port, now, waiting[port]), daemon=True))
                    threads[-1].start()
                elif now - waiting[port][0] > SLOW:
                    note(port, now, "not asked: no answer for %.1f s" % (now - waiting[port][0]))
        looks += 1
        time.sleep(max(0.0, begun + 0.1 * looks - time.monotonic()))
    for thread in threads:
        thread.join(60)


if __name__ == "__main__":
    main([int(port) for port in sys.argv[1:]])
