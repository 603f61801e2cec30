# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes moved and processor time of reading a model's header by ranges from a registry.

They are held against the PyPI package gguf, which reads the same file. The registry is the rig's, a process of its own
on this machine, so its processor time is not in the figures.
"""

from __future__ import annotations

import pathlib

import gguf
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.source import from_registry
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry

from tests.bench.timing import row, seconds
from tests.rig.models import catalog
from tests.rig.models.store import blobs, write_into_store
from tests.rig.registry import background

SIX_MB, LARGE = "qwen3:8b", "llama4:16x17b"
MIB = 1024 * 1024
MOST_SECONDS, MOST_BYTES = 0.3, 12 * MIB


def read(host, name):
    """(model, bytes moved)"""
    return from_registry(Registry(parse(name), host, insecure=True), name, Cache())


def measure(scratch, limits):
    """Print the ratios and hold the limits; returns (model, seconds for its header) of the large one."""
    store, state = pathlib.Path(scratch) / "served", pathlib.Path(scratch) / "registry.json"
    for name in (SIX_MB, LARGE):
        write_into_store(name, store, registry="")
    host = "127.0.0.1:%d" % background.start(store, state, ["127.0.0.1"])["port"]
    found = {}
    try:
        for name in (SIX_MB, LARGE):
            header, size = len(catalog.header_of(name)[0]), catalog.header_of(name)[1]
            model, moved = read(host, name)
            ours = seconds(lambda: read(host, name), 5)
            blob = store / "blobs" / next(blob.file_name for blob in blobs(name) if blob.media_type.endswith(".model"))
            theirs = seconds(lambda: gguf.GGUFReader(str(blob)), 1)
            what = "%s (header of %.1f MB, file of %.1f GB)" % (name, header / 1e6, size / 1e9)
            row(
                "%s: PyPI gguf / ours by ranges, time" % what,
                theirs / ours,
                "%.0f ms and %.0f ms" % (theirs * 1e3, ours * 1e3),
            )
            row("%s: bytes moved / header" % what, moved / header, "%.2f MiB" % (moved / MIB))
            row("%s: file / bytes moved" % what, size / moved, "")
            found[name] = model, ours, moved
    finally:
        background.stop(state)
    for name, what in ((SIX_MB, "a header of 6 MB"), (LARGE, "the header of the model of 67 GB, 12 MB")):
        limits.hold(
            "processor time of " + what,
            "%.3f s" % found[name][1],
            "at most %.1f s" % MOST_SECONDS,
            found[name][1] <= MOST_SECONDS,
        )
    limits.hold(
        "bytes moved for the model of 67 GB",
        "%.2f MiB" % (found[LARGE][2] / MIB),
        "at most %d MiB" % (MOST_BYTES // MIB),
        found[LARGE][2] <= MOST_BYTES,
    )
    return found[LARGE][:2]
