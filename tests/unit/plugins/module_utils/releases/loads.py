# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Loads for the tests of this room."""

from __future__ import annotations

import json

from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import v0_30
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.before_0_30 import (
    common_rules,
    v0_5,
    v0_11_5,
    v0_11_11,
    v0_12_11,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.shapes import LoadRequest

from tests.oracle import before_0_30 as recorded
from tests.oracle import replay

GIB = 1024**3
OLDER = (v0_5, v0_11_5, v0_11_11, v0_12_11)


def gpus(*free_gib):
    """GPUs with so many GiB, all of it free."""
    return [
        {"uuid": "GPU-%d" % index, "total_bytes": int(size * GIB), "free_bytes": int(size * GIB)}
        for index, size in enumerate(free_gib)
    ]


def model(name, projector=None):
    """The facts of a recorded model."""
    return recorded.model(name, recorded.tables(recorded.RECORDINGS), projector)


def request(facts, gpus, options=None, environment=None, **more):
    """A LoadRequest; `more` are its further fields."""
    return LoadRequest(facts, tuple(gpus), options or {}, environment or {}, **more)


def decide(rules, *load, **more):
    """What the rules of a span of versions decide for a load, given as for `request`."""
    return rules.decide(request(*load, **more))


def choose(*load, **more):
    """What Ollama 0.30 and later choose for a load, without the layers."""
    return v0_30.choose(request(*load, **more))


def effective(version, *load):
    """A load as a version before 0.30 reads it."""
    return common_rules.EffectiveRequest(request(*load), version)


def recorded_rows(part, kind=None):
    """The rows of era-<part>.jsonl, all or those of a kind."""
    lines = (recorded.RECORDINGS / ("era-%s.jsonl" % part)).read_text().splitlines()
    return [row for row in map(json.loads, lines) if kind in (None, row["case"]["kind"])]


def replayed(part):
    """(number of rows, rows that differ) of era-<part>.jsonl."""
    return replay.replay(recorded.RECORDINGS / ("era-%s.jsonl" % part))
