# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A client on a rig host: asks a model of each of these ports every 100 ms until /tmp/asking_client.stop is there.

Prints [{"at": seconds, "answers": {port: whether it answered}}]. It runs on the host's own Python.
"""

import json
import os
import sys
import threading
import time
import urllib.request

STOP = "/tmp/asking_client.stop"
#: Requests to one port that may be under way: on a busy machine, more of them would only wait for one another.
MOST = 3
BODY = json.dumps({"model": "tiny", "prompt": "Hi", "stream": False, "options": {"num_predict": 1}}).encode()


def ask(port, answers, room):
    """Ask once, and note whether there was an answer."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:%d/api/generate" % port, BODY, timeout=60) as response:
            answers[port] = json.loads(response.read())["done"]
    except (OSError, ValueError, KeyError):
        answers[port] = False
    finally:
        room.release()


def main(ports):
    """Ask all ports at each moment, without waiting for the answers of the moment before.

    A moment at which a port has enough to answer is left out.
    """
    if os.path.exists(STOP):
        os.unlink(STOP)
    rooms = {port: threading.Semaphore(MOST) for port in ports}
    moments, threads, begun, looks = [], [], time.monotonic(), 0
    while not os.path.exists(STOP):
        free = [port for port in ports if rooms[port].acquire(blocking=False)]
        if len(free) == len(ports):
            answers = dict.fromkeys(ports, False)
            moments.append({"at": round(time.monotonic() - begun, 1), "answers": answers})
            for port in ports:
                thread = threading.Thread(target=ask, args=(port, answers, rooms[port]), daemon=True)
                thread.start()
                threads.append(thread)
        else:
            for port in free:
                rooms[port].release()
        looks += 1
        time.sleep(max(0.0, begun + 0.1 * looks - time.monotonic()))
    for thread in threads:
        thread.join(60)
    print(json.dumps(moments))


if __name__ == "__main__":
    main([int(port) for port in sys.argv[1:]])
