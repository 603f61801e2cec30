# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""All files of a gateway: haproxy.cfg and what it refers to. Pure.

Every file that haproxy.cfg names has a part of its hash in its name. So haproxy.cfg and the files that it was written
for always belong together, and a run that is killed between them leaves the old ones in force.
"""

from __future__ import annotations

import dataclasses
import hashlib

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway import maps
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.haproxy import configuration
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import Gateway

CONFIGURATION = "haproxy.cfg"
HELD = "held.map"


@dataclasses.dataclass(frozen=True)
class File:
    """A file below the directory of a gateway.

    Attributes:
        name: in the directory.
        content: of the file.
    """

    name: str
    content: str


def files(gateway: Gateway, lua: str) -> tuple[File, ...]:
    """Return the files of a gateway, haproxy.cfg last.

    Args:
        gateway: what they say.
        lua: the program gateway.lua.
    """
    beside = {
        "lua": named("gateway", "lua", lua),
        "listing": named("listing", "tsv", maps.listing(gateway)),
        "calls": named("calls", "map", maps.calls_map()),
        "models": named("models", "map", maps.models_map(gateway)),
        "keys": named("keys", "map", maps.keys_map(gateway)),
        "rates": named("rates", "map", maps.rates_map(gateway)),
        "priorities": named("priorities", "map", maps.priorities_map(gateway)),
        "restricted": named("restricted", "map", maps.restricted_map(gateway)),
        # Backends whose requests wait. It is empty: module gateway_drain fills it while the gateway runs.
        "held": File(HELD, ""),
        "allowed": named("allowed", "map", maps.allowed_map(gateway)),
    }
    paths = {what: "%s/%s" % (gateway.directory, file.name) for what, file in beside.items()}
    return (*beside.values(), File(CONFIGURATION, configuration(gateway, paths)))


def named(stem: str, ending: str, content: str) -> File:
    """Return a file whose name has a part of the hash of its content."""
    return File("%s-%s.%s" % (stem, hashlib.sha256(content.encode("utf-8")).hexdigest()[:12], ending), content)
