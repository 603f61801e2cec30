# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a server asks ollama.com by itself when it starts, as server/model_recommendations.go and
server/model_show_cache.go of Ollama 0.32 do. It has no other calls of this kind: no check for updates, no telemetry.

A connection is made and nothing sent. It is made only on a host whose /etc/hosts has an address of ollama.com, so that
no other test asks anybody outside its machine. (Services do not all see the rig's state file.)
"""

from __future__ import annotations

import socket
import threading
import urllib.parse

from double import gotext, settings

#: (address, where the real server writes that it failed, what it writes)
CALLS = (
    (
        "https://ollama.com/api/experimental/model-recommendations",
        "model_recommendations.go:168",
        "model recommendations refresh failed",
    ),
    ("https://ollama.com:443/api/tags", "model_show_cache.go:142", "model show cloud cache hydration failed"),
)
HOSTS = "/etc/hosts"
_SECONDS = 3


def start():
    """Call without waiting for an answer, unless OLLAMA_NO_CLOUD is set."""
    if settings.boolean("OLLAMA_NO_CLOUD") or not _is_on_a_rig():
        return
    for call in CALLS:
        threading.Thread(target=_call, args=call, daemon=True).start()


def _is_on_a_rig():
    try:
        with open(HOSTS, encoding="utf-8") as stream:
            return any("ollama.com" in line.split()[1:] for line in stream)
    except OSError:
        return False


def _call(url, source, message):
    parts = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or 443), _SECONDS).close()
        reason = "EOF"
    except OSError as error:
        reason = "dial tcp: %s" % (error.strerror or error)
    gotext.log("WARN", source, message, error='Get "%s": %s' % (url, reason))
