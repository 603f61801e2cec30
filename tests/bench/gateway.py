# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a gateway costs: time to the first byte and requests a second through it, beside those of direct access.

Both are asked in turn, in the same run and by the same client, with as many streams at once. A server without an engine
(tests/rig/ollama/light.py) is silent for a time and then streams words, as a model does; and once it answers at once,
so that nothing but the way is measured.
"""

from __future__ import annotations

import asyncio
import pathlib
import statistics

from tests.bench.timing import row
from tests.integration.gateway_front import HAPROXY, Light, entry, running
from tests.rig.ollama import streams

STREAMS = (1, 16, 128)
#: (name, request, whether the limits hold for it): seconds of silence, and between words.
KINDS = (
    ("a model (50 ms, then 20 words of 5 ms)", {"num_predict": 20, "rig_silence": 0.05, "rig_pause": 0.005}, True),
    ("no engine (8 words at once)", {"num_predict": 8, "rig_silence": 0, "rig_pause": 0}, False),
)
SECONDS, ROUNDS = 2, 3
#: Of the time to the first byte through the gateway, and of the requests a second. With 128 streams this machine's
#: processors are shared by client, gateway and server, so that only the gateway's own part means something elsewhere.
MOST_LATER, LEAST_THROUGHPUT, HELD_STREAMS = 1.25, 0.8, (1, 16)


def asked(port, clients, options):
    """(median seconds to the first byte, whole requests a second) of one round."""
    request = {"model": "llama3", "options": options}
    found = asyncio.run(streams.stream(streams.Target(port), clients, streams.after(SECONDS), request))
    whole = [outcome for outcome in found if outcome.kind == streams.WHOLE]
    if len(whole) < len(found):
        raise SystemExit("bench: %d of %d requests failed" % (len(found) - len(whole), len(found)))
    span = max(one.at + one.seconds for one in whole) - min(one.at for one in whole)
    return statistics.median(one.first_byte for one in whole), len(whole) / span


def compared(direct, through, clients, options):
    """((first byte, requests a second) of direct access, the same through the gateway): medians of rounds in turn."""
    rounds = [(asked(direct, clients, options), asked(through, clients, options)) for unused in range(ROUNDS)]
    return [[statistics.median(one[way][figure] for one in rounds) for figure in (0, 1)] for way in (0, 1)]


def measure(scratch, limits):
    """Print the ratios and hold the limits. Without HAProxy there is nothing to measure."""
    if HAPROXY is None:
        print("\nthe gateway is not measured: haproxy is not installed")
        return
    print(
        "\nthe gateway beside direct access (first byte: median; both in turn, %d rounds of %d s)" % (ROUNDS, SECONDS)
    )
    light = Light("one", ["llama3:latest"])
    facts = {"a": {"ollama_version": "0.32.15", "endpoints": [entry(light, "gpu0", slots=200)]}}
    given = {"allow_loading": True, "acknowledged": ["keys"], "queue": 1000}
    try:
        with running(pathlib.Path(scratch), facts, **given) as front:
            for name, options, is_held in KINDS:
                for clients in STREAMS:
                    of(limits if is_held and clients in HELD_STREAMS else None, name, clients, light, front, options)
    finally:
        light.kill()


def of(limits, name, clients, light, front, options):
    """Print the ratios of one kind of answer, and hold the limits where there are any."""
    direct, through = compared(light.port, front.port, clients, options)
    later, throughput = through[0] / direct[0], through[1] / direct[1]
    what = "%s, %d streams: first byte" % (name, clients)
    row(what + ", gateway / direct", later, "%.1f ms and %.1f ms" % (through[0] * 1e3, direct[0] * 1e3))
    row("%s, %d streams: requests/s" % (name, clients), throughput, "%.0f and %.0f" % (through[1], direct[1]))
    if limits:
        text = "at most %.2f" % MOST_LATER
        limits.hold("gateway, %d streams: first byte" % clients, "%.2f" % later, text, later <= MOST_LATER)
        text = "at least %.2f" % LEAST_THROUGHPUT
        met = throughput >= LEAST_THROUGHPUT
        limits.hold("gateway, %d streams: requests/s" % clients, "%.2f" % throughput, text, met)
